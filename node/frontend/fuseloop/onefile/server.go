package onefile

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/block"
)

const (
	// MaxWrite is the most bytes of data in one request: the kernel cuts longer
	// ones. Two frames of this size stay resident per volume.
	MaxWrite = 256 << 10
	// maxBackground bounds the requests that the kernel has in flight; above
	// the 128 of a loop device's queue.
	maxBackground = 256

	smallBytes = 32 << 10 // up to here a request does not hold a large frame
	mostLarge  = 64
	mostSmall  = maxBackground
	// mostReading is how many goroutines wait for the next request: a second
	// one, so that a single user at a time wakes nobody else.
	mostReading = 2
	trimEvery   = 10 * time.Second
)

// Session is what a process needs to know of a connection that another one began.
type Session struct {
	MaxWrite int  `json:"max-write"` // bytes
	Resend   bool `json:"resend"`    // the kernel can ask again; Linux 6.9
}

// Server answers the requests of one connection until it ends.
type Server struct {
	fd      int // stays the same number for life
	file    file
	session Session

	large, small *frames
	reading      atomic.Int32
	workers      sync.WaitGroup

	mu     sync.Mutex // fd is not closed under who uses it from outside
	closed bool
}

// Begin answers the INIT that waits behind fd, a descriptor of /dev/fuse that was
// just mounted. The descriptor becomes the server's, also when Begin fails; its
// error wraps ErrKernel when the kernel lacks something.
func Begin(fd int, dev block.Device) (*Server, error) {
	s := newServer(fd, dev, Session{MaxWrite: MaxWrite})
	if err := s.begin(); err != nil {
		s.close()
		return nil, fmt.Errorf("begin the FUSE connection: %w", err)
	}
	return s, nil
}

// Resume goes on with a connection that another process began and left; what that
// one did not answer is asked again. The descriptor becomes the server's, also when
// Resume fails.
func Resume(fd int, dev block.Device, session Session) (*Server, error) {
	s := newServer(fd, dev, session)
	if err := s.resume(); err != nil {
		s.close()
		return nil, fmt.Errorf("go on with a FUSE connection: %w", err)
	}
	return s, nil
}

func (s *Server) resume() error {
	if s.session.MaxWrite <= 0 || s.session.MaxWrite > MaxWrite {
		return fmt.Errorf("its requests have up to %d bytes; at most %d are served", s.session.MaxWrite, MaxWrite)
	}
	f, err := s.large.take() // from here on there is one
	if err != nil {
		return err
	}
	s.large.put(f)
	if err := again(s.fd); err != nil {
		return fmt.Errorf("have the kernel ask again what was not answered: %w", err)
	}
	return nil
}

func newServer(fd int, dev block.Device, session Session) *Server {
	s := &Server{fd: fd, session: session, large: newFrames(MaxWrite, mostLarge), small: newFrames(smallBytes, mostSmall)}
	s.file.dev = dev
	s.file.writer, _ = dev.(block.WriteStarter)
	s.file.size.Store(dev.SizeBytes())
	return s
}

func (s *Server) begin() error {
	f, err := s.large.take()
	if err != nil {
		return err
	}
	defer s.large.put(f)
	n, err := s.read(f)
	if err != nil {
		return err
	}
	q, err := parse(f.incoming()[:n])
	if err == nil && q.op != opInit {
		err = fmt.Errorf("it begins with operation %d: %w", q.op, ErrKernel)
	}
	if err != nil {
		return err
	}
	var body [initOut]byte
	if s.session, err = agree(q.body, body[:], MaxWrite); err != nil {
		s.tell(q.unique, unix.EPROTO)
		return err
	}
	copy(f.data(), body[:])
	_, err = unix.Write(s.fd, f.answer(q.unique, initOut))
	return err
}

// Session returns what the next process will need to know.
func (s *Server) Session() Session { return s.session }

// Size returns the file's size in bytes.
func (s *Server) Size() int64 { return s.file.size.Load() }

// Others counts the requests that carried no data and erased none.
func (s *Server) Others() int64 { return s.file.other.Load() }

