// Package crashdisk is a backing device in memory that can lose power: writes
// stay in a volatile cache until Sync, and a crash keeps any part of what was
// not flushed, torn at 512 bytes. Blocks of it can go bad (rot.go). It is for tests and the simulator; it keeps
// nothing when the process ends.
package crashdisk

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"

	"gemel/node/replicator/disk"
)

// Sector is what a device writes whole or not at all, in bytes.
const Sector = 512

const page = 4096

// ErrPower is returned by every request after a power cut.
var ErrPower = errors.New("no power")

// Kind is a request's kind.
type Kind string

// Kinds of requests.
const (
	Read    Kind = "read"
	Write   Kind = "write"
	Through Kind = "write through"
	Sync    Kind = "sync"
	Trim    Kind = "discard"
	Zero    Kind = "write zeroes"
)

// Op is a request as a fault hook sees it.
type Op struct {
	Kind Kind
	Off  int64 // bytes; 0 for Sync
	Len  int   // bytes; 0 for Sync
	N    int   // number of this request since New, from 0
}

// Disk is the fake. The zero value is not usable; call New.
type Disk struct {
	mu      sync.Mutex
	size    int64
	stable  map[int64]*[page]byte // what survives a crash; missing pages are zero
	shared  map[int64]bool        // pages that a clone has too: copied before they change
	pending []pending             // completed and not flushed, oldest first
	fault   func(Op) error
	ops     int
	dead    bool
	// bad pages cannot be read; those that were written since lie under pending.
	bad, healing map[int64]bool
}

var _ disk.Device = (*Disk)(nil)

type pending struct {
	off  int64
	data []byte
}

// New makes a disk of size bytes, a multiple of 4096, full of zeroes.
func New(size int64) *Disk {
	return &Disk{size: size, stable: map[int64]*[page]byte{}, shared: map[int64]bool{},
		bad: map[int64]bool{}, healing: map[int64]bool{}}
}

// Inject sets a hook that is asked before every request: an error it returns
// ends the request without effect, but for a write-through: a power cut keeps
// any part of that. nil removes it. The hook must not call the disk.
func (d *Disk) Inject(fault func(Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fault
}

// begin numbers a request and asks the hook; d.mu is held.
func (d *Disk) begin(kind Kind, off int64, n int) error {
	if d.dead {
		return fmt.Errorf("%s at %d+%d: %w", kind, off, n, ErrPower)
	}
	op := Op{Kind: kind, Off: off, Len: n, N: d.ops}
	d.ops++
	if err := disk.CheckRange(int64(n), off, d.size); err != nil {
		return fmt.Errorf("%s at %d+%d: %w", kind, off, n, err)
	}
	if d.fault == nil {
		return nil
	}
	if err := d.fault(op); err != nil {
		return fmt.Errorf("%s at %d+%d: %w", kind, off, n, err)
	}
	return nil
}

// Size returns the size in bytes.
func (d *Disk) Size() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size
}

// Enlarge gives the disk size bytes, more than before; the new ones are zero.
func (d *Disk) Enlarge(size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size = max(size, d.size)
}

// Measure returns the size in bytes: what Enlarge made of it.
func (d *Disk) Measure() (int64, error) { return d.Size(), nil }

// Ops returns how many requests were made.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// ReadAt fills p with the newest data, flushed or not.
func (d *Disk) ReadAt(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(Read, off, len(p)); err != nil {
		return err
	}
	if err := d.unreadable(off, len(p)); err != nil {
		return err
	}
	d.look(p, off)
	return nil
}

// look fills p with the newest data; d.mu is held.
func (d *Disk) look(p []byte, off int64) {
	for done := 0; done < len(p); done += page {
		if from := d.stable[(off+int64(done))/page]; from != nil {
			copy(p[done:done+page], from[:])
		} else {
			clear(p[done : done+page])
		}
	}
	for _, w := range d.pending {
		overlay(p, off, w)
	}
}

// overlay copies what w has of [off, off+len(p)) into p.
func overlay(p []byte, off int64, w pending) {
	from, to := max(off, w.off), min(off+int64(len(p)), w.off+int64(len(w.data)))
	if from < to {
		copy(p[from-off:to-off], w.data[from-w.off:to-w.off])
	}
}

// WriteAt puts p into the cache.
func (d *Disk) WriteAt(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(Write, off, len(p)); err != nil {
		return err
	}
	d.pending = append(d.pending, pending{off, append([]byte(nil), p...)})
	d.heal(off, len(p))
	return nil
}

