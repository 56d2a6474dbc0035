package fuseloop

import (
	"errors"
	"io"
	"log"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"gemel/node/block"
)

// attrValid is how long the kernel may keep the file's attributes: they change
// only when Resize says so.
const attrValid = 24 * time.Hour

// file is a FUSE file system whose root is one regular file: the device.
type file struct {
	fuse.RawFileSystem
	dev  block.Device
	size atomic.Int64
	// other counts requests that are no data: the tests want none per I/O.
	other atomic.Int64
	last  atomic.Pointer[error] // newest error of the device, for diagnosis
}

func newFile(dev block.Device) *file {
	f := &file{RawFileSystem: fuse.NewDefaultRawFileSystem(), dev: dev}
	f.size.Store(dev.SizeBytes())
	return f
}

func (f *file) String() string { return "gemel" }

func (f *file) GetAttr(_ <-chan struct{}, _ *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.other.Add(1)
	out.SetTimeout(attrValid)
	out.Ino = 1
	out.Mode = syscall.S_IFREG | 0o600
	out.Nlink = 1
	out.Size = uint64(f.size.Load())
	out.Blocks = out.Size / 512
	out.Blksize = block.Size
	return fuse.OK
}

func (f *file) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.other.Add(1)
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

func (f *file) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	off, n := int64(in.Offset), int64(in.Size)
	if off >= f.size.Load() {
		return fuse.ReadResultData(nil), fuse.OK
	}
	if !f.fits(off, n) || n > int64(len(buf)) {
		return nil, fuse.EINVAL
	}
	p := buf[:n]
	if err := f.dev.ReadAt(p, off); err != nil {
		return nil, f.fail(err)
	}
	return fuse.ReadResultData(p), fuse.OK
}

// Write never asks for FUA: a loop device has none, the kernel sends a flush
// behind such a write.
func (f *file) Write(_ <-chan struct{}, in *fuse.WriteIn, p []byte) (uint32, fuse.Status) {
	off := int64(in.Offset)
	if !f.fits(off, int64(len(p))) {
		return 0, fuse.EINVAL
	}
	if err := f.dev.WriteAt(p, off, false); err != nil {
		return 0, f.fail(err)
	}
	return uint32(len(p)), fuse.OK
}

func (f *file) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status {
	if err := f.dev.Flush(); err != nil {
		return f.fail(err)
	}
	return fuse.OK
}

func (f *file) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// fits holds up block.Device's promise that requests are aligned and inside.
func (f *file) fits(off, n int64) bool {
	r := block.Range{Off: off, Len: n}
	return off >= 0 && n > 0 && r.Aligned() && r.End() <= f.size.Load()
}

// fail makes an I/O error of whatever the device said; the device's owner has
// the details.
func (f *file) fail(err error) fuse.Status {
	f.last.Store(&err)
	return fuse.EIO
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// errShort is the kernel refusing what we rely on.
var errShort = errors.New("the kernel's FUSE is too old or restricted")