// LastError returns the newest error the device answered with, or nil.
func (s *Server) LastError() error {
	if p := s.file.last.Load(); p != nil {
		return *p
	}
	return nil
}

// Resize changes the file's size; the kernel asks for it when it next looks.
func (s *Server) Resize(size int64) error {
	s.file.size.Store(size)
	err := s.With(invalidate)
	if err != nil {
		return fmt.Errorf("have the kernel forget the size of the FUSE file: %w", err)
	}
	return nil
}

// Mute puts a place that swallows answers and gives no requests where the
// connection was, so that Serve ends. A reader that sleeps in the kernel may get one
// more request; it stays unanswered, and is asked again of the next process.
func (s *Server) Mute() error {
	return s.With(func(fd int) error {
		null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(null)
		return unix.Dup3(null, fd, unix.O_CLOEXEC) // the number stays in use: nothing can be in the way
	})
}

// With calls f with the descriptor of the connection, unless Serve has closed it:
// then the error is net.ErrClosed.
func (s *Server) With(f func(fd int) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return f(s.fd)
}

func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	unix.Close(s.fd)
	s.large.close()
	s.small.close()
}

// Serve answers until the connection ends, and returns when the last request has
// left the device. The descriptor is closed then.
func (s *Server) Serve() {
	ticker := time.NewTicker(trimEvery)
	stop := make(chan struct{})
	var trimmer sync.WaitGroup
	trimmer.Go(func() { s.trim(ticker.C, stop) })
	s.workers.Go(s.work)
	s.workers.Wait()
	ticker.Stop()
	close(stop)
	trimmer.Wait()
	s.close()
}

func (s *Server) trim(tick <-chan time.Time, stop <-chan struct{}) {
	for {
		select {
		case <-tick:
			s.large.trim()
			s.small.trim()
		case <-stop:
			return
		}
	}
}

// work reads and answers. Whoever has read a request and sees that nobody else
// reads sends another one to do so; whoever comes back to enough readers ends.
func (s *Server) work() {
	for s.enter() {
		f, n, err := s.next()
		alone := s.reading.Add(-1) == 0
		if err != nil {
			return // the connection has ended, for all
		}
		if alone {
			s.workers.Go(s.work)
		}
		s.handle(f, n)
	}
}

// enter makes the caller a reader unless there are enough. The count is never more
// than who reads: else the last of them could leave believing that somebody stays.
func (s *Server) enter() bool {
	for {
		n := s.reading.Load()
		if n >= mostReading {
			return false
		}
		if s.reading.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *Server) next() (*frame, int, error) {
	f, err := s.large.take()
	if err != nil {
		return nil, 0, err // cannot be: there has been a frame since the start
	}
	n, err := s.read(f)
	if err != nil {
		s.large.put(f)
	}
	return f, n, err
}

// read waits for the next message and returns its length.
func (s *Server) read(f *frame) (int, error) {
	for {
		n, err := unix.Read(s.fd, f.incoming())
		switch {
		case err == nil && n == 0:
			return 0, unix.ENODEV
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT): // it was withdrawn
		default:
			return n, err
		}
	}
}

// tell answers with an error, or with nothing but that it is done.
func (s *Server) tell(unique uint64, reason unix.Errno) {
	var p [answerHead]byte
	order.PutUint32(p[:], uint32(len(p)))
	order.PutUint32(p[4:], uint32(-int32(reason))) //nolint:gosec // errno is small; the kernel wants it negative
	order.PutUint64(p[8:], unique)
	_, _ = unix.Write(s.fd, p[:]) // nobody waits any more for what cannot be answered
}

// reply answers with n bytes of the frame's data, or with the reason why not.
func (s *Server) reply(f *frame, unique uint64, n int, reason unix.Errno) {
	if reason != 0 {
		s.tell(unique, reason)
		return
	}
	_, err := unix.Write(s.fd, f.answer(unique, n))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		s.tell(unique, unix.EIO) // rather than leave somebody waiting
	}
}