// WriteThrough makes p stable, past the cache: what the cache holds for the same
// sectors is older and goes.
func (d *Disk) WriteThrough(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(Through, off, len(p)); err != nil {
		if !d.dead && disk.CheckRange(int64(len(p)), off, d.size) == nil {
			d.pending = append(d.pending, pending{off, append([]byte(nil), p...)})
		}
		return err
	}
	d.heal(off, len(p))
	d.through(p, off)
	return nil
}

// through puts p on the medium, past the cache; d.mu is held.
func (d *Disk) through(p []byte, off int64) {
	var kept []pending
	end := off + int64(len(p))
	for _, w := range d.pending {
		if n := min(off-w.off, int64(len(w.data))); n > 0 {
			kept = append(kept, pending{w.off, w.data[:n]})
		}
		if n := max(end-w.off, 0); n < int64(len(w.data)) {
			kept = append(kept, pending{w.off + n, w.data[n:]})
		}
	}
	d.pending = kept
	for s := 0; s < len(p); s += Sector {
		d.settle(off+int64(s), p[s:s+Sector])
	}
	for n := off / page; n < (off+int64(len(p)))/page; n++ {
		delete(d.healing, n)
	}
}

// Discard puts zeroes into the cache: a crash keeps any of their sectors.
func (d *Disk) Discard(off, n int64) error { return d.erase(Trim, off, n) }

// WriteZeroes puts zeroes into the cache.
func (d *Disk) WriteZeroes(off, n int64, _ bool) error { return d.erase(Zero, off, n) }

func (d *Disk) erase(kind Kind, off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(kind, off, int(n)); err != nil {
		return err
	}
	d.pending = append(d.pending, pending{off, make([]byte, n)})
	d.heal(off, int(n))
	return nil
}

// Sync makes the cache stable.
func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(Sync, 0, 0); err != nil {
		return err
	}
	for _, w := range d.pending {
		for s := 0; s < len(w.data); s += Sector {
			d.settle(w.off+int64(s), w.data[s:s+Sector])
		}
	}
	d.pending = nil
	clear(d.healing)
	return nil
}

// settle puts one sector where a crash cannot reach it.
func (d *Disk) settle(off int64, sector []byte) {
	n := off / page
	p := d.stable[n]
	switch {
	case p == nil && zero(sector):
		return
	case p == nil:
		p = new([page]byte)
	case d.shared[n]:
		p = new(*p)
	}
	d.stable[n] = p
	delete(d.shared, n)
	copy(p[off%page:], sector)
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Clone returns a second disk with the same content and cache. Its requests are
// counted from zero, and it has no fault hook.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.fork()
	c.pending = append([]pending(nil), d.pending...)
	return c
}

// fork returns a disk that shares the stable pages; d.mu is held.
func (d *Disk) fork() *Disk {
	c := New(d.size)
	for n, p := range d.stable {
		c.stable[n] = p
		c.shared[n], d.shared[n] = true, true
	}
	maps.Copy(c.bad, d.bad)
	maps.Copy(c.healing, d.healing)
	return c
}

// Close changes nothing: the disk stays usable, as a device is when its user
// goes.
func (d *Disk) Close() error { return nil }

// Unflushed returns how many sectors are in the cache.
func (d *Disk) Unflushed() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.pending {
		n += len(w.data) / Sector
	}
	return n
}

// CrashWith cuts the power and returns the disk as it comes back: sector i of
// the Unflushed ones, counted from the oldest write, survives when keep(i). The
// old disk answers ErrPower from now on.
func (d *Disk) CrashWith(keep func(i int) bool) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	after := d.fork()
	maps.Copy(after.bad, after.healing)
	clear(after.healing)
	i := 0
	for _, w := range d.pending {
		for s := 0; s < len(w.data); s += Sector {
			if keep(i) {
				after.settle(w.off+int64(s), w.data[s:s+Sector])
			}
			i++
		}
	}
	return after
}

// Crash cuts the power; which writes survive, whole, torn or not at all, is
// drawn from seed.
func (d *Disk) Crash(seed uint64) *Disk {
	r := rand.New(rand.NewPCG(seed, 0))
	chance := r.Float64()
	return d.CrashWith(func(int) bool { return r.Float64() < chance })
}
