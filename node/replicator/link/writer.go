package link

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"gemel/node/replicator/wire"
)

// corked is the socket below TLS. While corked it collects the records of one
// burst, so that they reach the kernel in one system call instead of one each.
type corked struct {
	net.Conn
	mu  sync.Mutex
	on  bool
	buf []byte
}

func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return c.Conn.Write(p)
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

func (c *corked) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = true
}

// flush sends what was collected.
func (c *corked) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// newConn starts an opened connection: from here on its writer sends what is
// queued, or a caller of SendNow while the writer has nothing to do.
func newConn(s *session, path string, peer wire.Hello, timeout time.Duration) *Conn {
	version, _ := wire.CommonVersion(peer.VersionMin, peer.VersionMax)
	c := &Conn{
		raw: s.raw, cork: s.cork, tls: s.tls, in: s.in, lower: s.lower,
		path: path, peer: peer, version: version, timeout: timeout,
		recvSeq: s.recvSeq, sendSeq: s.sendSeq, started: time.Now(),
		wake: make(chan struct{}, 1), closed: make(chan struct{}), ended: make(chan struct{}),
	}
	c.space = sync.NewCond(&c.mu)
	s.cork.cork()
	go c.write()
	return c
}

// write sends the queue. It ends when the connection is closed, says goodbye
// and closes the socket.
func (c *Conn) write() {
	defer close(c.ended)
	defer c.raw.Close()
	ping := time.NewTicker(max(c.timeout/4, time.Millisecond))
	defer ping.Stop()
	var spare []byte
	for {
		if batch := c.take(spare); len(batch) > 0 {
			if err := c.writeBatch(batch); err != nil {
				c.Close(err)
				return
			}
			c.giveBack()
			spare = batch
			continue
		}
		select {
		case <-c.wake:
		case <-ping.C:
			c.TrySend(wire.Header{Type: wire.TypePing, ID: uint64(time.Since(c.started))}, nil)
		case <-c.closed:
			c.goodbye()
			return
		}
	}
}

// take swaps the queue for an empty one and returns it; empty when there is
// nothing to send, the connection is closed, or somebody else is sending.
func (c *Conn) take(spare []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil || c.sending || len(c.queue) == 0 {
		return nil
	}
	batch := c.queue
	c.queue, c.writing, c.sending = spare[:0], len(batch), true
	return batch
}

// giveBack lets others send, what was queued meanwhile first.
func (c *Conn) giveBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending = false
	if len(c.queue) > 0 {
		c.wakeWriter()
	}
}

// writeBatch sends a batch in bursts; each has the whole timeout, so that a slow
// road is not taken for a dead one.
func (c *Conn) writeBatch(batch []byte) error {
	for len(batch) > 0 {
		n := min(len(batch), burst)
		if !c.extendDeadline() {
			return nil // closed: the loop says goodbye
		}
		_, err := c.tls.Write(batch[:n])
		if err == nil {
			err = c.cork.flush()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%w: nothing could be sent for %v on link %s", ErrStalled, c.timeout, c.path)
		}
		if err != nil {
			return fmt.Errorf("send on link %s: %w", c.path, err)
		}
		batch = batch[n:]
		c.mu.Lock()
		c.writing -= n
		c.space.Broadcast()
		c.mu.Unlock()
	}
	return nil
}

// extendDeadline gives the next burst its time, unless Close set the last one.
func (c *Conn) extendDeadline() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil {
		return false
	}
	_ = c.raw.SetWriteDeadline(time.Now().Add(c.timeout))
	return true
}

// goodbye tells the peer why. What it costs is bounded by Close's deadline.
// After a socket error there is nobody to tell, and in the middle of a message
// there is no place for it.
func (c *Conn) goodbye() {
	c.mu.Lock()
	seq, reason, halfway := c.sendSeq-uint64(countMessages(c.queue)), c.reason, c.writing > 0
	c.mu.Unlock()
	var socket net.Error
	if halfway || errors.As(reason, &socket) {
		return
	}
	h := wire.Header{Type: wire.TypeError, Seq: seq}
	if _, err := c.tls.Write(wire.AppendMessage(nil, h, cut(reason.Error()))); err == nil {
		_ = c.cork.flush()
	}
}

// countMessages returns how many messages a queue holds; they were numbered but
// are never sent, so their numbers are free again.
func countMessages(queue []byte) (n int) {
	for len(queue) >= wire.HeaderSize {
		h, err := wire.ParseHeader(queue)
		if err != nil {
			return n
		}
		queue = queue[wire.HeaderSize+int(h.Length):]
		n++
	}
	return n
}

func cut(text string) []byte { return []byte(text[:min(len(text), 1000)]) }

// session is a connection that is being opened: one side speaks, then the
// other, without goroutines.
type session struct {
	raw              net.Conn
	cork             *corked
	tls              *tls.Conn
	in, lower        *bufio.Reader
	sendSeq, recvSeq uint64
}

// newSession puts TLS on a socket. wrap is tls.Client or tls.Server.
func newSession(raw net.Conn, config *tls.Config, wrap func(net.Conn, *tls.Config) *tls.Conn, timeout time.Duration) *session {
	tune(raw, timeout)
	config = config.Clone()
	config.DynamicRecordSizingDisabled = true
	lower := bufio.NewReaderSize(raw, burst)
	cork := &corked{Conn: bufferedConn{raw, lower}}
	t := wrap(cork, config)
	return &session{raw: raw, cork: cork, tls: t, in: bufio.NewReaderSize(t, 64<<10), lower: lower}
}

// bufferedConn reads many TLS records with one system call.
type bufferedConn struct {
	net.Conn
	in *bufio.Reader
}

func (b bufferedConn) Read(p []byte) (int, error) { return b.in.Read(p) }

func (s *session) send(t wire.Type, payload []byte) error {
	h := wire.Header{Type: t, Seq: s.sendSeq}
	s.sendSeq++
	_, err := s.tls.Write(wire.AppendMessage(nil, h, payload))
	return err
}

// hello reads one hello of the given type. A peer's Error becomes
// ErrPeerRefused with its words.
func (s *session) hello(want wire.Type) (wire.Hello, error) {
	m, err := readMessage(s.in, &s.recvSeq)
	if err != nil {
		return wire.Hello{}, err
	}
	defer m.Release()
	switch m.Type {
	case want:
		return wire.ParseHello(m.Payload)
	case wire.TypeError:
		return wire.Hello{}, fmt.Errorf("%w: %s", ErrPeerRefused, printable(m.Payload))
	}
	return wire.Hello{}, wire.Refuse(wire.OutOfPlace, "%v where %v was due", m.Type, want)
}

// refuse tells the peer why and closes the socket.
func (s *session) refuse(reason error) {
	_ = s.raw.SetDeadline(time.Now().Add(farewell))
	_ = s.send(wire.TypeError, cut(reason.Error()))
	s.raw.Close()
}
