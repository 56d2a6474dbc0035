package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gemel/node/replicator/buffer"
)

// Look opens the block device or file at path for reading only. It asks nobody
// and locks nothing: somebody else may use the device, and write to it while it
// is read. Writes are refused by the kernel.
func Look(path string) (*Disk, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	if mode := info.Mode(); !mode.IsRegular() && (mode&os.ModeDevice == 0 || mode&os.ModeCharDevice != 0) {
		return nil, fmt.Errorf("look at %s: %w: it is neither a block device nor a regular file", path, ErrUnsupported)
	}
	fd, err := openRetry(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC)
	direct := true
	if errors.Is(err, unix.EINVAL) {
		fd, err = openRetry(path, unix.O_RDONLY|unix.O_CLOEXEC)
		direct = false
	}
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	d := &Disk{file: os.NewFile(uintptr(fd), path), fd: fd, path: path, direct: direct, align: buffer.Align}
	end, err := d.file.Seek(0, 2) // the end of a file as of a block device
	if err != nil {
		_ = d.file.Close()
		return nil, fmt.Errorf("ask %s for its size: %w", path, err)
	}
	d.size.Store(end &^ (buffer.Align - 1))
	return d, nil
}
