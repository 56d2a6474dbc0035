// Package link is the road between two replicators: sockets, paths, TLS, the
// exchange of hellos, batching and the proof of life. It moves messages of
// package wire in order, each exactly once, or ends the connection saying why.
// It does not know what a message means, and it never begins a new session by
// itself.
//
// A Conn is a session: one or several TCP connections, called lanes, one of them
// in use. Its messages form one stream of bytes in each direction. What was sent
// is kept until the peer confirms it (every header carries how far its sender
// has received), so that the stream goes on over another lane exactly where the
// peer has it when the lane in use fails. Neither the volume nor the application
// sees more of that than a pause.
//
// Opening: the dialing side sends Hello with a random number; the accepting
// side answers HelloReply with the number and one of its own; HelloConfirm
// gives that one back. Then both directions are free. Both sides may dial; the
// custom is that node 0 dials, so that a volume has one session. From the
// opening both derive the session's id and key; further lanes prove with them
// that they belong to it (Join). A peer that was restarted does not know the
// session, and it ends.
//
// Paths: the dialing side keeps one lane on every path that stands by, also on
// the path in use. Lanes that stand by carry pulses; on the path in use four per
// PathTimeout. Sessions of many volumes share this work, see Prober. It alone decides to move (package file choose.go): when the lane
// in use breaks, when its path is silent for PathTimeout while another one
// answers, or when data does not come through. It moves back to a better path
// that was well for HoldDown, longer if that path keeps failing.
//
// Life: each side sends something at least four times per PeerTimeout, and ends
// the session when nothing came on any lane for PeerTimeout, when no lane could
// be brought into use for as long, or when nothing could be sent for as long
// although the path lives. So a peer that does not read is as lost as one that
// is silent, and nobody waits for it for ever. Pulses do not queue behind data:
// a busy road is not taken for a dead one.
//
// Memory: what is kept to be sent or confirmed is at most QueueLimit and one
// message for each goroutine that sends (messages without payload may take as
// much again), in chunks from package buffer. Beside it a lane in use has 1 MiB
// of buffers, one that stands by 32 KiB, and what the kernel takes.
package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gemel/node/replicator/buffer"
	"gemel/node/replicator/wire"
)

// Limits of one session in bytes.
const (
	// QueueLimit bounds what is kept: waiting to be sent, on its way, and not yet
	// confirmed by the peer. Send blocks above it.
	QueueLimit = 8 << 20
	// burst is what goes to the kernel at once, with one deadline.
	burst = 256 << 10
	// tellAfter is how much may be received before the peer is told, if nothing
	// else goes back to it.
	tellAfter = QueueLimit / 8
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

	errUnknownSession = errors.New("the peer does not know this session; it was restarted or has ended it")
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

// Conn is an open session of one volume. Send, Close and the questions may be
// used from many goroutines, Receive from one at a time.
type Conn struct {
	pace
	peer    wire.Hello
	version uint16
	key     sessionKey
	dialer  *Dialer // nil on the side that accepts
	started time.Time

	ctx     context.Context // ends with the session
	cancel  context.CancelFunc
	wake    chan struct{} // the writer
	kick    chan struct{} // the keeper
	closed  chan struct{}
	ended   chan struct{}  // closed when the goroutines are gone and the sockets closed
	running sync.WaitGroup // all goroutines but the writer
	leave   func()         // tells the listener that the session is over

	rtt     atomic.Int64
	heard   atomic.Int64 // c.now() of the last message on any lane
	waiting atomic.Bool  // Receive waits for a message

	// Of the goroutine that calls Receive:
	from    *lane
	recvSeq uint64

	mu       sync.Mutex
	space    *sync.Cond // somebody waits in Send
	change   *sync.Cond // lane in use, end of sending, end of session
	out      stream
	received uint64   // bytes of whole messages that were received
	told     uint64   // the peer was told so much of it
	sending  bool     // somebody writes to the lane in use
	whole    bool     // the last write ended with a whole message
	slices   [][]byte // of the one who sends
	reason   error
	rest     rest
	paths
}

// pace is how long the session waits for what; see Dialer.
type pace struct{ timeout, pathTimeout, holdDown time.Duration }

// newPace fills in what was not given.
func newPace(timeout, pathTimeout, holdDown time.Duration) pace {
	if pathTimeout <= 0 {
		pathTimeout = min(DefaultPathTimeout, timeout/3)
	}
	if holdDown <= 0 {
		holdDown = DefaultHoldDown
	}
	return pace{timeout, max(pathTimeout, 4*time.Millisecond), holdDown}
}

// Defaults of a Dialer and a Listener.
const (
	DefaultPathTimeout = 300 * time.Millisecond
	DefaultHoldDown    = 5 * time.Second
)

// newConn starts a session on the lane that opened it: from here on its writer
// sends what is queued, or a caller of SendNow while the writer has nothing to
// do. start must be called once the fields that are left are set.
func newConn(l *lane, peer wire.Hello, p pace, key sessionKey) *Conn {
	version, _ := wire.CommonVersion(peer.VersionMin, peer.VersionMax)
	c := &Conn{
		pace: p, peer: peer, version: version, key: key, started: time.Now(),
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		closed: make(chan struct{}), ended: make(chan struct{}), leave: func() {},
		whole: true, out: stream{held: noHold},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.space, c.change = sync.NewCond(&c.mu), sync.NewCond(&c.mu)
	l.widen()
	c.lane, c.turn, l.used = l, 1, true
	return c
}

func (c *Conn) start() {
	c.running.Add(1)
	go c.keep()
	go c.write()
}

// now is the session's clock.
func (c *Conn) now() time.Duration { return time.Since(c.started) }

// Peer returns the hello of the other side.
func (c *Conn) Peer() wire.Hello { return c.peer }

// Version returns the protocol version both sides agreed on.
func (c *Conn) Version() uint16 { return c.version }

// RTT returns the last measured round trip of a message in the queue; zero
// before the first.
func (c *Conn) RTT() time.Duration { return time.Duration(c.rtt.Load()) }

// LastHeard returns how long ago the last message was received.
func (c *Conn) LastHeard() time.Duration { return c.now() - time.Duration(c.heard.Load()) }

// Queued returns the bytes that wait to be sent or confirmed.
func (c *Conn) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.kept()
}

// More reports whether a part of the next message has arrived already, as far as
// it was taken from the kernel. It is for the goroutine that calls Receive.
func (c *Conn) More() bool { return c.from != nil && c.from.buffered() }

// Done is closed when the session ended; Err says why.
func (c *Conn) Done() <-chan struct{} { return c.closed }

// Err returns why the session ended; nil while it is open.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// Receive returns the next message. Pings are answered inside. After an error
// the session is closed with that error as its reason.
func (c *Conn) Receive() (Message, error) {
	for {
		m, err := c.receive()
		if err != nil {
			c.Close(err)
			return Message{}, c.Err()
		}
		switch m.Type {
		case wire.TypePing, wire.TypePong:
			c.alive(m)
		case wire.TypeConfirm:
		default:
			return m, nil
		}
	}
}

// alive handles Ping and Pong.
func (c *Conn) alive(m Message) {
	if m.Type == wire.TypePing {
		c.TrySend(wire.Header{Type: wire.TypePong, ID: m.ID}, nil)
		return
	}
	if sent := time.Duration(m.ID); sent >= 0 && sent <= c.now() { //nolint:gosec // checked
		c.rtt.Store(int64(c.now() - sent))
	}
}

// receive reads the next message of the session, over whichever lane it comes.
func (c *Conn) receive() (Message, error) {
	c.waiting.Store(true)
	defer c.waiting.Store(false)
	for {
		if c.from == nil {
			if err := c.awaitLane(); err != nil {
				return Message{}, err
			}
		}
		seq := c.recvSeq
		m, err := readMessage(c.from.in, &seq)
		if err == nil && m.Type == wire.TypeError {
			defer m.Release()
			return Message{}, fmt.Errorf("%w: %s", ErrPeerClosed, printable(m.Payload))
		}
		if err == nil {
			var mine bool
			if mine, err = c.take(c.from, &m, seq); mine || err != nil {
				return m, err
			}
			m.Release() // the session has moved, and gets it once more
		}
		if wire.ReasonOf(err) != "" {
			return Message{}, err
		}
		c.leaveLane(err)
	}
}

// awaitLane waits until a lane is in use.
func (c *Conn) awaitLane() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.lane == nil && c.reason == nil {
		c.change.Wait()
	}
	c.from = c.lane
	return c.reason
}

