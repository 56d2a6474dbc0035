package fuseloop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/claim"
	"gemel/node/frontend/fuseloop/onefile"
)

const (
	loopMajor   = 7
	loopControl = "/dev/loop-control"
)

// loop is one loop device bound to the FUSE file. It is known by the number
// and inode of that file, so that a number reused by somebody else is never
// mistaken for ours.
type loop struct {
	number int
	dev    uint64 // lo_device: device of the backing file
	inode  uint64
	name   string // lo_file_name
}

func (l loop) path() string { return fmt.Sprintf("/dev/loop%d", l.number) }

// configureLoop binds a free loop device to backing, which stays the caller's
// to close. Others may race for the same number: then the next one is tried.
func configureLoop(ctx context.Context, backing int, name string) (loop, error) {
	for {
		l, err := tryLoop(backing, name)
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return l, err
		}
		if err := claim.Pause(ctx); err != nil {
			return loop{}, fmt.Errorf("find a free loop device: others keep taking them: %w", err)
		}
	}
}

func tryLoop(backing int, name string) (loop, error) {
	number, err := freeLoop()
	if err != nil {
		return loop{}, err
	}
	l := loop{number: number, name: name}
	fd, err := openNode(l.path(), number, unix.O_RDWR)
	if err != nil {
		return loop{}, err
	}
	defer unix.Close(fd)
	conf := &unix.LoopConfig{Fd: uint32(backing), Size: block.Size}
	conf.Info.Flags = unix.LO_FLAGS_DIRECT_IO
	copy(conf.Info.File_name[:len(conf.Info.File_name)-1], name)
	if err := unix.IoctlLoopConfigure(fd, conf); err != nil {
		return loop{}, fmt.Errorf("configure %s: %w", l.path(), err)
	}
	return l.identify(fd)
}

// identify reads back what the kernel recorded. A loop device that cannot be
// identified is given back at once.
func (l loop) identify(fd int) (loop, error) {
	info, err := unix.IoctlLoopGetStatus64(fd)
	if err == nil && info.Flags&unix.LO_FLAGS_DIRECT_IO == 0 {
		err = fmt.Errorf("the kernel refused direct I/O: %w", onefile.ErrKernel)
	}
	if err != nil {
		return l, errors.Join(fmt.Errorf("read back %s: %w", l.path(), err),
			unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0))
	}
	l.dev, l.inode = info.Device, info.Inode
	return l, nil
}

func freeLoop() (int, error) {
	fd, err := unix.Open(loopControl, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open %s (is the loop driver there?): %w", loopControl, err)
	}
	defer unix.Close(fd)
	number, err := unix.IoctlRetInt(fd, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return 0, fmt.Errorf("ask %s for a free device: %w", loopControl, err)
	}
	return number, nil
}

// openNode opens a loop device, and makes its node first where /dev is not the
// kernel's own devtmpfs.
func openNode(path string, number, flags int) (int, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if !errors.Is(err, unix.ENOENT) {
		return fd, wrapOpen(path, err)
	}
	dev := int(unix.Mkdev(loopMajor, uint32(number)))
	if err := unix.Mknod(path, unix.S_IFBLK|0o660, dev); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, fmt.Errorf("make the device node %s: %w", path, err)
	}
	fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0)
	return fd, wrapOpen(path, err)
}

func wrapOpen(path string, err error) error {
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	return nil
}

// bound reports whether the device is still bound to our file. The kernel
// answers ENXIO once it is free, or while it is being torn down.
func (l loop) bound() bool {
	fd, err := unix.Open(l.path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Is(err, unix.EBUSY)
	}
	defer unix.Close(fd)
	return l.boundFD(fd)
}

// size returns the device's size in bytes, 0 when it is not bound to our file.
func (l loop) size() int64 {
	fd, err := unix.Open(l.path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if !l.boundFD(fd) {
		return 0
	}
	size, _ := unix.Seek(fd, 0, unix.SEEK_END)
	return size
}

func (l loop) boundFD(fd int) bool {
	info, err := unix.IoctlLoopGetStatus64(fd)
	return err == nil && info.Device == l.dev && info.Inode == l.inode &&
		unix.ByteSliceToString(info.File_name[:]) == l.name
}

// clear unbinds the device. With exclusive set a mounted device is left alone
// (ErrInUse). If others have it open the kernel only notes that it goes away at
// the last close.
func (l loop) clear(exclusive bool) error {
	flags := unix.O_RDONLY | unix.O_CLOEXEC
	if exclusive {
		flags |= unix.O_EXCL
	}
	fd, err := unix.Open(l.path(), flags, 0)
	if errors.Is(err, unix.EBUSY) && exclusive {
		return fmt.Errorf("%s: a file system is mounted on it or another driver has claimed it; "+
			"unmount it first: %w", l.path(), frontend.ErrInUse)
	}
	if err != nil {
		return wrapOpen(l.path(), err)
	}
	defer unix.Close(fd) // the kernel tears the device down here
	if !l.boundFD(fd) {
		return nil
	}
	if err := unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("unbind %s: %w", l.path(), err)
	}
	return nil
}

// waitGone waits until the device is free.
func (l loop) waitGone(ctx context.Context) error {
	for l.bound() {
		if err := claim.Pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// A record in the private directory names the loop device, so that the next
// life of this process finds it after a crash. It holds number, device and
// inode of the backing file in decimal.
func recordPath(dir, name string) string { return filepath.Join(dir, "fuseloop-"+name) }

func (l loop) record(dir, name string) error {
	text := fmt.Sprintf("%d %d %d\n", l.number, l.dev, l.inode)
	if err := os.WriteFile(recordPath(dir, name), []byte(text), 0o600); err != nil {
		return fmt.Errorf("remember %s: %w", l.path(), err)
	}
	return nil
}

// leftover returns the loop device of an earlier life, if it is still bound.
func leftover(o frontend.Options) (loop, bool) {
	text, err := os.ReadFile(recordPath(o.Dir, o.Name))
	if err != nil {
		return loop{}, false
	}
	l := loop{name: loopName(o)}
	if _, err := fmt.Sscanf(string(text), "%d %d %d", &l.number, &l.dev, &l.inode); err != nil {
		return loop{}, false
	}
	return l, l.bound()
}

// longestLoopName is how many bytes the kernel keeps of a loop device's name.
const longestLoopName = unix.LO_NAME_SIZE - 1

// loopName begins with the owner, cut where volume and owner are too long together:
// a sweeper does not know its devices by that any more, but nobody mistakes them.
func loopName(o frontend.Options) string {
	owner := cmp.Or(o.Owner, "gemel")
	return owner[:min(len(owner), longestLoopName-1-len(o.Name))] + ":" + o.Name
}

func minor(dev uint64) string { return strconv.Itoa(int(unix.Minor(dev))) }
