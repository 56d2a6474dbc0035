package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// A probe is three questions, probeGap apart, and answers are awaited until
// probeTime after the first.
const (
	probes    = 3
	probeGap  = 75 * time.Millisecond
	probeTime = 250 * time.Millisecond
)

// schedule lists when an address is announced, from its claim; after the last
// one every refresh.
var schedule = []time.Duration{0, 1100 * time.Millisecond, 2200 * time.Millisecond,
	3300 * time.Millisecond, 4400 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second}

const (
	refresh = 30 * time.Second
	// recheck is how often the address is looked for on its interface: a link
	// that went down and came back in one blink, or a network manager that tidies
	// up, takes it away without a change of carrier that anybody could see.
	recheck = time.Second
	// rivalLasts is how long another box counts as having the address since it was
	// heard last: it is asked with every announcement.
	rivalLasts = refresh + 5*time.Second
	// quiet is the least time between two defences of one address.
	quiet = time.Second
)

// probe asks the network for the address and returns *Taken if anybody answers. Others
// who only ask, such as a monitor, are no reason to leave clients without the address: if
// they are about to take it, they find it taken.
func probe(ctx context.Context, w *wire, mac net.HardwareAddr, a Address) error {
	own, err := macs()
	if err != nil {
		return err
	}
	start, buf := time.Now(), make([]byte, 2048)
	for i := range probes {
		if err := w.send(probeFrame(mac, a.IP)); err != nil {
			return fmt.Errorf("ask for the address: %w", err)
		}
		until := start.Add(time.Duration(i+1) * probeGap)
		if i == probes-1 {
			until = start.Add(probeTime)
		}
		if err := await(ctx, w, buf, until, own, a); err != nil {
			return err
		}
	}
	return nil
}

func await(ctx context.Context, w *wire, buf []byte, until time.Time, own map[string]bool, a Address) error {
	for ctx.Err() == nil {
		frame, err := w.receive(buf, until)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listen for an answer: %w", err)
		}
		if s, ok := look(frame, a.IP); ok && s.claims && !own[string(s.mac)] {
			return &Taken{Address: a, MAC: s.mac}
		}
	}
	return ctx.Err()
}

// holder announces one address and listens for others who claim it.
type holder struct {
	addr    Address
	wire    *wire
	report  func(Conflict)
	restart chan struct{} // asks for the schedule from its start
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	rivalMu sync.Mutex
	rival   string // MAC of the last box that claimed the address; guarded by rivalMu, as its time is
	rivalAt time.Time

	mu    sync.Mutex
	muted bool // the address is going away: not one more announcement

	early   *waiting           // clients that came before the address is opened; nil: it is open. Guarded by Manager.mu
	tickles context.CancelFunc // ends those of the last opening; nil: there was none. Guarded by Manager.mu
	ctx     context.Context    // of the goroutines
}

func (m *Manager) hold(a Address, w *wire) *holder {
	ctx, cancel := context.WithCancel(context.Background())
	h := &holder{addr: a, wire: w, restart: make(chan struct{}, 1), cancel: cancel, ctx: ctx}
	h.report = func(c Conflict) { m.reports.Go(func() { m.onConflict(c) }) }
	h.announce()
	h.wg.Go(func() { h.announceLoop(ctx) })
	h.wg.Go(func() { h.listen(ctx) })
	h.wg.Go(func() { h.watchCarrier(ctx) })
	return h
}

// mute returns when no announcement will be sent any more.
func (h *holder) mute() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.muted = true
}

// stop ends the holder's goroutines.
func (h *holder) stop() {
	h.mute()
	h.cancel()
	h.early.end()
	h.wire.close()
	h.wg.Wait()
}

// tickle makes clients of the box that had the address before notice.
func (h *holder) tickle(list []Connection) {
	if h.tickles != nil {
		h.tickles()
	}
	ctx, cancel := context.WithCancel(h.ctx)
	h.tickles = cancel
	h.wg.Go(func() { tickleAll(ctx, list) })
}