// leaveLane stops reading from a lane that failed or is no longer in use.
func (c *Conn) leaveLane(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.lose(c.from, named(c.from, err))
	}
	c.from = nil
}

// take counts a message that came over lane l, unless the session has moved
// meanwhile: then the message comes once more.
func (c *Conn) take(l *lane, m *Message, seq uint64) (mine bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lane != l {
		return false, c.reason
	}
	switch m.Type {
	case wire.TypeHello, wire.TypeHelloReply, wire.TypeHelloConfirm, wire.TypeJoin, wire.TypeJoinReply,
		wire.TypeJoinConfirm, wire.TypeResume, wire.TypeResumeReply, wire.TypePulse:
		return false, wire.Refuse(wire.OutOfPlace, "%v on a connection that is in use", m.Type)
	}
	c.recvSeq = seq
	c.received += wire.HeaderSize + uint64(m.Length)
	if !signOfLife(m.Type) {
		c.stir()
	}
	l.heard = c.now()
	c.heard.Store(int64(l.heard))
	if err := c.out.confirmLow(m.Received); err != nil {
		return false, err
	}
	c.space.Broadcast()
	if c.received-c.told > tellAfter && c.reason == nil {
		c.queue(&wire.Header{Type: wire.TypeConfirm}, nil)
	}
	return true, nil
}

// signOfLife reports whether a message is the session's own and not the volume's.
func signOfLife(t wire.Type) bool {
	return t == wire.TypePing || t == wire.TypePong || t == wire.TypeConfirm
}

// Close ends the session and returns at once. The first reason given is the
// one Err returns; nil stands for ErrClosed. The peer is told the reason if it
// still takes messages. What waits in the queue is dropped.
func (c *Conn) Close(reason error) {
	if reason == nil {
		reason = ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(reason)
}

// end is Close; c.mu is held.
func (c *Conn) end(reason error) {
	if c.reason != nil {
		return
	}
	c.reason = reason
	if p := c.prober(); p != nil {
		p.leave(c)
	}
	c.cancel()
	close(c.closed)
	c.space.Broadcast()
	c.change.Broadcast()
	now := time.Now()
	for _, l := range append(c.standby[:len(c.standby):len(c.standby)], c.lane) {
		if l != nil {
			_ = l.raw.SetReadDeadline(now)
			_ = l.raw.SetWriteDeadline(now.Add(farewell))
		}
	}
}

// Wait returns when the session is closed and its goroutines and sockets are
// gone, at most a quarter of a second after Close.
func (c *Conn) Wait() { <-c.ended }

// named turns an error of a socket into a sentence about the link.
func named(l *lane, err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w on link %s", ErrPeerTimeout, l.name)
	case closedByPeer(err):
		return fmt.Errorf("%w without a word on link %s: %w", ErrPeerClosed, l.name, err)
	}
	return fmt.Errorf("link %s: %w", l.name, err)
}
