package volume

import (
	"errors"
	"fmt"

	"gemel/node/block"
	"gemel/node/replicator/control"
	"gemel/node/replicator/meta"
	"gemel/node/replicator/volume/core"
)

// This file is the shell's part of growing: the device is measured, its metadata
// moved to the new end, the new part blanked, and the device that the kernel
// shows made larger at the end. What has to wait for what is the core's business.

// ErrSmaller: the backing device has become smaller than its metadata says.
var ErrSmaller = meta.ErrShrunk

// blankPiece is how much is blanked at once, in bytes: between two pieces the
// volume may be closed.
const blankPiece = 16 << 20

// Grow begins to make the volume as large as both nodes have room for, or as the
// request says. It returns once that is under way; State tells how it ends.
func (v *Volume) Grow(req control.GrowRequest) error {
	v.mu.Lock()
	err := v.core.MayGrow(req.Size)
	v.mu.Unlock()
	if err != nil {
		return fmt.Errorf("volume %s: resize: %w", v.o.Name, err)
	}
	room, err := v.makeRoom()
	if err != nil {
		return fmt.Errorf("volume %s: resize: %w", v.o.Name, err)
	}
	v.mu.Lock()
	defer v.unlock()
	err = v.core.Grow(room, req.Size)
	v.run()
	if err != nil {
		return fmt.Errorf("volume %s: resize: %w", v.o.Name, err)
	}
	return nil
}

// makeRoom measures the device and returns how many bytes the data area has room
// for, after the metadata went to the end of a larger one.
func (v *Volume) makeRoom() (int64, error) {
	v.moving.Lock()
	defer v.moving.Unlock()
	size, err := v.o.Disk.Measure()
	if err != nil {
		return 0, err
	}
	before := v.o.Store.Super().DeviceSize
	if size == before {
		return v.o.Store.DataSize(), nil
	}
	if v.o.Moves != nil {
		v.o.Moves(size)
	}
	if err := v.o.Store.Grow(size); err != nil {
		return 0, err
	}
	v.o.Log(fmt.Sprintf("volume %s: the backing device has %d bytes now, %d before; its metadata is at the new end",
		v.o.Name, size, before), nil)
	if v.o.Moved != nil {
		v.o.Moved(size)
	}
	v.mu.Lock()
	v.touched()
	v.unlock()
	return v.o.Store.DataSize(), nil
}

// measure answers the core's Measure, on the node that follows.
func (v *Volume) measure(asked uint64) {
	defer v.running.Done()
	room, err := v.makeRoom()
	if err != nil {
		v.o.Log("volume "+v.o.Name+": the Primary asks to grow, and this device cannot", err)
		room = v.o.Store.DataSize()
	}
	v.mu.Lock()
	v.core.Measured(asked, room)
	v.run()
	v.unlock()
}

// blankNew answers the core's Blank.
func (v *Volume) blankNew(r block.Range) {
	defer v.running.Done()
	err := v.wipe(r)
	if err != nil {
		v.o.Log("volume "+v.o.Name+": the new part of the device could not be blanked", err)
	}
	v.mu.Lock()
	v.blanked = 0
	v.core.Blanked(err)
	v.run()
	v.unlock()
}

// wipe makes r zero and its bits clear, stable.
func (v *Volume) wipe(r block.Range) error {
	for off := r.Off; off < r.End(); off += blankPiece {
		if v.ctx.Err() != nil {
			return errClosed
		}
		if err := v.o.Disk.WriteZeroes(off, min(blankPiece, r.End()-off), false); err != nil {
			return err
		}
		v.mu.Lock()
		v.blanked = off
		v.unlock()
	}
	if err := v.o.Disk.Sync(); err != nil {
		return err
	}
	return v.o.Store.SaveBlank(r)
}

// fit gives the device that is shown the volume's size, if it became larger; v.mu
// is held.
func (v *Volume) fit() {
	size := v.core.View(0).Size
	if v.shown.Detach == nil || v.fitting || v.shownSize >= size || v.unfit == size || v.closed {
		return
	}
	v.fitting = true
	resize := v.shown.Resize
	v.running.Go(func() {
		err := errNoResize
		if resize != nil {
			err = resize(size)
		}
		v.mu.Lock()
		v.fitted(size, err)
		v.unlock()
	})
}

// errNoResize is the answer of a frontend that cannot resize at all.
var errNoResize = errors.New("this frontend cannot change the size of a device in use")

// fitted notes what became of the shown device; v.mu is held.
func (v *Volume) fitted(size int64, err error) {
	v.fitting = false
	if v.unfit = 0; err != nil {
		v.unfit = size
		v.o.Log(fmt.Sprintf("volume %s: it has %d bytes now, but its device shows the old size until it is attached anew", v.o.Name, size), err)
	} else {
		v.shownSize = size
		v.o.Log(fmt.Sprintf("volume %s: the device has %d bytes now", v.o.Name, size), nil)
	}
	v.touched()
	v.fit()
}

// growState is what is told of a growth; v.mu is held.
func (v *Volume) growState(w *core.View) *control.Growth {
	g := &control.Growth{Running: w.Growth.Running, To: w.Growth.To, Blanked: v.blanked, Shown: v.shownSize}
	if w.Growth.Err != nil {
		g.Problem = w.Growth.Err.Error()
	}
	if v.unfit != 0 {
		g.Unfit = "the frontend " + v.shown.By + " shows the old size until the volume is attached anew, such as by a switchover"
	}
	if !g.Running && g.Problem == "" && g.Unfit == "" && g.Blanked == 0 && g.Shown == 0 {
		return nil
	}
	return g
}
