package fuseloop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/frontend"
	"gemel/node/frontend/claim"
)

const (
	// undoWait bounds the clean-up of an Attach that failed.
	undoWait = 5 * time.Second
	// abortWait is how long a forced Detach waits for requests inside the
	// block.Device; the caller fails those, maybe only after Detach.
	abortWait = 200 * time.Millisecond
	// lingerWait is how long a forced Detach waits for other openers.
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
		err = a.detachForced(ctx)
	} else {
		err = a.detachClean(ctx)
	}
	if err != nil {
		return fmt.Errorf("detach volume %q: %w", a.opts.Name, err)
	}
	return nil
}

func (a *Attachment) detachClean(ctx context.Context) error {
	if err := a.freeLoop(ctx, true); err != nil {
		return err
	}
	if err := claim.Bounded(ctx, "unmount "+a.mount, func() error { return a.unmount(ctx) }); err != nil {
		return err
	}
	if err := wait(ctx, a.served); err != nil {
		return fmt.Errorf("wait for the last request to leave: %w", err)
	}
	return a.forget(true)
}

// freeLoop unbinds the loop device and waits until the kernel let go of it.
func (a *Attachment) freeLoop(ctx context.Context, exclusive bool) error {
	if a.gone || a.loop.name == "" {
		return nil
	}
	l := a.loop
	err := claim.Bounded(ctx, "unbind "+l.path(), func() error {
		if err := l.clear(exclusive); err != nil {
			return err
		}
		return l.waitGone(ctx)
	})
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: somebody still has it open; it goes away at the last close: %w (%w)",
			l.path(), frontend.ErrInUse, err)
	}
	if err == nil {
		a.gone = true
	}
	return err
}

// unmount retries for as long as the kernel is still dropping the last
// reference to the file.
func (a *Attachment) unmount(ctx context.Context) error {
	for {
		err := unix.Unmount(a.mount, unix.UMOUNT_NOFOLLOW)
		if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // EINVAL: not mounted any more
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmount %s: %w", a.mount, err)
		}
		if err := claim.Pause(ctx); err != nil {
			return err
		}
	}
}

// detachForced cuts the FUSE connection first, which ends every request with
// an error, so that nothing after it can wait for the device.
func (a *Attachment) detachForced(ctx context.Context) error {
	err := claim.Bounded(ctx, "abort the FUSE connection of "+a.mount, a.abort)
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, lingerWait)
	defer cancel()
	loopErr := a.freeLoop(short, false)
	short, cancel = context.WithTimeout(ctx, abortWait)
	defer cancel()
	_ = wait(short, a.served) // its end is the caller's to bring about, see Done
	if loopErr != nil && !errors.Is(loopErr, frontend.ErrInUse) {
		return loopErr
	}
	if err := a.forget(loopErr == nil); err != nil {
		return err
	}
	if loopErr != nil {
		return fmt.Errorf("%s: every request on it fails from now on, but somebody still has it open "+
			"or mounted: %w", a.loop.path(), frontend.ErrLingers)
	}
	return nil
}

// abort ends the connection: through fusectl where it is mounted, and by a
// forced unmount, which does the same and takes the mount out of sight.
func (a *Attachment) abort() error {
	if a.fsdev != 0 {
		control := "/sys/fs/fuse/connections/" + minor(a.fsdev) + "/abort"
		_ = os.WriteFile(control, []byte("1"), 0) // often not mounted; the unmount aborts too
	}
	const flags = unix.MNT_FORCE | unix.MNT_DETACH | unix.UMOUNT_NOFOLLOW
	err := unix.Unmount(a.mount, flags)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("abort the FUSE connection of %s: %w", a.mount, err)
	}
	return nil
}

// forget removes the names. The record stays while the device lingers, so that
// the next Attach looks after it.
func (a *Attachment) forget(record bool) error {
	errs := []error{claim.Remove(a.mount)}
	if a.link != "" {
		errs = append(errs, frontend.Unlink(a.link, a.loop.path()))
	}
	if record {
		errs = append(errs, claim.Remove(recordPath(a.opts.Dir, a.opts.Name)))
	}
	if a.keeper != nil {
		ctx, cancel := context.WithTimeout(context.Background(), undoWait)
		defer cancel()
		_ = a.keeper.Drop(ctx, a.opts.Name) // the connection has ended; a keeper that is gone keeps nothing
		a.keeper.Close()
	}
	a.closed = true
	return errors.Join(errs...)
}

// sweep removes what an earlier life of this process left behind.
func sweep(ctx context.Context, o frontend.Options) error {
	mount := filepath.Join(o.Dir, "fuse-"+o.Name)
	return claim.Bounded(ctx, "remove the leftovers of an earlier life", func() error {
		err := unix.Unmount(mount, unix.MNT_FORCE|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount the old %s: %w", mount, err)
		}
		l, found := leftover(o)
		if !found {
			return nil
		}
		// It answers only errors; if it is still mounted it goes at the
		// unmount, and must not keep the new device from appearing.
		if err := l.clear(false); err != nil {
			return fmt.Errorf("remove the old device: %w", err)
		}
		return nil
	})
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
