package ublk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/frontend"
)

const (
	// undoWait bounds the clean-up of an Attach that failed.
	undoWait = 5 * time.Second
	// lingerWait is how long the last step of a Detach waits for other openers.
	lingerWait = 500 * time.Millisecond
	// claimWait is how long a Detach tries to become the device's only
	// exclusive user; programs that probe new devices are quicker.
	claimWait = 300 * time.Millisecond
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
	fd, err := claim(ctx, a.Device())
	if err != nil {
		return err
	}
	for openedBy(a.server.info.id, fd) != "" {
		if err := pause(ctx); err != nil {
			user := openedBy(a.server.info.id, fd)
			unix.Close(fd)
			return fmt.Errorf("%s: %s still has it open: %w (%w)", a.Device(), user, frontend.ErrInUse, err)
		}
	}
	// What was written through the page cache and not yet sent.
	if err := unix.Fsync(fd); err != nil {
		unix.Close(fd)
		return fmt.Errorf("flush %s: %w", a.Device(), err)
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
	err = deleteDevice(ctx, a.server.info.id)
	if a.link != "" {
		err = errors.Join(err, frontend.Unlink(a.link, a.Device()))
	}
	return errors.Join(err, dropCookie(a.opts))
}

// claim opens the device exclusively; a mounted one has such a user already.
func claim(ctx context.Context, path string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, claimWait)
	defer cancel()
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return -1, fmt.Errorf("open %s: %w", path, err)
		}
		if pause(ctx) != nil {
			return -1, fmt.Errorf("%s is mounted or otherwise claimed: %w", path, frontend.ErrInUse)
		}
	}
}

// openedBy names one process that has the device or a partition of it open,
// apart from our own descriptor; empty when there is none.
func openedBy(id uint32, own int) string {
	name := filepath.Base(blockNode(id))
	self := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), own)
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is sound
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || link == self {
			continue
		}
		rest, ours := strings.CutPrefix(filepath.Base(to), name)
		if !ours || rest != "" && rest[0] != 'p' {
			continue
		}
		pid := strings.Split(link, "/")[2]
		command, _ := os.ReadFile("/proc/" + pid + "/comm") // it may have ended
		return fmt.Sprintf("process %s (%s)", pid, strconv.Quote(strings.TrimSpace(string(command))))
	}
	return ""
}
