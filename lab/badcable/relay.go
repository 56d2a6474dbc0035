package badcable

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gemel/lab/ownthread"
)

// largestFrame is the most the kernel hands over at once: 64 KiB that the receiver cuts
// to size, with all headers.
const largestFrame = 1 << 17

// mostWaiting bounds what one direction holds back, in bytes; more is dropped.
const mostWaiting = 64 << 20

// lookEvery is how often a relay looks whether its links are still there.
const lookEvery = time.Second

// Relay joins two links of one network namespace, near on the box's side and far on the
// switch's, and carries every frame between them as both says.
type Relay struct {
	nl    *netlink.Handle
	links [2]int // indexes of near and far
	ports [2]*os.File
	both  Both
	seed  uint64
}

// NewRelay opens a relay between two links of the namespace at nsPath. Frames of a
// switch's other ports are not seen. Run it, then Close it.
func NewRelay(nsPath, near, far string, both Both, seed uint64) (*Relay, error) {
	ns, err := netns.GetFromPath(nsPath)
	if err != nil {
		return nil, fmt.Errorf("relay: namespace %s: %w", nsPath, err)
	}
	defer func() { _ = ns.Close() }()
	nl, err := netlink.NewHandleAt(ns)
	if err != nil {
		return nil, fmt.Errorf("relay: netlink: %w", err)
	}
	r := &Relay{nl: nl, both: both, seed: seed}
	for i, name := range []string{near, far} {
		link, err := nl.LinkByName(name)
		if err == nil {
			r.links[i] = link.Attrs().Index
			r.ports[i], err = openPort(ns, name, r.links[i])
		}
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("relay: link %s: %w", name, err)
		}
	}
	return r, nil
}

// openPort opens a packet socket on one link that gets what arrives there, with the
// kernel's notes on checksums and segments, which the other port hands on as they are.
func openPort(ns netns.NsHandle, name string, index int) (*os.File, error) {
	fd := -1
	err := ownthread.Do(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter the namespace: %w", err)
		}
		var err error
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, option := range []int{unix.PACKET_VNET_HDR, unix.PACKET_IGNORE_OUTGOING} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, option, 1); err != nil {
			return nil, errors.Join(fmt.Errorf("socket option %d: %w", option, err), unix.Close(fd))
		}
	}
	// A bigger queue for bursts where the kernel allows; without it some frames are lost, as on any busy box.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	everything := uint16(unix.ETH_P_ALL)
	at := &unix.SockaddrLinklayer{Protocol: everything<<8 | everything>>8, Ifindex: index}
	if err := unix.Bind(fd, at); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Close closes the relay's sockets; the links stay.
func (r *Relay) Close() {
	for _, port := range r.ports {
		if port != nil {
			_ = port.Close()
		}
	}
	r.nl.Close()
}

// Run carries frames until ctx ends or a link is gone. Neither is an error.
func (r *Relay) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var directions sync.WaitGroup
	errs := [2]error{}
	for i, quality := range []Quality{r.both.Out, r.both.In} {
		directions.Go(func() {
			defer cancel()
			d := newDirection(r.ports[i], r.ports[1-i], NewLine(quality, r.seed+uint64(i)))
			errs[i] = d.run(ctx)
		})
	}
	r.watch(ctx)
	cancel()
	for _, port := range r.ports {
		_ = port.SetReadDeadline(time.Now()) // ends the reads
	}
	directions.Wait()
	return errors.Join(errs[:]...)
}

// watch returns when ctx ends or one of the links is gone.
func (r *Relay) watch(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		for _, index := range r.links {
			if _, err := r.nl.LinkByIndex(index); errors.As(err, new(netlink.LinkNotFoundError)) {
				return
			}
		}
	}
}

// frame is one that waits for the time of its arrival.
type frame struct {
	at   time.Duration
	turn uint64 // the order among frames of one time
	data []byte
}

// direction carries frames one way: a reader that judges them, a writer that lets them out.
type direction struct {
	from, to *os.File
	line     *Line
	started  time.Time

	mu      sync.Mutex
	waiting frames
	bytes   int
	turn    uint64
	sending bool          // a frame left the queue and is not sent yet: none may pass it
	changed chan struct{} // holds one signal
}

func newDirection(from, to *os.File, line *Line) *direction {
	return &direction{from: from, to: to, line: line, started: time.Now(), changed: make(chan struct{}, 1)}
}

func (d *direction) run(ctx context.Context) error {
	var writer sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	writer.Go(func() { d.letOut(ctx) })
	err := d.takeIn(ctx)
	cancel()
	writer.Wait()
	return err
}

func (d *direction) takeIn(ctx context.Context) error {
	buffer := make([]byte, largestFrame)
	for ctx.Err() == nil {
		n, err := d.from.Read(buffer)
		switch {
		case err == nil:
			d.judge(buffer[:n])
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, unix.ENETDOWN): // the plug is out; it may come back
		default:
			return fmt.Errorf("relay: receive on %s: %w", d.from.Name(), err)
		}
	}
	return nil
}

// judge sends a frame at once, keeps it for later, or forgets it.
func (d *direction) judge(data []byte) {
	now := time.Since(d.started)
	at, count := d.line.Offer(now, len(data))
	for _, arrival := range at[:count] {
		if arrival <= now && d.none() {
			d.send(data)
			continue
		}
		d.keep(arrival, data)
	}
}

func (d *direction) none() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting) == 0 && !d.sending
}

func (d *direction) keep(at time.Duration, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes+len(data) > mostWaiting {
		return
	}
	d.turn++
	d.bytes += len(data)
	heap.Push(&d.waiting, frame{at: at, turn: d.turn, data: append([]byte(nil), data...)})
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// letOut sends each waiting frame at its time.
func (d *direction) letOut(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next, wait, ok := d.due()
		if ok {
			d.send(next.data)
			d.sent()
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-d.changed:
		case <-timer.C:
		}
	}
}

// due takes out the first frame whose time has come, or says how long to wait.
func (d *direction) due() (next frame, wait time.Duration, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		return frame{}, time.Hour, false
	}
	if wait = d.waiting[0].at - time.Since(d.started); wait > 0 {
		return frame{}, wait, false
	}
	next, d.sending = heap.Pop(&d.waiting).(frame)
	d.bytes -= len(next.data)
	return next, 0, d.sending
}

func (d *direction) sent() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sending = false
}

// send ignores errors: a frame that a link refuses is lost, as on any cable.
func (d *direction) send(data []byte) { _, _ = d.to.Write(data) }

// frames is a heap, earliest first.
type frames []frame

func (f frames) Len() int { return len(f) }
func (f frames) Less(i, j int) bool {
	return f[i].at < f[j].at || f[i].at == f[j].at && f[i].turn < f[j].turn
}
func (f frames) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *frames) Push(x any) {
	if x, ok := x.(frame); ok {
		*f = append(*f, x)
	}
}
func (f *frames) Pop() any {
	old := *f
	last := old[len(old)-1]
	old[len(old)-1] = frame{}
	*f = old[:len(old)-1]
	return last
}
