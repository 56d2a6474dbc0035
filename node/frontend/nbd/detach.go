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
	"gemel/node/frontend/claim"
)

const (
	undoWait = 5 * time.Second
	// lingerWait is how long a forced Detach waits for other openers.
	lingerWait = 500 * time.Millisecond
)

// Detach takes the device away; see frontend.Attachment.
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
	err := claim.Bounded(ctx, "disconnect "+a.Device(), func() error { return a.disconnectUnused(ctx) })
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
	fd, err := claim.Sole(ctx, a.Device())
	if err != nil {
		return err
	}
	defer unix.Close(fd)
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
		err := claim.Bounded(ctx, "disconnect "+a.Device(), func() error { return disconnect(a.number) })
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
		if claim.Pause(ctx) != nil {
			return false
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
		errs = append(errs, claim.Remove(recordPath(a.opts)))
	}
	a.closed = true
	return errors.Join(errs...)
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
		return claim.Remove(recordPath(o))
	}
	backend, err := os.ReadFile(sysPath(number, "backend"))
	if err == nil && strings.TrimSpace(string(backend)) == backendOf(o.Name) && connected(number) {
		if err := disconnect(number); err != nil {
			return fmt.Errorf("remove the device of an earlier life: %w", err)
		}
	}
	return claim.Remove(recordPath(o))
}
