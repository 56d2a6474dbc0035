package nbd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/frontend"
)

const (
	undoWait = 5 * time.Second
	// lingerWait is how long a forced Detach waits for other openers.
	lingerWait = 500 * time.Millisecond
	// poll is the pause between looks at something others do on their own.
	poll = 10 * time.Millisecond
	// lookWait is how long one look through /proc may take on a busy box.
	lookWait = 5 * time.Second
)

// Detach takes the device away; see frontend.Attachment. The kernel does not
// count who has the device open in a way that can be asked, so a clean Detach
// looks through /proc for them.
func (a *Kernel) Detach(ctx context.Context, force bool) error {
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

func (a *Kernel) detachClean(ctx context.Context) error {
	err := bounded(ctx, "disconnect "+a.Device(), func() error { return a.disconnectUnused(ctx) })
	if err != nil {
		return err
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return fmt.Errorf("wait for the last request to leave: %w", ctx.Err())
	}
	return a.forget(true)
}

// disconnectUnused claims the device for itself while it waits for others to
// close it, so that nobody can mount it meanwhile.
func (a *Kernel) disconnectUnused(ctx context.Context) error {
	if a.gone {
		return nil
	}
	fd, err := unix.Open(a.Device(), unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s: a file system is mounted on it or another driver has claimed it; unmount it first: %w",
			a.Device(), frontend.ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", a.Device(), err)
	}
	defer func() { _ = unix.Close(fd) }()
	for openElsewhere(fd) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: somebody has it open: %w: %w", a.Device(), frontend.ErrInUse, ctx.Err())
		case <-time.After(poll):
		}
	}
	if err := unix.Fsync(fd); err != nil { // what was written through the page cache
		return fmt.Errorf("write %s back: %w", a.Device(), err)
	}
	if err := disconnect(a.number); err != nil {
		return err
	}
	a.gone = true
	return nil
}

// detachForced closes our ends first, so that nothing in the kernel waits for
// us to read or answer.
func (a *Kernel) detachForced(ctx context.Context) error {
	a.server.cut()
	if !a.gone && a.number >= 0 {
		err := bounded(ctx, "disconnect "+a.Device(), func() error { return disconnect(a.number) })
		if err != nil {
			return err
		}
		a.gone = true
	}
	free := a.number < 0 || waitFree(ctx, a.number)
	if err := a.forget(free); err != nil {
		return err
	}
	if !free {
		return fmt.Errorf("%s: every request on it fails from now on, but somebody still has it open or mounted: %w",
			a.Device(), frontend.ErrLingers)
	}
	return nil
}

// waitFree waits a little for the kernel to let go of a disconnected device,
// which it does when nobody has it open.
func waitFree(ctx context.Context, number int) bool {
	ctx, cancel := context.WithTimeout(ctx, lingerWait)
	defer cancel()
	for connected(number) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(poll):
		}
	}
	return true
}

// connected reports whether the device has an owner, or users of a former one.
func connected(number int) bool {
	_, err := os.Stat(sysPath(number, "pid"))
	return err == nil
}

// forget removes the names. The record stays while the device lingers.
func (a *Kernel) forget(record bool) error {
	var errs []error
	if a.link != "" {
		errs = append(errs, frontend.Unlink(a.link, a.Device()))
	}
	if record {
		errs = append(errs, removeFile(recordPath(a.opts)))
	}
	a.closed = true
	return errors.Join(errs...)
}

// openElsewhere reports whether any process has the device of fd open beside fd.
func openElsewhere(fd int) bool {
	var own unix.Stat_t
	if unix.Fstat(fd, &own) != nil {
		return false
	}
	mine := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)
	found, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	for _, path := range found {
		var st unix.Stat_t
		if path == mine || unix.Stat(path, &st) != nil {
			continue // it was closed meanwhile
		}
		if st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == own.Rdev {
			return true
		}
	}
	return false
}

// A record in the private directory holds the device's number in decimal, so
// that the next life of this process finds the device after a crash.
func recordPath(o frontend.Options) string { return filepath.Join(o.Dir, "nbd-"+o.Name) }

func writeRecord(o frontend.Options, number int) error {
	if err := os.WriteFile(recordPath(o), fmt.Appendf(nil, "%d\n", number), 0o600); err != nil {
		return fmt.Errorf("remember %s: %w", devicePath(number), err)
	}
	return nil
}

// backendOf is how the kernel names the owner of a device.
func backendOf(name string) string { return "gemel:" + name }

// sweep disconnects the device of an earlier life of this process. It answers
// only errors; if it is still mounted it goes at the unmount.
func sweep(o frontend.Options) error {
	text, err := os.ReadFile(recordPath(o))
	if err != nil {
		return nil
	}
	var number int
	if _, err := fmt.Sscanf(string(text), "%d", &number); err != nil || number < 0 {
		return removeFile(recordPath(o))
	}
	backend, err := os.ReadFile(sysPath(number, "backend"))
	if err == nil && strings.TrimSpace(string(backend)) == backendOf(o.Name) && connected(number) {
		if err := disconnect(number); err != nil {
			return fmt.Errorf("remove the device of an earlier life: %w", err)
		}
	}
	return removeFile(recordPath(o))
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// bounded runs f, which may sit in the kernel, and stops waiting for it when ctx
// ends; f's goroutine then ends with the kernel's answer.
func bounded(ctx context.Context, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		select {
		case err := <-done: // it ended because ctx did, and knows why
			return err
		case <-time.After(lookWait):
			return fmt.Errorf("%s: the kernel has not answered: %w", what, ctx.Err())
		}
	}
}
