// Package drive is a disk that behaves like one: it takes as long as its model says,
// has a volatile cache that a power cut takes, honours flushes or lies, and can be
// made to fail in the ways of package faults. It is a block.Device; package server
// shows it to the kernel. It is not safe storage: what it keeps survives the end of
// its process, not a crash of the host.
package drive

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"gemel/lab/drive/extent"
	"gemel/lab/drive/faults"
	"gemel/lab/drive/model"
	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/disk"
)

// What callers decide on.
var (
	ErrOff   = errors.New("the disk has no power")
	ErrReset = errors.New("the request was dropped by a reset")
)

// Clock is the time the disk lives in.
type Clock interface {
	// Now returns the time since any fixed moment.
	Now() time.Duration
	// Wait returns at a time, or when broken is closed if that is earlier.
	Wait(until time.Duration, broken <-chan struct{})
}

// Disk is a simulated disk. Its methods may be called from many goroutines.
type Disk struct {
	clock  Clock
	faults *faults.Set
	size   int64

	drain   sync.Mutex // held by who writes the backing file; taken before mu
	scratch []byte     // of who holds drain

	mu      sync.Mutex
	params  model.Params
	model   *model.Model
	cache   extent.Map[*write]
	backing disk.Device
	due     []block.Range // has landed by the model's word, and not been written yet
	number  uint64        // of the newest write
	life    *life
	on      bool
	broken  error         // the backing file failed: the simulation is at its end
	eased   chan struct{} // closed when the faults change
	stats   Stats
	kick    chan struct{} // wakes Tend
}

// write is one cached write. Its data never changes.
type write struct {
	off    int64
	data   []byte
	number uint64
	acked  bool // under Disk.mu
}

// part returns the bytes of a part of the write.
func (w *write) part(off, n int64) []byte { return w.data[off-w.off:][:n] }

// life ends when requests under way are dropped: at a power cut, a reset, a swap.
type life struct {
	ended chan struct{}
	why   error
}

func newLife() *life { return &life{ended: make(chan struct{})} }

// Stats count what a disk did since it was made.
type Stats struct {
	Reads        uint64 `json:"reads"`
	Writes       uint64 `json:"writes"`
	Flushes      uint64 `json:"flushes"`
	BytesRead    uint64 `json:"bytes_read"`
	BytesWritten uint64 `json:"bytes_written"`
	Errors       uint64 `json:"errors"` // requests that failed
}

// New returns a disk that keeps its data on backing, which becomes the disk's.
func New(params model.Params, backing disk.Device, clock Clock) *Disk {
	return &Disk{
		clock: clock, faults: faults.New(backing.Size()), size: backing.Size(), scratch: buffer.Aligned(scratchSize),
		params: params, model: model.New(params), backing: backing,
		life: newLife(), on: true, eased: make(chan struct{}), kick: make(chan struct{}, 1),
	}
}

var _ block.Device = (*Disk)(nil)

// SizeBytes returns the size of the disk in bytes.
func (d *Disk) SizeBytes() int64 { return d.size }

// admit waits while the disk is stuck, refuses what a fault refuses, and returns with
// d.mu held if it returns no error.
func (d *Disk) admit(access faults.Access, off, n int64) (*life, error) {
	d.mu.Lock()
	for {
		err := d.refusal(access, off, n)
		if err != nil {
			d.stats.Errors++
			d.mu.Unlock()
			return nil, err
		}
		if !d.faults.Has(faults.Stuck) {
			return d.life, nil
		}
		if err := d.stay(d.life); err != nil {
			d.mu.Unlock()
			return nil, err
		}
	}
}

func (d *Disk) refusal(access faults.Access, off, n int64) error {
	if !d.on {
		return ErrOff
	}
	if d.broken != nil {
		return d.broken
	}
	return d.faults.Refusal(access, off, n)
}

// stay waits until the faults change or the life ends. It is called with d.mu held
// and gives it away meanwhile.
func (d *Disk) stay(l *life) error {
	eased := d.eased
	d.mu.Unlock()
	defer d.mu.Lock()
	select {
	case <-eased:
		return nil
	case <-l.ended:
		return l.why
	}
}

// finish waits until a request is done, and longer while the disk is stuck.
func (d *Disk) finish(l *life, done time.Duration) error {
	_, latency := d.faults.Slowness()
	d.clock.Wait(done+latency, l.ended)
	select {
	case <-l.ended:
		return l.why
	default:
	}
	if !d.faults.Has(faults.Stuck) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.faults.Has(faults.Stuck) {
		if err := d.stay(l); err != nil {
			return err
		}
	}
	return nil
}

// advance notes what has landed by now; with d.mu held.
func (d *Disk) advance(now time.Duration) { d.due = append(d.due, d.model.Advance(now)...) }

// WriteAt puts p into the cache and returns when the disk would. With fua it is on
// the platter then.
func (d *Disk) WriteAt(p []byte, off int64, fua bool) error {
	w := &write{off: d.faults.Target(off, int64(len(p))), data: append([]byte(nil), p...)}
	l, err := d.admit(faults.Writes, off, int64(len(p)))
	if err != nil {
		return err
	}
	done := d.put(w)
	backlog := len(d.due)
	d.mu.Unlock()
	d.faults.Written(w.off, int64(len(p)))
	d.keepUp(backlog)
	if err := d.finish(l, done); err != nil {
		return err
	}
	d.mu.Lock()
	w.acked = true
	d.mu.Unlock()
	if fua {
		return d.Flush()
	}
	return nil
}

func (d *Disk) put(w *write) time.Duration {
	d.number++
	w.number = d.number
	d.stats.Writes++
	d.stats.BytesWritten += uint64(len(w.data))
	n := int64(len(w.data))
	d.cache.Put(w.off, n, w)
	now := d.clock.Now()
	done := d.model.Write(now, w.off, n)
	d.advance(now)
	return done
}

// ReadAt fills p from the cache and the platter.
func (d *Disk) ReadAt(p []byte, off int64) error {
	n := int64(len(p))
	l, err := d.admit(faults.Reads, off, n)
	if err != nil {
		return err
	}
	d.stats.Reads++
	d.stats.BytesRead += uint64(n)
	done := d.model.Read(d.clock.Now(), off, n)
	var cached []extent.Extent[*write]
	d.cache.Within(off, n, func(e extent.Extent[*write]) { cached = append(cached, e) })
	whole, backing := d.cache.Covers(off, n), d.backing
	d.mu.Unlock()
	if !whole {
		if err := backing.ReadAt(p, off); err != nil {
			return fmt.Errorf("read the backing file: %w", err)
		}
	}
	for _, e := range cached {
		copy(p[e.Off-off:], e.Value.part(e.Off, e.Len))
	}
	d.faults.Spoil(p, off)
	return d.finish(l, done)
}

// Flush returns when every completed write is on the platter, or a liar's at once.
func (d *Disk) Flush() error {
	l, err := d.admit(faults.Writes, 0, 0)
	if err != nil {
		return err
	}
	d.stats.Flushes++
	if d.faults.Has(faults.BadFlush) {
		d.stats.Errors++
		d.mu.Unlock()
		return faults.ErrBadFlush
	}
	done, upTo := d.model.Flush(d.clock.Now()), d.number
	lying := d.model.Params().Flush == model.Lying
	d.mu.Unlock()
	if err := d.finish(l, done); err != nil || lying {
		return err
	}
	return d.settle(l, upTo)
}
