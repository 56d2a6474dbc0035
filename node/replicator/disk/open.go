package disk

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"gemel/node/replicator/buffer"
)

// minAlign is the least alignment of memory that direct I/O is asked for with.
const minAlign = 512

// openBlock opens a block device exclusively: O_EXCL makes the kernel refuse
// when a file system, swap, LVM or another process has claimed it.
func openBlock(path string) (*Disk, error) {
	fd, err := openRetry(path, unix.O_RDWR|unix.O_EXCL|unix.O_DIRECT|unix.O_CLOEXEC)
	direct, note := true, ""
	if errors.Is(err, unix.EINVAL) {
		fd, err = openRetry(path, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC)
		direct, note = false, path+" refuses direct I/O; the page cache is used"
	}
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("open backing device %s: %w: %s", path, ErrInUse, whoUses(path))
	}
	if err != nil {
		return nil, fmt.Errorf("open backing device %s: %w", path, err)
	}
	d := &Disk{file: os.NewFile(uintptr(fd), path), fd: fd, path: path, direct: direct, note: note}
	if err := d.measureBlock(); err != nil {
		d.file.Close()
		return nil, err
	}
	return d, nil
}

// openFile opens a regular file and locks it against other replicators.
func openFile(path string) (*Disk, error) {
	fd, err := openRetry(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC)
	direct, note := true, ""
	if errors.Is(err, unix.EINVAL) {
		fd, err = openRetry(path, unix.O_RDWR|unix.O_CLOEXEC)
		direct, note = false, "the file system of "+path+" refuses direct I/O; the page cache is used"
	}
	if err != nil {
		return nil, fmt.Errorf("open backing file %s: %w", path, err)
	}
	d := &Disk{file: os.NewFile(uintptr(fd), path), fd: fd, path: path, direct: direct, note: note, align: buffer.Align}
	if err := d.claimFile(fd); err != nil {
		d.file.Close()
		return nil, err
	}
	return d, nil
}

// claimFile locks the file and learns its size.
func (d *Disk) claimFile(fd int) error {
	err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("open backing file %s: %w: another process holds its lock; stop that process first",
			d.path, ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("lock backing file %s: %w", d.path, err)
	}
	if loop := loopOver(fd); loop != "" {
		return fmt.Errorf("open backing file %s: %w: it is attached to %s; detach it (losetup -d %s) first",
			d.path, ErrInUse, loop, loop)
	}
	d.askAlign()
	_, err = d.Measure()
	return err
}

// Measure asks the kernel for the size anew: the file or device may have been
// enlarged since it was opened. It returns the size in bytes, rounded down to a
// multiple of 4096, which Size returns as well from now on.
func (d *Disk) Measure() (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return 0, fmt.Errorf("ask %s for its size: %w", d.path, err)
	}
	size := st.Size
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		var bytes uint64
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), unix.BLKGETSIZE64,
			uintptr(unsafe.Pointer(&bytes))); errno != 0 {
			return 0, fmt.Errorf("ask %s for its size: %w", d.path, errno)
		}
		size = int64(bytes)
	}
	size &^= buffer.Align - 1
	d.size.Store(size)
	return size, nil
}

// askAlign takes the kernel's word (6.1 and later) for how memory must be
// aligned for direct I/O, which is often less than a block. Without it every
// request whose memory the frontend aligned to 512 bytes would be copied.
func (d *Disk) askAlign() {
	var st unix.Statx_t
	err := unix.Statx(d.fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err == nil && st.Mask&unix.STATX_DIOALIGN != 0 && st.Dio_mem_align > 0 {
		d.align = min(d.align, max(uintptr(st.Dio_mem_align), minAlign))
	}
}

// measureBlock learns size and logical block size of a block device.
func (d *Disk) measureBlock() error {
	logical, err := unix.IoctlGetInt(d.fd, unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("ask %s for its logical block size: %w", d.path, err)
	}
	if logical <= 0 || logical > MaxLogicalBlock {
		return fmt.Errorf("open backing device %s: %w: its logical block size is %d bytes, at most %d is supported",
			d.path, ErrUnsupported, logical, MaxLogicalBlock)
	}
	d.align = uintptr(max(logical, minAlign))
	d.askAlign()
	_, err = d.Measure()
	return err
}

func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// aligned reports whether the memory of p starts at a multiple of align.
func aligned(p []byte, align uintptr) bool {
	return len(p) == 0 || align == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(p)))%align == 0
}
