package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/replicator/buffer"
	"gemel/node/replicator/wire"
)

// lane is one TCP connection, with TLS unless plain. While it is opened and
// while it stands by it carries talk: small messages, numbered by the lane. In
// use it carries the session's messages and nothing else.
type lane struct {
	name string // of the link
	raw  *countedConn
	tls  *tls.Conn     // makes the handshake; nil when plain
	keys secrets       // of TLS, while it is made
	dial bool          // this side is TLS's client
	data *records      // TLS's data, once the handshake is made; nil when plain
	low  *bufio.Reader // the socket's bytes, until data has them
	in   *bufio.Reader // the messages' bytes

	rest             net.Buffers // what a write of the session's bytes has left
	sendSeq, recvSeq uint64      // of the talk

	talking  sync.Mutex    // one message at a time
	used     bool          // no talk any more: the session's messages have the lane
	patience time.Duration // for one message of the talk
	opened   bool          // joined: of the goroutine that reads

	// What follows is guarded by Conn.mu. Times count from the session's start.
	asked  time.Duration // first pulse that was not answered; 0 when there is none
	pulsed time.Duration // last pulse sent
	heard  time.Duration // last talk received
	gone   error         // why it was closed
}

// Sizes of a lane's buffers in bytes: while it is opened and stands by, and in use.
const (
	smallIn, smallLower = 4 << 10, 8 << 10
	wideIn, wideLower   = 64 << 10, burst
	wideTLS             = 20 << 10 // a record, so that what is longer passes it by
)

// newLane puts a lane on a socket. Without a TLS configuration it is plain;
// otherwise handshake must be called, dials saying which side begins it.
func newLane(name string, socket net.Conn, config *tls.Config, dials bool, timeout time.Duration) *lane {
	tune(socket, timeout)
	l := &lane{name: name, raw: &countedConn{Conn: socket}, dial: dials, patience: timeout}
	l.low = bufio.NewReaderSize(l.raw, smallLower)
	if l.in = l.low; config == nil {
		return l
	}
	config = config.Clone()
	if config.KeyLogWriter != nil {
		config.KeyLogWriter = io.MultiWriter(config.KeyLogWriter, &l.keys)
	} else {
		config.KeyLogWriter = &l.keys
	}
	below := &boundedConn{Conn: l.raw, bounded: bounded{in: l.low}}
	if dials {
		l.tls = tls.Client(below, config)
	} else {
		l.tls = tls.Server(below, config)
	}
	return l
}

// handshake proves who the two boxes are.
func (l *lane) handshake(ctx context.Context) error {
	if l.tls == nil {
		return nil
	}
	if err := l.tls.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	state := l.tls.ConnectionState()
	var err error
	if l.data, err = newRecords(l.raw.Conn, l.low, &state, &l.keys, l.dial); err != nil {
		return err
	}
	l.keys = secrets{}
	l.in = bufio.NewReaderSize(l.data, smallIn)
	return nil
}

// widen gives the lane the buffers of the one in use. It is for the goroutine
// that reads.
func (l *lane) widen() {
	if l.data == nil {
		l.in = bufio.NewReaderSize(l.in, wideIn)
		return
	}
	l.data.in = bufio.NewReaderSize(l.data.in, wideLower)
	l.in = bufio.NewReaderSize(l.in, wideTLS)
}

// buffered reports whether something was taken from the kernel and not read.
func (l *lane) buffered() bool { return l.in.Buffered() > 0 || l.data != nil && l.data.buffered() }

// talk sends one message of the lane's own, unless the lane is in use.
func (l *lane) talk(h wire.Header, payload []byte) error {
	l.talking.Lock()
	defer l.talking.Unlock()
	if l.used {
		return nil
	}
	_ = l.raw.SetWriteDeadline(time.Now().Add(l.patience))
	return l.say(h, payload)
}

// handOver sends the last message of the lane's own: what follows on it is the
// session's.
func (l *lane) handOver(h wire.Header, payload []byte) error {
	l.talking.Lock()
	defer l.talking.Unlock()
	l.used = true
	_ = l.raw.SetWriteDeadline(time.Now().Add(l.patience))
	return l.say(h, payload)
}

// last says why the session ends, and closes the lane.
func (l *lane) last(h wire.Header, payload []byte) {
	l.talking.Lock()
	defer l.talking.Unlock()
	_ = l.raw.SetWriteDeadline(time.Now().Add(farewell))
	_ = l.say(h, payload)
	_ = l.raw.Close()
}

// say sends one message; l.talking is held.
func (l *lane) say(h wire.Header, payload []byte) error {
	h.Seq = l.sendSeq
	l.sendSeq++
	return l.write([][]byte{wire.AppendMessage(nil, h, payload)})
}

// listen reads one message of the lane's own. A peer's Error becomes an error
// with its words.
func (l *lane) listen() (Message, error) {
	m, err := readMessage(l.in, &l.recvSeq)
	if err != nil || m.Type != wire.TypeError {
		return m, err
	}
	defer m.Release()
	switch {
	case l.opened:
		return Message{}, said{ErrPeerClosed, printable(m.Payload)}
	case m.Code == wire.CodeUnknownSession:
		return Message{}, said{errUnknownSession, printable(m.Payload)}
	}
	return Message{}, said{ErrPeerRefused, printable(m.Payload)}
}

