package fuseloop

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"gemel/node/frontend"
	"gemel/node/frontend/claim"
)

var _ frontend.Resizer = (*Attachment)(nil)

// Resize makes the device larger while it is in use: first the FUSE file, whose
// attributes the kernel then asks for anew, then the loop device, which takes
// its size from the file.
func (a *Attachment) Resize(ctx context.Context, size int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return fmt.Errorf("resize the device of volume %q: it is gone", a.opts.Name)
	}
	err := claim.Bounded(ctx, "resize the loop device", func() error {
		if err := a.server.Resize(size); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat(a.mount, &st); err != nil { // the kernel learns the new size by this
			return fmt.Errorf("look at %s: %w", a.mount, err)
		}
		return a.loop.fit(size)
	})
	if err != nil {
		return fmt.Errorf("resize the device of volume %q to %d bytes: %w", a.opts.Name, size, err)
	}
	return nil
}

// fit has the loop device take the size of its file, which must be size bytes.
func (l loop) fit(size int64) error {
	fd, err := unix.Open(l.path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrapOpen(l.path(), err)
	}
	defer unix.Close(fd)
	if !l.boundFD(fd) {
		return fmt.Errorf("%s is not ours any more", l.path())
	}
	if err := unix.IoctlSetInt(fd, unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("have %s take the size of its file: %w", l.path(), err)
	}
	got, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err == nil && got != size {
		err = fmt.Errorf("it has %d bytes", got)
	}
	if err != nil {
		return fmt.Errorf("look at the new size of %s: %w", l.path(), err)
	}
	return nil
}
