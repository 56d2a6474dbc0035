package onefile

import (
	"golang.org/x/sys/unix"

	"gemel/node/block"
)

// handle answers one request, and gives the frame back.
func (s *Server) handle(f *frame, n int) {
	q, err := parse(f.incoming()[:n])
	if err != nil {
		s.large.put(f)
		return
	}
	switch q.op {
	case opRead:
		s.handleRead(f, q)
	case opWrite:
		s.handleWrite(f, q)
	case opFsync:
		s.large.put(f) // a flush may take long
		s.tell(q.unique, s.file.flush())
	case opFallocate:
		at, ok := q.span()
		s.large.put(f)
		s.tell(q.unique, s.file.allocate(at, ok))
	case opForget, opBatchForget, opInterrupt: // no answer is wanted
		s.large.put(f)
	default:
		s.handleOther(f, q)
		s.large.put(f)
	}
}

func (s *Server) handleRead(f *frame, q request) {
	at, ok := q.span()
	if !ok || at.n > int64(s.session.MaxWrite) {
		s.tell(q.unique, unix.EINVAL)
		s.large.put(f)
		return
	}
	f, pool := s.fit(f, int(at.n), false)
	n, reason := s.file.read(f.data()[:at.n], at)
	s.reply(f, q.unique, n, reason)
	pool.put(f)
}

func (s *Server) handleWrite(f *frame, q request) {
	at, ok := q.span()
	if !ok || at.n != int64(len(q.body)-writeHead) {
		s.tell(q.unique, unix.EINVAL)
		s.large.put(f)
		return
	}
	f, pool := s.fit(f, int(at.n), true)
	f.write = write{s, pool, q.unique, at.n}
	if !s.startWrite(f, at) {
		s.wrote(f, s.file.write(f.data()[:at.n], at))
	}
}

// write is what is needed to answer a WRITE.
type write struct {
	s      *Server
	pool   *frames // of its frame
	unique uint64
	n      int64
}

// startWrite has the device begin a write that it is to end by itself, and reports
// whether it did.
func (s *Server) startWrite(f *frame, at span) bool {
	if s.file.writer == nil || !s.file.fits(at) {
		return false
	}
	s.workers.Add(1)
	if s.file.writer.StartWrite(f.data()[:at.n], at.off, false, f) {
		return true
	}
	s.workers.Done()
	return false
}

// WriteDone is told how a write ended; see block.WriteDone. The kernel takes an answer
// without waiting for anything, so it is given at once.
func (f *frame) WriteDone(err error, _ bool) {
	s, reason := f.write.s, unix.Errno(0)
	if err != nil {
		reason = s.file.fail(err)
	}
	s.wrote(f, reason)
	s.workers.Done()
}

var _ block.WriteDone = (*frame)(nil)

// wrote answers a WRITE and gives its frame back.
func (s *Server) wrote(f *frame, reason unix.Errno) {
	w := f.write
	order.PutUint64(f.data(), uint64(w.n)) //nolint:gosec // at most MaxWrite, and padding
	s.reply(f, w.unique, writeOut, reason)
	w.pool.put(f)
}

// fit returns a frame for n bytes and the pool it goes back to. A small request
// must not hold a large frame for as long as the device takes.
func (s *Server) fit(f *frame, n int, keep bool) (*frame, *frames) {
	if n > smallBytes {
		return f, s.large
	}
	small, err := s.small.take()
	if err != nil {
		return f, s.large
	}
	if keep {
		copy(small.data(), f.data()[:n])
	}
	s.large.put(f)
	return small, s.small
}

// handleOther answers what is not data.
func (s *Server) handleOther(f *frame, q request) {
	s.file.other.Add(1)
	out := f.data()[:attrOut]
	clear(out)
	n, reason := s.describe(out, q.op)
	s.reply(f, q.unique, n, reason)
}

// describe answers about the file itself; out is all zeroes. The result is the
// length of the answer.
func (s *Server) describe(out []byte, op uint32) (int, unix.Errno) {
	switch op {
	case opGetAttr:
		s.file.attributes(out)
		return attrOut, 0
	case opOpen:
		order.PutUint32(out[8:], openFlags)
		return openOut, 0
	case opStatFS:
		return statOut, s.file.stat(out)
	case opRelease, opFlush, opDestroy:
		return 0, 0
	}
	return 0, unix.ENOSYS // the kernel does not ask again, or does without
}
