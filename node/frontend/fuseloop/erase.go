package fuseloop

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"gemel/node/block"
)

// The loop driver turns a discard, and a write of zeroes that may give blocks
// back, into a hole in its file; other writes of zeroes into a zeroed range.
// Whether it offers them at all, and in which units, it learns from StatFs.

// StatFs answers only for a device that can make holes: the error of one that
// cannot makes the loop device show no discard, so that the kernel refuses it.
func (f *file) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	f.other.Add(1)
	if f.hole() == nil {
		return fuse.ENOSYS
	}
	out.Bsize, out.Frsize = block.Size, block.Size
	out.Blocks = uint64(f.size.Load() / block.Size)
	return fuse.OK
}

func (f *file) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	erase := f.eraser(in.Mode)
	if erase == nil {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	off, n := int64(in.Offset), int64(in.Length)
	if !f.fits(off, n) {
		return fuse.EINVAL
	}
	if err := erase(off, n); err != nil {
		return f.fail(err)
	}
	return fuse.OK
}

// eraser returns what does to the device what mode asks for; nil when nothing.
func (f *file) eraser(mode uint32) func(off, n int64) error {
	switch mode &^ unix.FALLOC_FL_KEEP_SIZE {
	case unix.FALLOC_FL_PUNCH_HOLE:
		return f.hole()
	case unix.FALLOC_FL_ZERO_RANGE:
		if z, ok := f.dev.(block.Zeroer); ok {
			return func(off, n int64) error { return z.WriteZeroes(off, n, true) }
		}
	}
	return nil
}

func (f *file) hole() func(off, n int64) error {
	if d, ok := f.dev.(block.Discarder); ok {
		return d.Discard
	}
	if z, ok := f.dev.(block.Zeroer); ok {
		return func(off, n int64) error { return z.WriteZeroes(off, n, false) }
	}
	return nil
}
