package mount

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotAllowed: the kernel does not let this process do it.
var ErrNotAllowed = errors.New("not allowed here")

// Grow makes a mounted file system as large as its device, while it is used, and
// returns its size in bytes as statfs(2) tells it, before and after. A file
// system that fills its device already stays as it is.
func Grow(ctx context.Context, s Spec) (before, after int64, err error) {
	if before, err = sizeOf(s.Path); err != nil {
		return 0, 0, err
	}
	var name string
	var args []string
	switch s.Type {
	case "ext2", "ext3", "ext4":
		name, args = "resize2fs", []string{s.Device}
	case "xfs":
		name, args = "xfs_growfs", []string{"-d", s.Path}
	default:
		return before, before, fmt.Errorf("grow the file system on %s: how to grow %s is not known here; do it by hand", s.Path, s.Type)
	}
	code, out, err := run(ctx, name, args...)
	switch {
	case err != nil || code == 0:
	case strings.Contains(out, "Permission denied to resize"):
		err = fmt.Errorf("%w: %s needs CAP_SYS_RESOURCE; run it by hand: %s %s", ErrNotAllowed, name, name, strings.Join(args, " "))
	default:
		err = fmt.Errorf("%s ended with code %d: %s", name, code, out)
	}
	if err != nil {
		return before, before, fmt.Errorf("grow the file system on %s: %w", s.Path, err)
	}
	after, err = sizeOf(s.Path)
	return before, after, err
}

func sizeOf(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("ask the file system on %s for its size: %w", path, err)
	}
	return int64(st.Blocks) * st.Bsize, nil //nolint:gosec // bytes of a device
}
