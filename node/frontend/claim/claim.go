// Package claim makes a frontend the only user of a kernel's block device, so that
// it can take the device away: nobody has it mounted, nobody has it open. It does
// not know what kind of device it is, and takes nothing away itself.
package claim

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
	// proberWait is how long a device may be claimed by somebody else before it
	// counts as in use; programs that probe new devices are quicker.
	proberWait = 300 * time.Millisecond
	// poll is the pause between looks at something others do on their own.
	poll = 5 * time.Millisecond
	// lookWait is how long one look through /proc may take on a busy box.
	lookWait = 5 * time.Second
)

// Sole opens a block device exclusively, so that nobody can mount it meanwhile,
// waits until no other process has it open, and writes back what the page cache
// holds. The descriptor is the caller's to close. The error wraps frontend.ErrInUse
// when the device is mounted or claimed, or when ctx ends while somebody has it open.
func Sole(ctx context.Context, path string) (int, error) {
	fd, err := exclusive(ctx, path)
	if err != nil {
		return -1, err
	}
	err = unused(ctx, fd, path)
	if err == nil {
		if err = unix.Fsync(fd); err != nil {
			err = fmt.Errorf("write %s back: %w", path, err)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// exclusive opens the device as its one claimant; a file system that is mounted is
// such a claimant too.
func exclusive(ctx context.Context, path string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, proberWait)
	defer cancel()
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return -1, fmt.Errorf("open %s: %w", path, err)
		}
		if Pause(ctx) != nil {
			return -1, fmt.Errorf("%s: a file system is mounted on it or another driver has claimed it; unmount it first: %w",
				path, frontend.ErrInUse)
		}
	}
}

func unused(ctx context.Context, fd int, path string) error {
	for {
		user := opener(fd, path)
		if user == "" {
			return nil
		}
		if err := Pause(ctx); err != nil {
			return fmt.Errorf("%s: %s has it open: %w: %w", path, user, frontend.ErrInUse, err)
		}
	}
}

// opener names a process that has the device behind fd, or a partition of it, open
// beside fd; empty when there is none. The kernel counts them and does not tell.
func opener(fd int, path string) string {
	var device unix.Stat_t
	if unix.Fstat(fd, &device) != nil {
		return ""
	}
	mine := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)
	links, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*") // the pattern is sound
	for _, link := range links {
		if link != mine && leadsTo(link, filepath.Base(path), device.Rdev) {
			pid := strings.Split(link, "/")[2]
			command, _ := os.ReadFile("/proc/" + pid + "/comm") // it may have ended
			return fmt.Sprintf("process %s (%s)", pid, strconv.Quote(strings.TrimSpace(string(command))))
		}
	}
	return ""
}

// leadsTo looks at a descriptor of some process. Only device nodes are asked for
// their number: a file of somebody else may lie where no answer comes from.
func leadsTo(link, name string, number uint64) bool {
	target, err := os.Readlink(link)
	if err != nil || !strings.HasPrefix(target, "/dev/") {
		return false
	}
	if rest, ours := strings.CutPrefix(filepath.Base(target), name); ours && (rest == "" || rest[0] == 'p') {
		return true
	}
	var st unix.Stat_t
	return unix.Stat(link, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == number
}

// Bounded runs f, which may sit in the kernel, and stops waiting for it some time
// after ctx has ended; f's goroutine then ends with the kernel's answer. An f that
// ends because ctx did has its own, better error.
func Bounded(ctx context.Context, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(lookWait):
		return fmt.Errorf("%s: the kernel has not answered: %w", what, ctx.Err())
	}
}

// Pause waits a moment for something that the kernel or somebody else does on its
// own; it returns the error of ctx when that ends.
func Pause(ctx context.Context) error {
	select {
	case <-time.After(poll):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Remove removes a file that may be gone.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
