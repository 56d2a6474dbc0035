package frontendtest

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// file is a user of a kernel device, past the page cache.
type file int

func openFile(path string) (User, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	return file(fd), err
}

func (f file) SizeBytes() (int64, error) { return unix.Seek(int(f), 0, unix.SEEK_END) }

func (f file) ReadAt(p []byte, off int64) error {
	_, err := unix.Pread(int(f), p, off)
	return err
}

func (f file) WriteAt(p []byte, off int64) error {
	_, err := unix.Pwrite(int(f), p, off)
	return err
}

func (f file) Flush() error { return unix.Fdatasync(int(f)) }

func (f file) Discard(off, n int64) error { return erase(int(f), unix.BLKDISCARD, off, n) }

func (f file) WriteZeroes(off, n int64) error { return erase(int(f), unix.BLKZEROOUT, off, n) }

// erase sends one of the kernel's requests for a range of a block device.
func erase(fd int, request uintptr, off, n int64) error {
	r := [2]int64{off, n}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return errno
	}
	return nil
}

func (f file) Close() error { return unix.Close(int(f)) }

func shut(t *testing.T, u User) {
	t.Helper()
	if err := u.Close(); err != nil {
		t.Errorf("close the device: %v", err)
	}
}