// again asks for the whole schedule of announcements anew.
func (h *holder) again() {
	select {
	case h.restart <- struct{}{}:
	default: // asked for already
	}
}

// announceLoop follows the schedule; the first announcement is already out.
func (h *holder) announceLoop(ctx context.Context) {
	start, next := time.Now(), 1
	timer := time.NewTimer(schedule[next])
	defer timer.Stop()
	check := time.NewTicker(recheck)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
			if !h.vanished() {
				continue
			}
			h.restore()
			start, next = time.Now(), 0
		case <-h.restart:
			start, next = time.Now(), 0
		case <-timer.C:
		}
		h.announce()
		h.ask()
		next++
		if next < len(schedule) {
			timer.Reset(time.Until(start.Add(schedule[next])))
		} else {
			timer.Reset(refresh)
		}
	}
}

// announce sends one round. A failure is not reported: without a carrier
// nothing can be sent, and the carrier's return starts the schedule anew.
func (h *holder) announce() {
	link, err := netlink.LinkByName(h.addr.Interface)
	if err != nil {
		return
	}
	router := h.addr.IP.Is6() && forwards(h.addr.Interface)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.muted {
		return
	}
	for _, frame := range announcement(link.Attrs().HardwareAddr, h.addr.IP, router) {
		_ = h.wire.send(frame)
	}
}

// ask makes a box that has the address, too, and keeps quiet about it, answer to
// the listener. Our own kernel hears no question of its own box.
func (h *holder) ask() {
	if link, err := netlink.LinkByName(h.addr.Interface); err == nil {
		_ = h.wire.send(probeFrame(link.Attrs().HardwareAddr, h.addr.IP))
	}
}

// listen reports others who claim the address, and answers them.
func (h *holder) listen(ctx context.Context) {
	buf, last := make([]byte, 2048), time.Time{}
	for ctx.Err() == nil {
		frame, err := h.wire.receive(buf, time.Time{})
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil { // such as ENETDOWN: the interface went down
			sleep(ctx, quiet)
			continue
		}
		s, ok := look(frame, h.addr.IP)
		if !ok || !s.claims || time.Since(last) < quiet || isOwn(s.mac) {
			continue
		}
		last = time.Now()
		h.met(s.mac, last)
		h.report(Conflict{Address: h.addr, MAC: s.mac})
		h.announce()
	}
}

func (h *holder) met(mac net.HardwareAddr, at time.Time) {
	h.rivalMu.Lock()
	defer h.rivalMu.Unlock()
	h.rival, h.rivalAt = mac.String(), at
}

// present returns the MAC of a box that has the address now, too, as far as is known.
func (h *holder) present() string {
	h.rivalMu.Lock()
	defer h.rivalMu.Unlock()
	if time.Since(h.rivalAt) > rivalLasts {
		return ""
	}
	return h.rival
}

func isOwn(mac net.HardwareAddr) bool {
	own, err := macs()
	return err != nil || own[string(mac)]
}

// watchCarrier announces anew when the carrier comes back. By then an IPv6
// address may be gone, since the kernel flushes them when a link goes down.
func (h *holder) watchCarrier(ctx context.Context) {
	was, first := false, true
	for ctx.Err() == nil {
		err := Watch(ctx, []string{h.addr.Interface}, func(_ string, up bool) {
			if up && !was && !first {
				h.restore()
				h.again()
			}
			was, first = up, false
		})
		if err != nil {
			sleep(ctx, quiet)
		}
	}
}

// vanished reports that the address is gone from an interface that could carry it.
func (h *holder) vanished() bool {
	present, err := find(h.addr)
	if err != nil || present {
		return false
	}
	live, err := Up(h.addr.Interface)
	return err == nil && live
}

func (h *holder) restore() {
	link, err := netlink.LinkByName(h.addr.Interface)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.muted {
		_ = add(link, h.addr) // if it fails, Holds says so
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func forwards(iface string) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + iface + "/forwarding")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}
