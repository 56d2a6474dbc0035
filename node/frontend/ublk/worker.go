package ublk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gemel/node/block"
)

// Results of requests, beside a number of bytes.
const (
	failed      = -int32(unix.EIO)
	unsupported = -int32(unix.EOPNOTSUPP)
)

// worker does the requests of one tag, one after the other: as many wait in the
// device at once as the kernel sends, and a write that is held does not keep a
// read from being served.
type worker struct {
	q      *queue
	tag    uint16
	wake   chan struct{}
	buf    []byte
	result int32 // of the last request; read by the thread once it is told
}

func (w *worker) run() {
	defer w.q.s.inside.Done()
	for range w.wake {
		w.result = w.do()
		w.q.finish(w.tag)
	}
}

func (w *worker) do() int32 {
	d := w.q.descs[w.tag]
	off, n := int64(d.start)<<sectorShift, int64(d.sectors)<<sectorShift //nolint:gosec // inside the device
	r := block.Range{Off: off, Len: n}
	op := d.opFlags & 0xff
	if op != ioFlush && (r.Empty() || !r.Aligned() || off < 0 || r.End() > w.q.s.size.Load()) {
		return failed
	}
	switch op {
	case ioRead:
		return w.read(off, n)
	case ioWrite:
		return w.write(off, n, d.opFlags&ioFUA != 0)
	case ioFlush:
		return w.answer(w.q.s.dev.Flush(), 0)
	case ioDiscard:
		return w.discard(off, n)
	case ioWriteZeroes:
		if z, ok := w.q.s.dev.(block.Zeroer); ok {
			return w.answer(z.WriteZeroes(off, n, d.opFlags&ioNoUnmap != 0), 0)
		}
	}
	return unsupported
}

func (w *worker) read(off, n int64) int32 {
	if n > int64(len(w.buf)) {
		return failed
	}
	p := w.buf[:n]
	if err := w.q.s.dev.ReadAt(p, off); err != nil {
		return w.answer(err, 0)
	}
	got, err := unix.Pwrite(w.q.s.node, p, w.data())
	return w.answer(copied(got, n, err), n)
}

func (w *worker) write(off, n int64, fua bool) int32 {
	if n > int64(len(w.buf)) {
		return failed
	}
	p := w.buf[:n]
	got, err := unix.Pread(w.q.s.node, p, w.data())
	if err = copied(got, n, err); err != nil {
		return w.answer(err, 0)
	}
	return w.answer(w.q.s.dev.WriteAt(p, off, fua), n)
}

func (w *worker) discard(off, n int64) int32 {
	if d, ok := w.q.s.dev.(block.Discarder); ok {
		return w.answer(d.Discard(off, n), 0)
	}
	if z, ok := w.q.s.dev.(block.Zeroer); ok {
		return w.answer(z.WriteZeroes(off, n, false), 0)
	}
	return unsupported
}

// data is where the kernel keeps the request's data on the device's node.
func (w *worker) data() int64 {
	return dataStart + int64(w.q.id)<<queueShift + int64(w.tag)<<tagShift
}

func copied(got int, n int64, err error) error {
	if err == nil && int64(got) == n {
		return nil
	}
	return fmt.Errorf("copied %d of a request's %d bytes: %w", got, n, errors.Join(err, unix.EIO))
}

// answer makes a result of an error, or of the number of bytes done.
func (w *worker) answer(err error, n int64) int32 {
	if err != nil {
		w.q.s.note(err)
		return failed
	}
	return int32(n) //nolint:gosec // at most maxIO
}
