package agent

import (
	"context"
	"fmt"

	"gemel/node/replicator/control"
)

// resize makes a volume larger while it is used. The Primary leads.
func (a *Agent) resize(ctx context.Context, req control.GrowRequest, forwarded bool) error {
	o, err := a.owner(req.Volume)
	if err != nil {
		return err
	}
	err = o.tend(ctx, forwarded, func() error { return o.replica.Resize(ctx, req) },
		func(p Peer) error { return p.Resize(ctx, req) })
	if err != nil {
		return fmt.Errorf("resize volume %s: %w", req.Volume, err)
	}
	if o.primaryHere() {
		o.note("volume.resize", "The volume is made as large as both devices allow.", "an operator asked for it")
	}
	return nil
}

// noteGrowth tells what became of it, and has the file system follow a device
// that became larger.
func (o *owner) noteGrowth(old, now *control.VolumeState) {
	if old == nil || old.Growth == nil || now.Role != control.Primary {
		return
	}
	was, is := old.Growth, now.Growth
	switch {
	case is == nil:
	case was.Running && !is.Running && is.Problem != "":
		o.note("volume.not-resized", "The volume keeps its size.", is.Problem)
	case is.Unfit != "" && was.Unfit == "":
		o.note("volume.unfit", fmt.Sprintf("The volume has %d bytes now, and its device does not show them yet.", now.Size), is.Unfit)
	case is.Shown > was.Shown && was.Shown > 0:
		o.note("volume.resized", fmt.Sprintf("The volume has %d bytes now, %d before.", is.Shown, was.Shown), "it was resized")
		o.stretch()
	}
}

// stretch asks for the file system to be made as large as its device.
func (o *owner) stretch() {
	select {
	case o.stretches <- struct{}{}:
	default: // it is asked for already
	}
}

// keepStretched grows the file system when it is asked for, until ctx ends. It is
// nothing that a take-over waits for.
func (o *owner) keepStretched(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.stretches:
		}
		if o.vol.Mount.Path == "" || !o.vol.Mount.Grow {
			continue
		}
		mounted, err := o.course.mount.Mounted()
		if err != nil || !mounted {
			continue // the next mount asks again
		}
		device, err := o.course.promoted()
		if err != nil {
			continue
		}
		before, after, err := o.course.mount.Grow(ctx, device)
		switch {
		case err != nil && ctx.Err() == nil:
			o.note("mount.not-grown", "The file system does not fill its device.", err.Error())
		case after > before:
			o.note("mount.grown", fmt.Sprintf("The file system has %d bytes now, %d before.", after, before), "its device became larger")
		}
	}
}
