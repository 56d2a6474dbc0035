// Package mount checks, formats, mounts and unmounts the file system of a
// volume, and says who is in the way. Whatever may sit in the kernel or in a
// helper program is bounded by a context: a call returns, with the words what is stuck,
// even if the kernel does not. It decides nothing: when to format or to unmount
// lazily is the caller's business.
package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What callers decide on.
var (
	// ErrBusy: somebody uses the file system; the message lists who.
	ErrBusy = errors.New("file system is in use")
	// ErrOccupied: something else is mounted at the path.
	ErrOccupied = errors.New("something else is mounted there")
	// ErrStuck: the kernel or a program did not answer in time.
	ErrStuck = errors.New("no answer in time")
)

// Spec says what to mount where.
type Spec struct {
	Device  string
	Path    string   // absolute; made when missing
	Type    string   // such as "ext4"
	Options []string // as for mount(8)
}

// flags are the options that mount(2) takes as bits; all others go to the file
// system as text.
var flags = map[string]struct {
	bit   uintptr
	clear bool
}{
	"rw": {unix.MS_RDONLY, true}, "ro": {unix.MS_RDONLY, false},
	"atime": {unix.MS_NOATIME, true}, "noatime": {unix.MS_NOATIME, false},
	"relatime": {unix.MS_RELATIME, false}, "strictatime": {unix.MS_STRICTATIME, false},
	"nodiratime": {unix.MS_NODIRATIME, false}, "lazytime": {unix.MS_LAZYTIME, false},
	"dev": {unix.MS_NODEV, true}, "nodev": {unix.MS_NODEV, false},
	"exec": {unix.MS_NOEXEC, true}, "noexec": {unix.MS_NOEXEC, false},
	"suid": {unix.MS_NOSUID, true}, "nosuid": {unix.MS_NOSUID, false},
	"sync": {unix.MS_SYNCHRONOUS, false}, "async": {unix.MS_SYNCHRONOUS, true},
	"dirsync": {unix.MS_DIRSYNC, false}, "defaults": {},
}

func parse(options []string) (bits uintptr, data string) {
	var rest []string
	for _, o := range options {
		f, known := flags[o]
		switch {
		case !known:
			rest = append(rest, o)
		case f.clear:
			bits &^= f.bit
		default:
			bits |= f.bit
		}
	}
	return bits, strings.Join(rest, ",")
}

// Mount mounts the file system. If the same device is mounted at the path
// already there is nothing to do; anything else there is ErrOccupied. If ctx
// ends while the kernel is still mounting, the late mount is taken back.
func Mount(ctx context.Context, s Spec) error {
	if !filepath.IsAbs(s.Path) || s.Type == "" {
		return fmt.Errorf("mount %s on %q: an absolute path and a type are needed", s.Device, s.Path)
	}
	there, mounted, err := At(s.Path)
	if err != nil {
		return err
	}
	if mounted {
		return occupied(s, there)
	}
	if err := os.MkdirAll(s.Path, 0o755); err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	bits, data := parse(s.Options)
	done := make(chan error, 1)
	go func() {
		err := unix.Mount(s.Device, s.Path, s.Type, bits, data)
		if err == nil && ctx.Err() != nil {
			err = errors.Join(ctx.Err(), unix.Unmount(s.Path, unix.MNT_DETACH))
		}
		done <- err
	}()
	if err := await(ctx, done); err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", s.Device, s.Type, s.Path, err)
	}
	return nil
}

func occupied(s Spec, there Mounted) error {
	var st unix.Stat_t
	if err := unix.Stat(s.Device, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK &&
		there.Dev == fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)) {
		return nil
	}
	return fmt.Errorf("mount %s on %s: %s (%s) is mounted there; unmount it first: %w",
		s.Device, s.Path, there.Source, there.Type, ErrOccupied)
}

// unmountPoll is the pause between tries: the last user may just be leaving.
const unmountPoll = 50 * time.Millisecond

// Unmount unmounts what is mounted at the path; nothing there is no error. It
// keeps trying while somebody uses it, until ctx ends: then the error is
// ErrBusy and lists the users.
func Unmount(ctx context.Context, path string) error {
	return unmount(ctx, path, func() error { return unix.Unmount(path, unix.UMOUNT_NOFOLLOW) })
}

// unmount is Unmount with the system call as try.
func unmount(ctx context.Context, path string, try func() error) error {
	busy := false
	for {
		there, mounted, err := At(path)
		if err != nil || !mounted {
			return err
		}
		done := make(chan error, 1)
		go func() { done <- try() }()
		err = await(ctx, done)
		switch {
		case err == nil:
			continue // something may have been mounted below it
		case errors.Is(err, unix.EBUSY):
			busy = true
		case !busy || !errors.Is(err, ErrStuck): // else it was only asked once more than it answered
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("unmount %s: %w: %s", path, ErrBusy, describe(Users(there)))
		case <-time.After(unmountPoll):
		}
	}
}

// LazyUnmount takes the mount out of sight at once; who has files open keeps
// them until they close. Nothing there is no error.
func LazyUnmount(ctx context.Context, path string) error {
	for {
		_, mounted, err := At(path)
		if err != nil || !mounted {
			return err
		}
		done := make(chan error, 1)
		go func() { done <- unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) }()
		if err := await(ctx, done); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s lazily: %w", path, err)
		}
	}
}

// await returns ErrStuck if ctx ends first; the goroutine behind done then ends
// with the kernel's answer.
func await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // both at once: the answer says more
		return err
	default:
		return fmt.Errorf("the kernel is still at it: %w: %w", ErrStuck, ctx.Err())
	}
}
