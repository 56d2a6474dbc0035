package crashdisk

import (
	"errors"
	"fmt"
)

// What a medium does by itself: blocks that cannot be read any more, and blocks
// that hold something else than was written. Offsets and lengths are multiples
// of 4096 bytes.

// ErrUnreadable is returned by a read of a block that went bad.
var ErrUnreadable = errors.New("unreadable")

// Spoil makes a range unreadable until it is written. A write that a crash takes
// back leaves it as bad as before.
func (d *Disk) Spoil(off, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := off / page; i < (off+n)/page; i++ {
		d.bad[i] = true
		delete(d.healing, i)
	}
}

// Mend makes a range readable again, with what was there.
func (d *Disk) Mend(off, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := off / page; i < (off+n)/page; i++ {
		delete(d.bad, i)
		delete(d.healing, i)
	}
}

// Bad reports whether a part of the range cannot be read.
func (d *Disk) Bad(off, n int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unreadable(off, int(n)) != nil
}

// Rot puts p on the medium without anybody having written it: it is what is read
// from now on, and what a crash leaves.
func (d *Disk) Rot(p []byte, off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.through(p, off)
}

// Peek fills p with the newest data, as ReadAt does, past every fault and without
// being counted.
func (d *Disk) Peek(p []byte, off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look(p, off)
}

// unreadable returns the error of the first bad block of a range; d.mu is held.
func (d *Disk) unreadable(off int64, n int) error {
	if len(d.bad) == 0 {
		return nil
	}
	for i := off / page; i < (off+int64(n))/page; i++ {
		if d.bad[i] {
			return fmt.Errorf("read at %d+%d: block at %d is %w", off, n, i*page, ErrUnreadable)
		}
	}
	return nil
}

// heal makes blocks readable that are written; d.mu is held.
func (d *Disk) heal(off int64, n int) {
	if len(d.bad) == 0 {
		return
	}
	for i := off / page; i < (off+int64(n))/page; i++ {
		if d.bad[i] {
			delete(d.bad, i)
			d.healing[i] = true
		}
	}
}
