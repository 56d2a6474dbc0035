package nbd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/block"
)

const (
	// inFlight is how many requests of one connection are served at a time.
	inFlight = 128
	// readAhead is what is taken from a socket at once, in bytes.
	readAhead = 64 << 10
	// sockBuffer is what the kernel may hold of our replies, in bytes.
	sockBuffer = 2 << 20
	// greeting bounds the handshake.
	greeting = 10 * time.Second
	// inlineMost is the longest request in bytes that the reader serves itself,
	// after aloneAfter requests that came one by one: nobody has to be woken.
	inlineMost = 64 << 10
	aloneAfter = 4
	// batchMost is how many reads are begun at once. All connections' together
	// leave room in the export's memory for the longest request.
	batchMost = 32
)

// job is one request under way.
type job struct {
	request
	c    *conn
	buf  []byte // payload, lent from the export's memory
	err  errno
	head [replySize]byte
}

// conn is one connection in transmission. One goroutine receives; requests run
// in workers, or in the receiver when they come one by one; of short reads the
// device begins as many at once as have come, if it can, and a write is left to it
// once its own disk has it. Whoever finishes a request sends all replies that are
// ready, unless somebody is sending already or it has no time to: see replies.go.
type conn struct {
	s    *server
	nc   net.Conn
	in   *bufio.Reader
	raw  syscall.RawConn
	look func(fd uintptr) // makes waiting be what the socket holds unread
	wait int

	free    chan *job // as many as may be under way beside those that are
	jobs    chan *job
	workers sync.WaitGroup // and reads that were begun
	started int

	starter block.ReadStarter  // nil: the device cannot begin reads,
	writer  block.WriteStarter // or writes
	batch   []block.Read       // of the receiver
	call    chan struct{}      // of the replier
	replier sync.WaitGroup

	mu      sync.Mutex
	called  bool // the replier has been called, and has not looked yet
	ready   []*job
	spare   []*job
	sending bool
	vector  net.Buffers // of the one who sends
	rest    net.Buffers // what WriteTo eats of it
	single  [replySize]byte
	left    []byte // of single: what the socket did not take at once
	push    func(fd uintptr) bool
}

func newConn(s *server, nc net.Conn) *conn {
	c := &conn{s: s, nc: nc, in: bufio.NewReaderSize(nc, readAhead),
		free: make(chan *job, inFlight), jobs: make(chan *job)}
	for range inFlight {
		c.free <- &job{c: c}
	}
	c.starter, _ = s.dev.(block.ReadStarter)
	c.writer, _ = s.dev.(block.WriteStarter)
	c.push = c.pushLeft
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
			_ = raw.Control(func(fd uintptr) { // as far as the kernel allows
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sockBuffer)
			})
		}
	}
	c.look = func(fd uintptr) { c.wait, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }
	return c
}

// greet does the handshake, in a bounded time.
func (c *conn) greet() error {
	if err := c.nc.SetDeadline(time.Now().Add(greeting)); err != nil {
		return err
	}
	err := negotiate(struct {
		io.Reader
		io.Writer
	}{c.in, c.nc}, c.s.now())
	if err != nil {
		return err
	}
	return c.nc.SetDeadline(time.Time{})
}

// serve receives until the client disconnects or the stream breaks, and returns
// when no request of the connection is inside the device any more.
func (c *conn) serve() error {
	c.call = make(chan struct{}, 1)
	c.replier.Go(c.reply)
	err := c.receive()
	c.begin()
	close(c.jobs)
	c.workers.Wait()
	close(c.call)
	c.replier.Wait()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (c *conn) receive() error {
	for alone := 0; ; {
		j := <-c.free
		if err := c.next(j); err != nil {
			return err
		}
		if j.kind == cmdDisconnect {
			return nil
		}
		if len(c.free) < inFlight-1 || c.in.Buffered() > 0 {
			alone = 0
		}
		alone++
		if c.collect(j, alone > aloneAfter) {
			continue
		}
		if alone <= aloneAfter || j.length > inlineMost {
			c.hand(j)
			continue
		}
		c.run(j)
		if c.waiting() {
			alone = 0
		}
	}
}

// next reads one request with its payload. Reads that wait to be begun do not
// wait for anything else.
func (c *conn) next(j *job) error {
	head, err := c.in.Peek(requestSize)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it ends inside a request", errMalformed)
		}
		return err
	}
	j.request, err = parseRequest(head)
	if err != nil {
		return err
	}
	_, _ = c.in.Discard(requestSize)
	j.err = eOK
	if !c.fits(j) {
		c.begin()
	}
	if n := j.payload(); n > 0 {
		j.buf = c.s.memory.get(n)
		if _, err := io.ReadFull(c.in, j.buf); err != nil {
			c.s.memory.put(j.buf)
			return fmt.Errorf("%w: it ends inside the data of a write", errMalformed)
		}
	}
	return nil
}

// waiting reports whether more requests came while the receiver was away.
func (c *conn) waiting() bool {
	if c.raw == nil {
		return true
	}
	c.wait = 0
	return c.raw.Control(c.look) == nil && c.wait > 0
}

// hand gives a job to a worker that waits, or to a new one.
func (c *conn) hand(j *job) {
	select {
	case c.jobs <- j:
		return
	default:
	}
	if c.started < inFlight {
		c.started++
		c.workers.Go(func() {
			for j := range c.jobs {
				c.run(j)
			}
		})
	}
	c.jobs <- j
}

func (c *conn) run(j *job) {
	if c.startWrite(j) {
		return
	}
	c.s.do(j)
	c.finish(j)
}
