// Package link is the road between two replicators: sockets, paths, TLS, the
// exchange of hellos, batching and the proof of life. It moves messages of
// package wire in order, or ends the connection saying why. It does not know
// what a message means, and it never reconnects by itself.
//
// Opening: the dialing side sends Hello with a random number; the accepting
// side answers HelloReply with the number and one of its own; HelloConfirm
// gives that one back. Then both directions are free. Both sides may dial; the
// custom is that node 0 dials, so that a volume has one connection.
//
// Life: each side sends something at least four times per PeerTimeout, and ends
// the connection when nothing came for PeerTimeout, or when nothing could be
// sent for as long. So a peer that does not read is as lost as one that is
// silent, and nobody waits for it for ever.
package link

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"gemel/node/replicator/buffer"
	"gemel/node/replicator/wire"
)

// Limits of one connection in bytes.
const (
	// QueueLimit bounds what waits to be sent; Send blocks above it.
	QueueLimit = 4 << 20
	// burst is what goes to the kernel at once, with one deadline.
	burst = 256 << 10
)

// farewell bounds how long the last message, the reason of a Close, may take.
const farewell = 250 * time.Millisecond

// Sentinel errors; errors of this package wrap one of them or a *wire.Refused.
var (
	ErrClosed      = errors.New("connection closed")
	ErrPeerTimeout = errors.New("peer silent")
	ErrPeerClosed  = errors.New("peer closed the connection")
	ErrStalled     = errors.New("peer does not take data")
	ErrPeerRefused = errors.New("peer refused the connection")
	ErrUnreachable = errors.New("peer not reachable")
)

// Message is a received message. Payload is lent from package buffer: whoever
// has the message calls Release once, and does not touch Payload afterwards.
type Message struct {
	wire.Header
	Payload []byte
}

// Release gives the payload back.
func (m *Message) Release() {
	if m.Payload != nil {
		buffer.Put(m.Payload)
		m.Payload = nil
	}
}

// Conn is an open connection of one volume. Send, Close and the questions may
// be used from many goroutines, Receive from one at a time.
type Conn struct {
	raw     net.Conn
	cork    *corked
	tls     *tls.Conn
	in      *bufio.Reader
	lower   *bufio.Reader // below TLS
	path    string
	peer    wire.Hello
	version uint16
	timeout time.Duration

	recvSeq uint64
	rtt     atomic.Int64
	heard   atomic.Int64 // time.Since(started) of the last message

	started time.Time
	wake    chan struct{}
	closed  chan struct{}
	ended   chan struct{} // closed when the writer is gone and the socket closed

	scratch []byte // of the SendNow under way

	mu      sync.Mutex
	space   *sync.Cond // somebody waits in Send
	queue   []byte     // encoded messages, oldest first
	writing int        // bytes being written, of the queue or of a SendNow
	sending bool       // somebody writes to the socket: the writer or a SendNow
	sendSeq uint64
	reason  error
}

// Path returns the name of the link in use, such as "private".
func (c *Conn) Path() string { return c.path }

// Peer returns the hello of the other side.
func (c *Conn) Peer() wire.Hello { return c.peer }

// Version returns the protocol version both sides agreed on.
func (c *Conn) Version() uint16 { return c.version }

// RTT returns the last measured round trip; zero before the first.
func (c *Conn) RTT() time.Duration { return time.Duration(c.rtt.Load()) }

// LastHeard returns how long ago the last message was received.
func (c *Conn) LastHeard() time.Duration {
	return time.Since(c.started) - time.Duration(c.heard.Load())
}

// Queued returns the bytes that wait to be sent.
func (c *Conn) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) + c.writing
}

// More reports whether a part of the next message has arrived already, as far as
// it was taken from the kernel. It is for the goroutine that calls Receive.
func (c *Conn) More() bool { return c.in.Buffered() > 0 || c.lower.Buffered() > 0 }

// Done is closed when the connection ended; Err says why.
func (c *Conn) Done() <-chan struct{} { return c.closed }