// said is what the peer gave as a reason.
type said struct {
	what  error
	words string
}

// errSaid is in every error that is the peer's word.
var errSaid = errors.New("the peer said so")

func (s said) Error() string   { return s.what.Error() + ": " + s.words }
func (s said) Unwrap() []error { return []error{s.what, errSaid} }

// expect reads one message of the given type.
func (l *lane) expect(want wire.Type) (Message, error) {
	m, err := l.listen()
	if err == nil && m.Type != want {
		m.Release()
		return m, wire.Refuse(wire.OutOfPlace, "%v where %v was due", m.Type, want)
	}
	return m, err
}

// hello reads one hello of the given type.
func (l *lane) hello(want wire.Type) (wire.Hello, error) {
	m, err := l.expect(want)
	if err != nil {
		return wire.Hello{}, err
	}
	defer m.Release()
	return wire.ParseHello(m.Payload)
}

// refuse tells the peer why and closes the socket.
func (l *lane) refuse(code uint32, reason error) {
	l.last(wire.Header{Type: wire.TypeError, Code: code}, cut(reason.Error()))
}

// write sends bytes, in one system call as far as the kernel takes them; plain
// ones from where they are. It uses parts up.
func (l *lane) write(parts [][]byte) error {
	if l.data != nil {
		return l.data.write(parts)
	}
	l.rest = parts
	_, err := l.rest.WriteTo(l.raw.Conn)
	return err
}

// secret returns what only the two ends of this lane know; empty when plain.
func (l *lane) secret() ([]byte, error) {
	if l.tls == nil {
		return nil, nil
	}
	state := l.tls.ConnectionState()
	return state.ExportKeyingMaterial("EXPERIMENTAL gemel session", nil, 32)
}

// countedConn counts what came in.
type countedConn struct {
	net.Conn
	came atomic.Uint64
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.came.Add(uint64(n)) //nolint:gosec // never negative
	return n, err
}

// boundedConn is the socket below crypto/tls.
type boundedConn struct {
	net.Conn
	bounded
}

func (b *boundedConn) Read(p []byte) (int, error) { return b.bounded.Read(p) }

// readMessage reads one message and checks it against its place in the stream.
// An Error has no place: it may cut in.
func readMessage(in *bufio.Reader, seq *uint64) (Message, error) {
	head, err := in.Peek(wire.HeaderSize)
	if err != nil {
		return Message{}, err
	}
	h, err := wire.ParseHeader(head)
	if err != nil {
		return Message{}, err
	}
	_, _ = in.Discard(wire.HeaderSize)
	if h.Seq != *seq && h.Type != wire.TypeError {
		return Message{}, wire.Refuse(wire.OutOfSequence, "%v has number %d, expected was %d", h.Type, h.Seq, *seq)
	}
	*seq++
	m := Message{Header: h}
	if h.Length == 0 {
		return m, h.CheckPayload(nil)
	}
	m.Payload = buffer.Get(int(h.Length))
	sum, err := readSummed(in, m.Payload)
	if err == nil {
		err = h.CheckSum(sum)
	}
	if err != nil {
		m.Release()
		return Message{}, err
	}
	return m, nil
}

// readSummed fills p and returns its checksum. Each piece is summed while the
// processor still has it in its cache.
func readSummed(in *bufio.Reader, p []byte) (sum uint32, err error) {
	for len(p) > 0 {
		n, err := in.Read(p[:min(len(p), burst)])
		sum = wire.AddChecksum(sum, p[:n])
		if p = p[n:]; err != nil && len(p) > 0 {
			return sum, err
		}
	}
	return sum, nil
}

// closedByPeer reports whether err says that the other end closed the socket, as
// the kernel of a box does whose program ended.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET) ||
		errors.Is(err, unix.EPIPE)
}

// tune sets what the kernel should know of a replication socket. Each is a
// wish: a kernel without it still works.
func tune(socket net.Conn, timeout time.Duration) {
	tcp, ok := socket.(*net.TCPConn)
	if !ok {
		return
	}
	_ = tcp.SetNoDelay(true)
	_ = tcp.SetKeepAlive(false) // pulses do that, and faster
	conn, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
		unpaced(int(fd))
		// What is not sent yet waits here, where a new write can be told apart
		// from it, not in the kernel.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, burst)
	})
}

// unpaced replaces BBR, where that is the host's choice, by CUBIC: BBR paces what
// it sends by a timer of the kernel, which on a cable between two boxes costs
// more processor than everything else that TCP does.
func unpaced(fd int) {
	if name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION); err == nil && strings.HasPrefix(name, "bbr") {
		_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
	}
}

// printable makes a peer's text fit for a log.
func printable(text []byte) string {
	if len(text) == 0 {
		return "no reason given"
	}
	return fmt.Sprintf("%q", text[:min(len(text), 1000)])
}

func cut(text string) []byte { return []byte(text[:min(len(text), 1000)]) }
