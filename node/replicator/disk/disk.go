// Package disk is the only door to backing devices: it opens a block device or
// a file for this process alone, past the page cache, and moves whole requests.
// It does not know what the bytes mean, except that Probe looks whether they
// belong to somebody.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/replicator/buffer"
)

// MaxLogicalBlock is the largest logical block size in bytes of a usable device.
const MaxLogicalBlock = 4096

// Sentinel errors. Errors of this package wrap one of them where a caller may
// want to decide; the text says what, why and what to do.
var (
	ErrInUse       = errors.New("device in use")
	ErrUnsupported = errors.New("device not usable")
	ErrRange       = errors.New("request outside the device or not aligned")
	ErrClosed      = errors.New("device closed")
)

// Device is what metadata and volumes need of a backing device. *Disk is the
// real one, crashdisk.Disk the fake that can lose power. Methods may be called
// from many goroutines at once. Offsets and lengths are multiples of 4096;
// buffers of package buffer are used as they are, others are copied.
type Device interface {
	// Size returns the size in bytes, rounded down to a multiple of 4096, as it
	// was when the device was opened or measured last.
	Size() int64
	// Measure finds the size out anew: somebody may have changed it.
	Measure() (int64, error)
	// ReadAt fills p or returns an error.
	ReadAt(p []byte, off int64) error
	// WriteAt writes all of p or returns an error. The write may be in a
	// volatile cache until Sync.
	WriteAt(p []byte, off int64) error
	// WriteThrough is WriteAt, but what it writes is stable when it returns.
	// Earlier writes need not be.
	WriteThrough(p []byte, off int64) error
	// Discard gives back n bytes at off; they read as zeroes afterwards.
	Discard(off, n int64) error
	// WriteZeroes makes n bytes at off zero. With keep the blocks stay
	// allocated, without they may be given back. Like every write it may be in a
	// volatile cache until Sync.
	WriteZeroes(off, n int64, keep bool) error
	// Sync returns when every write completed before the call is stable.
	Sync() error
	Close() error
}

// Disk is an open backing device. It belongs to this process until Close.
type Disk struct {
	file   *os.File
	fd     int
	path   string
	size   atomic.Int64
	direct bool
	note   string
	align  uintptr // of memory and offsets, for direct I/O

	noHoles, noZeroRange atomic.Bool // the device refused these ways to make zeroes

	aioOnce sync.Once // at the first StartReads
	aio     *aio      // nil: not yet, or the kernel does not offer it

	mu     sync.RWMutex // held for reading by requests, for writing by Close
	closed bool
}

var (
	_ Device            = (*Disk)(nil)
	_ block.ReadStarter = (*Disk)(nil)
)

// Open opens the block device or regular file at path for this process alone.
// It wraps ErrInUse when somebody else has it and says who, as far as the
// kernel tells.
func Open(path string) (*Disk, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open backing device %s: %w: check the volume's device in the configuration", path, err)
	}
	switch {
	case info.Mode().IsRegular():
		return openFile(path)
	case info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0:
		return openBlock(path)
	}
	return nil, fmt.Errorf("open backing device %s: %w: it is neither a block device nor a regular file",
		path, ErrUnsupported)
}

// Path returns the path the disk was opened with.
func (d *Disk) Path() string { return d.path }

// Size returns the size in bytes, rounded down to a multiple of 4096.
func (d *Disk) Size() int64 { return d.size.Load() }

// Direct reports whether I/O goes past the page cache.
func (d *Disk) Direct() bool { return d.direct }

// Note says what is worth knowing about how the disk was opened, such as that
// its file system refuses direct I/O; empty when there is nothing.
func (d *Disk) Note() string { return d.note }

// Close waits for running requests and gives the device back. It does not sync.
func (d *Disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	if d.aio != nil {
		d.aio.close()
	}
	if err := d.file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", d.path, err)
	}
	return nil
}

// ReadAt fills p from off.
func (d *Disk) ReadAt(p []byte, off int64) error {
	return d.request(reading, p, off)
}

// WriteAt writes all of p at off.
func (d *Disk) WriteAt(p []byte, off int64) error {
	return d.request(writing, p, off)
}

// WriteThrough writes all of p at off, stable when it returns: one request where
// the device knows FUA, a write and a flush of its cache where it does not.
func (d *Disk) WriteThrough(p []byte, off int64) error {
	return d.request(writingThrough, p, off)
}

// Sync makes every completed write stable (fdatasync).
func (d *Disk) Sync() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return fmt.Errorf("sync %s: %w", d.path, ErrClosed)
	}
	err := unix.Fdatasync(d.fd)
	for errors.Is(err, unix.EINTR) {
		err = unix.Fdatasync(d.fd)
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", d.path, err)
	}
	return nil
}

// way is what a request does.
type way string

const (
	reading        way = "read"
	writing        way = "write"
	writingThrough way = "write through"
)

// request checks and carries out one read or write, through a buffer of its own
// when the kernel would not take p for direct I/O.
func (d *Disk) request(w way, p []byte, off int64) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	err := ErrClosed
	if !d.closed {
		err = CheckRange(int64(len(p)), off, d.size.Load())
	}
	if err == nil && (!d.direct || aligned(p, d.align)) {
		err = d.whole(w, p, off)
	} else if err == nil {
		err = d.bounced(w, p, off)
	}
	if err != nil {
		return fmt.Errorf("%s %s at %d+%d: %w", w, d.path, off, len(p), err)
	}
	return nil
}

func (d *Disk) bounced(w way, p []byte, off int64) error {
	bounce := buffer.Get(len(p))
	defer buffer.Put(bounce)
	if w != reading {
		copy(bounce, p)
		return d.whole(w, bounce, off)
	}
	err := d.whole(w, bounce, off)
	copy(p, bounce)
	return err
}

// whole repeats the system call until all of p is done.
func (d *Disk) whole(w way, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := d.once(w, p, off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func (d *Disk) once(w way, p []byte, off int64) (int, error) {
	switch w {
	case reading:
		return unix.Pread(d.fd, p, off)
	case writing:
		return unix.Pwrite(d.fd, p, off)
	}
	return unix.Pwritev2(d.fd, [][]byte{p}, off, unix.RWF_DSYNC)
}

// CheckRange returns ErrRange unless [off, off+n) is aligned to 4096 and lies
// within size bytes. Every Device refuses by this rule.
func CheckRange(n, off, size int64) error {
	if off < 0 || n < 0 || off%buffer.Align != 0 || n%buffer.Align != 0 || off > size || n > size-off {
		return fmt.Errorf("%w (device has %d bytes)", ErrRange, size)
	}
	return nil
}