// Err returns why the connection ended; nil while it is open.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// Send queues a message; Length, PayloadCRC and Seq are set here. The payload
// is copied before Send returns. With data, Send blocks while more than
// QueueLimit bytes wait; messages without payload are let through up to twice
// that, so that an answer is not stuck behind data. It fails once the
// connection ended.
func (c *Conn) Send(h wire.Header, payload []byte) error {
	h.Length, h.PayloadCRC = uint32(len(payload)), wire.Checksum(payload)
	limit := QueueLimit
	if len(payload) == 0 {
		limit *= 2
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.reason == nil && len(c.queue)+c.writing > limit {
		c.space.Wait()
	}
	return c.enqueue(h, payload)
}

// TrySend is Send for messages that may be dropped: it never blocks, and
// reports whether the message was queued.
func (c *Conn) TrySend(h wire.Header, payload []byte) bool {
	h.Length, h.PayloadCRC = uint32(len(payload)), wire.Checksum(payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)+c.writing <= QueueLimit && c.enqueue(h, payload) == nil
}

// enqueue appends the message to the queue; c.mu is held.
func (c *Conn) enqueue(h wire.Header, payload []byte) error {
	if c.reason != nil {
		return fmt.Errorf("send %v: %w", h.Type, c.reason)
	}
	h.Seq = c.sendSeq
	c.sendSeq++
	c.queue = append(wire.AppendHeader(c.queue, &h), payload...)
	if !c.sending {
		c.wakeWriter()
	}
	return nil
}

// wakeWriter tells the writer that there is something in the queue.
func (c *Conn) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Receive returns the next message. Pings are answered inside. After an error
// the connection is closed with that error as its reason.
func (c *Conn) Receive() (Message, error) {
	for {
		m, err := c.receive()
		if err == nil && m.Type != wire.TypePing && m.Type != wire.TypePong {
			return m, nil
		}
		if err != nil {
			c.Close(err)
			return Message{}, c.Err()
		}
		c.alive(m)
	}
}

// alive handles Ping and Pong.
func (c *Conn) alive(m Message) {
	if m.Type == wire.TypePing {
		c.TrySend(wire.Header{Type: wire.TypePong, ID: m.ID}, nil)
		return
	}
	if sent := time.Duration(m.ID); sent >= 0 && sent <= time.Since(c.started) {
		c.rtt.Store(int64(time.Since(c.started) - sent))
	}
}

// receive reads and checks one message of an opened connection.
func (c *Conn) receive() (Message, error) {
	if err := c.tls.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return Message{}, c.named(err)
	}
	m, err := readMessage(c.in, &c.recvSeq)
	if err != nil {
		return Message{}, c.named(err)
	}
	c.heard.Store(int64(time.Since(c.started)))
	switch m.Type {
	case wire.TypeHello, wire.TypeHelloReply, wire.TypeHelloConfirm:
		m.Release()
		return Message{}, wire.Refuse(wire.OutOfPlace, "%v on a connection that is open already", m.Type)
	case wire.TypeError:
		defer m.Release()
		return Message{}, fmt.Errorf("%w: %s", ErrPeerClosed, printable(m.Payload))
	}
	return m, nil
}

// named turns an error of the socket into one of this package.
func (c *Conn) named(err error) error {
	var timeout net.Error
	switch {
	case wire.ReasonOf(err) != "":
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w for %v on link %s", ErrPeerTimeout, c.timeout, c.path)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w without a word", ErrPeerClosed)
	}
	return fmt.Errorf("receive on link %s: %w", c.path, err)
}

// readMessage reads one message and checks it against its place in the stream.
func readMessage(in io.Reader, seq *uint64) (Message, error) {
	var b [wire.HeaderSize]byte
	head := b[:]
	if pooled, ok := in.(*bufio.Reader); ok { // no copy, no allocation
		peeked, err := pooled.Peek(wire.HeaderSize)
		if err != nil {
			return Message{}, err
		}
		copy(head, peeked)
		_, _ = pooled.Discard(wire.HeaderSize)
	} else if _, err := io.ReadFull(in, head); err != nil {
		return Message{}, err
	}
	h, err := wire.ParseHeader(head)
	if err != nil {
		return Message{}, err
	}
	if h.Seq != *seq {
		return Message{}, wire.Refuse(wire.OutOfSequence, "%v has number %d, expected was %d", h.Type, h.Seq, *seq)
	}
	*seq++
	m := Message{Header: h}
	if h.Length == 0 {
		return m, h.CheckPayload(nil)
	}
	m.Payload = buffer.Get(int(h.Length))
	_, err = io.ReadFull(in, m.Payload)
	if err == nil {
		err = h.CheckPayload(m.Payload)
	}
	if err != nil {
		m.Release()
		return Message{}, err
	}
	return m, nil
}

// Close ends the connection and returns at once. The first reason given is the
// one Err returns; nil stands for ErrClosed. The peer is told the reason if it
// still takes messages. What waits in the queue is dropped.
func (c *Conn) Close(reason error) {
	if reason == nil {
		reason = ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil {
		return
	}
	c.reason = reason
	close(c.closed)
	c.space.Broadcast()
	now := time.Now()
	_ = c.raw.SetReadDeadline(now)
	_ = c.raw.SetWriteDeadline(now.Add(farewell))
}

// Wait returns when the connection is closed and its goroutine and socket are
// gone, at most a quarter of a second after Close.
func (c *Conn) Wait() { <-c.ended }

// printable makes a peer's text fit for a log.
func printable(text []byte) string {
	if len(text) == 0 {
		return "no reason given"
	}
	return fmt.Sprintf("%q", text[:min(len(text), 1000)])
}
