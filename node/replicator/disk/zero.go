package disk

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"gemel/node/replicator/buffer"
)

// zeroPiece bounds one write of zeroes in bytes.
const zeroPiece = 1 << 20

// zeroes is what is written where the device cannot make zeroes itself.
var zeroes = sync.OnceValue(func() []byte { return buffer.Aligned(zeroPiece) })

// Discard gives back n bytes at off. They read as zeroes afterwards: a device
// that cannot promise that, or knows no discard, gets zeroes written.
func (d *Disk) Discard(off, n int64) error { return d.erase("discard", off, n, false) }

// WriteZeroes makes n bytes at off zero. With keep the blocks stay allocated,
// without they may be given back.
func (d *Disk) WriteZeroes(off, n int64, keep bool) error {
	return d.erase("write zeroes", off, n, keep)
}

func (d *Disk) erase(what string, off, n int64, keep bool) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	err := ErrClosed
	if !d.closed {
		err = CheckRange(n, off, d.size.Load())
	}
	if err == nil && n > 0 {
		err = d.zero(off, n, keep)
	}
	if err != nil {
		return fmt.Errorf("%s %s at %d+%d: %w", what, d.path, off, n, err)
	}
	return nil
}

// zero tries the kernel's ways first. Of a block device a hole is a promise of
// zeroes, unlike a plain discard: the kernel refuses it where the device cannot
// keep it.
func (d *Disk) zero(off, n int64, keep bool) error {
	if !keep && !d.noHoles.Load() {
		err := d.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		if !unsupported(err) {
			return err
		}
		d.noHoles.Store(true)
	}
	if !d.noZeroRange.Load() {
		err := d.allocate(unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		if !unsupported(err) {
			return err
		}
		d.noZeroRange.Store(true)
	}
	for n > 0 {
		piece := zeroes()[:min(n, zeroPiece)]
		if err := d.whole(writing, piece, off); err != nil {
			return err
		}
		off, n = off+int64(len(piece)), n-int64(len(piece))
	}
	return nil
}

func (d *Disk) allocate(mode uint32, off, n int64) error {
	for {
		if err := unix.Fallocate(d.fd, mode, off, n); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// unsupported reports whether the device or its file system does not know the
// request. Some devices say so only when they are asked, with EREMOTEIO.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EREMOTEIO) ||
		errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV)
}
