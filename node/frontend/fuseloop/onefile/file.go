package onefile

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/block"
)

// rootInode is FUSE's name for the root of a file system.
const rootInode = 1

// attrValid is how long the kernel may keep the file's attributes: they change
// only when Resize says so.
const attrValid = 24 * time.Hour

// file is the device as the file that the kernel sees.
type file struct {
	dev    block.Device
	writer block.WriteStarter // dev, if it ends writes by itself
	size   atomic.Int64
	// other counts requests that are no data: the tests want none per I/O.
	other atomic.Int64
	last  atomic.Pointer[error] // newest error of the device, for diagnosis
}

// read fills p, which is as long as the request.
func (f *file) read(p []byte, s span) (int, unix.Errno) {
	if s.off >= f.size.Load() {
		return 0, 0
	}
	if !f.fits(s) {
		return 0, unix.EINVAL
	}
	if err := f.dev.ReadAt(p, s.off); err != nil {
		return 0, f.fail(err)
	}
	return len(p), 0
}

// write never asks for FUA: a loop device has none, the kernel sends a flush
// behind such a write.
func (f *file) write(p []byte, s span) unix.Errno {
	if !f.fits(s) || int64(len(p)) != s.n {
		return unix.EINVAL
	}
	if err := f.dev.WriteAt(p, s.off, false); err != nil {
		return f.fail(err)
	}
	return 0
}

func (f *file) flush() unix.Errno {
	if err := f.dev.Flush(); err != nil {
		return f.fail(err)
	}
	return 0
}

// attributes writes what GETATTR returns; out is all zeroes.
func (f *file) attributes(out []byte) {
	size := uint64(f.size.Load()) //nolint:gosec // never negative
	order.PutUint64(out, uint64(attrValid/time.Second))
	order.PutUint64(out[16:], rootInode)
	order.PutUint64(out[24:], size)
	order.PutUint64(out[32:], size/512)
	order.PutUint32(out[76:], unix.S_IFREG|0o600)
	order.PutUint32(out[80:], 1)
	order.PutUint32(out[96:], block.Size)
}

// The loop driver turns a discard, and a write of zeroes that may give blocks
// back, into a hole in its file; other writes of zeroes into a zeroed range.
// Whether it offers them at all, and in which units, it learns from STATFS.

// stat answers only for a device that can make holes: the error of one that
// cannot makes the loop device show no discard, so that the kernel refuses it.
func (f *file) stat(out []byte) unix.Errno {
	if f.hole() == nil {
		return unix.ENOSYS
	}
	order.PutUint64(out, uint64(f.size.Load()/block.Size)) //nolint:gosec // never negative
	order.PutUint32(out[40:], block.Size)
	order.PutUint32(out[48:], block.Size)
	return 0
}

// allocate erases a span, if the request had one.
func (f *file) allocate(s span, ok bool) unix.Errno {
	erase := f.eraser(s.mode)
	if erase == nil {
		return unix.EOPNOTSUPP
	}
	if !ok || !f.fits(s) {
		return unix.EINVAL
	}
	if err := erase(s.off, s.n); err != nil {
		return f.fail(err)
	}
	return 0
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

// fits holds up block.Device's promise that requests are aligned and inside.
func (f *file) fits(s span) bool {
	size := f.size.Load()
	return s.off >= 0 && s.n > 0 && s.off <= size && s.n <= size-s.off && block.Range{Off: s.off, Len: s.n}.Aligned()
}

// fail makes an I/O error of whatever the device said; the device's owner has
// the details.
func (f *file) fail(err error) unix.Errno {
	f.last.Store(&err)
	return unix.EIO
}
