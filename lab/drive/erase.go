package drive

import (
	"time"

	"gemel/lab/drive/faults"
	"gemel/node/block"
	"gemel/node/replicator/disk"
)

// eraser is a disk that knows how to give blocks back, as SSDs do. What is erased is
// on the platter at once: a power cut does not undo it.
type eraser struct{ *Disk }

var (
	_ block.Discarder = eraser{}
	_ block.Zeroer    = eraser{}
)

// Device returns the disk as the kernel shall see it: with discards if its model has them.
func (d *Disk) Device() block.Device {
	if d.params.Erase {
		return eraser{d}
	}
	return d
}

// Discard gives back n bytes at off; they read as zeroes.
func (e eraser) Discard(off, n int64) error {
	return e.erase(off, n, func(b disk.Device) error { return b.Discard(off, n) })
}

// WriteZeroes makes n bytes at off zero; see block.Zeroer.
func (e eraser) WriteZeroes(off, n int64, keep bool) error {
	return e.erase(off, n, func(b disk.Device) error { return b.WriteZeroes(off, n, keep) })
}

func (d *Disk) erase(off, n int64, do func(disk.Device) error) error {
	l, done, err := d.eraseNow(off, n, do)
	if err != nil {
		return err
	}
	return d.finish(l, done)
}

func (d *Disk) eraseNow(off, n int64, do func(disk.Device) error) (*life, time.Duration, error) {
	d.drain.Lock()
	defer d.drain.Unlock()
	l, err := d.admit(faults.Writes, off, n)
	if err != nil {
		return nil, 0, err
	}
	now := d.clock.Now()
	d.advance(now)
	d.cache.Remove(off, n)
	backing, done := d.backing, now+d.params.Latency
	d.mu.Unlock()
	d.faults.Written(off, n)
	if err := do(backing); err != nil {
		return nil, 0, d.breakDown(err)
	}
	return l, done, nil
}
