package ublk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/frontend"
	"gemel/node/frontend/claim"
)

const (
	// undoWait bounds the clean-up of an Attach that failed.
	undoWait = 5 * time.Second
	// lingerWait is how long the last step of a forced Detach waits for other openers.
	lingerWait = 500 * time.Millisecond
)

// Detach takes the device away; see frontend.Attachment.
func (a *Attachment) Detach(ctx context.Context, force bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	var err error
	if force {
		a.server.cutOff()
		err = a.takeAway(ctx, -1)
	} else {
		err = a.detachClean(ctx)
	}
	if err != nil {
		return fmt.Errorf("detach volume %q: %w", a.opts.Name, err)
	}
	return nil
}

// Survives is always true: the driver keeps the device.
func (a *Attachment) Survives() bool { return true }

// Leave lets the device wait for the next process; see frontend.Survivor.
func (a *Attachment) Leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.server.end()
	a.closed = true
}

// detachClean claims the device, so that nobody can mount it meanwhile, waits
// until nobody else has it open, and takes it away.
func (a *Attachment) detachClean(ctx context.Context) error {
	fd, err := claim.Sole(ctx, a.Device())
	if err != nil {
		return err
	}
	return a.takeAway(ctx, fd)
}

// takeAway stops the device and forgets it; fd is closed on the way. An error
// other than frontend.ErrLingers leaves it to be tried again.
func (a *Attachment) takeAway(ctx context.Context, fd int) error {
	err := command(ctx, nrStop, a.server.info.id, 0, nil)
	if fd >= 0 {
		unix.Close(fd)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	a.server.end()
	a.closed = true
	if fd >= 0 { // nobody else had it open: the kernel only takes its time
		err = deleteDevice(ctx, a.server.info.id)
	} else {
		err = deleteSoon(ctx, a.server.info.id)
	}
	if a.link != "" {
		err = errors.Join(err, frontend.Unlink(a.link, a.Device()))
	}
	return errors.Join(err, dropCookie(a.opts))
}
