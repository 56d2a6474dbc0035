package nbd

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"gemel/node/block"
)

// maxConns is how many clients one export serves at a time.
const maxConns = 16

// server serves one device to any number of connections.
type server struct {
	dev         block.Device
	read, write func(p []byte, off int64) error // dev's; made once, so that no request makes them
	export      export
	size        atomic.Int64 // bytes
	memory      *memory
	last        atomic.Pointer[error] // newest error of the device, for diagnosis

	// ofKernel: the end of one connection ends all, and zeroes are written for a
	// client that was not offered it: a kernel device keeps this ability of an
	// earlier owner.
	ofKernel bool

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	closed  bool
	idle    chan struct{} // closed when there is no connection; nil while nobody waits
	running sync.WaitGroup
}

func newServer(name string, dev block.Device) *server {
	s := &server{dev: dev, read: dev.ReadAt, memory: newMemory(), conns: map[net.Conn]struct{}{},
		write:  func(p []byte, off int64) error { return dev.WriteAt(p, off, false) },
		export: export{name: name, offer: offerOf(dev)}}
	s.size.Store(dev.SizeBytes())
	return s
}

// now is the export with its size of this moment.
func (s *server) now() export {
	e := s.export
	e.size = s.size.Load()
	return e
}

// start serves a connection in a goroutine of its own, after a handshake if
// greet is set, and closes it at the end. It refuses when the server is closed
// or has enough of them.
func (s *server) start(nc net.Conn, greet bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= maxConns {
		return false
	}
	s.conns[nc] = struct{}{}
	s.running.Go(func() {
		c := newConn(s, nc)
		err := error(nil)
		if greet {
			err = c.greet()
		}
		if err == nil {
			_ = c.serve() // the client sees that the connection ends
		}
		_ = nc.Close()
		s.leave(nc)
	})
	return true
}

func (s *server) leave(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, nc)
	if s.ofKernel {
		s.cutLocked()
	}
	if len(s.conns) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// closeIdle closes the server once no client is connected. When ctx ends before,
// nothing has changed.
func (s *server) closeIdle(ctx context.Context) error {
	for {
		s.mu.Lock()
		if len(s.conns) == 0 {
			s.closed = true
			s.mu.Unlock()
			return nil
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// cut closes every connection; requests inside the device go on without a way
// to answer.
func (s *server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutLocked()
}

func (s *server) cutLocked() {
	s.closed = true
	for nc := range s.conns {
		_ = nc.Close()
	}
}

// do carries a request out and leaves the result in j.err.
func (s *server) do(j *job) {
	offer := s.export.offer
	if s.ofKernel {
		offer |= flagWriteZeroes
	}
	if j.err = j.check(s.size.Load(), offer); j.err != eOK {
		return
	}
	if err := s.carry(j); err != nil {
		j.err = eIO
		s.remember(err)
	}
}

// remember is apart so that err is on the heap only when it is one.
func (s *server) remember(err error) { s.last.Store(&err) }

func (s *server) carry(j *job) error {
	fua := j.flags&cmdFlagFUA != 0
	var err error
	switch j.kind {
	case cmdRead:
		j.buf = s.memory.get(int(j.length))
		return pieces(j.buf, j.off, s.read)
	case cmdWrite:
		if fua && len(j.buf) <= piece {
			return s.dev.WriteAt(j.buf, j.off, true)
		}
		err = pieces(j.buf, j.off, s.write)
	case cmdFlush:
		return s.dev.Flush()
	case cmdTrim:
		err = s.dev.(block.Discarder).Discard(j.off, int64(j.length))
	case cmdWriteZeroes:
		err = s.zero(j.off, int64(j.length), j.flags&cmdFlagNoHole != 0)
	}
	if err == nil && fua {
		return s.dev.Flush()
	}
	return err
}

// zero writes zeroes, as data where the device knows no better.
func (s *server) zero(off, n int64, keep bool) error {
	if z, ok := s.dev.(block.Zeroer); ok {
		return z.WriteZeroes(off, n, keep)
	}
	zeroes := s.memory.get(int(min(n, piece)))
	defer s.memory.put(zeroes)
	clear(zeroes)
	for end := off + n; off < end; off += int64(len(zeroes)) {
		if err := s.write(zeroes[:min(int64(len(zeroes)), end-off)], off); err != nil {
			return err
		}
	}
	return nil
}

// pieces does a long request a piece after the other.
func pieces(p []byte, off int64, do func([]byte, int64) error) error {
	for len(p) > 0 {
		n := min(len(p), piece)
		if err := do(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func (s *server) lastError() error {
	if p := s.last.Load(); p != nil {
		return *p
	}
	return nil
}
