package mount

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// readable reads the first block, so that a device that cannot be read is not
// taken for an empty one.
func readable(ctx context.Context, device string) error {
	done := make(chan error, 1)
	go func() {
		fd, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(fd)
		n, err := unix.Pread(fd, make([]byte, 4096), 0)
		if err == nil && n == 0 {
			err = fmt.Errorf("it is empty")
		}
		done <- err
	}()
	if err := await(ctx, done); err != nil {
		return fmt.Errorf("read %s: %w", device, err)
	}
	return nil
}
