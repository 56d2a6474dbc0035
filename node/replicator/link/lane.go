package link

import (
	"bufio"
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
	cork *corked
	tls  *tls.Conn // nil when plain
	out  io.Writer
	in   *bufio.Reader
	// lower is what was read from the socket below TLS.
	lower            *bufferedConn
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
)

// newLane puts a lane on a socket. wrap is tls.Client or tls.Server; without a
// TLS configuration the lane is plain.
func newLane(name string, socket net.Conn, config *tls.Config, wrap func(net.Conn, *tls.Config) *tls.Conn, timeout time.Duration) *lane {
	tune(socket, timeout)
	l := &lane{name: name, raw: &countedConn{Conn: socket}, patience: timeout}
	l.lower = &bufferedConn{Conn: l.raw, in: bufio.NewReaderSize(l.raw, smallLower)}
	l.cork = &corked{Conn: l.lower}
	if config == nil {
		l.out, l.in = l.cork, bufio.NewReaderSize(l.lower, smallIn)
		return l
	}
	config = config.Clone()
	config.DynamicRecordSizingDisabled = true
	l.tls = wrap(l.cork, config)
	l.out, l.in = l.tls, bufio.NewReaderSize(l.tls, smallIn)
	return l
}

// widen gives the lane the buffers of the one in use. It is for the goroutine
// that reads.
func (l *lane) widen() {
	l.lower.in = bufio.NewReaderSize(l.lower.in, wideLower)
	l.in = bufio.NewReaderSize(l.in, wideIn)
	l.cork.cork()
}

// buffered reports whether something was taken from the kernel and not read.
func (l *lane) buffered() bool { return l.in.Buffered() > 0 || l.lower.in.Buffered() > 0 }

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
	_, err := l.out.Write(wire.AppendMessage(nil, h, payload))
	if err == nil {
		err = l.cork.flush()
	}
	return err
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

// write sends the session's bytes, in one system call as far as the kernel takes
// it; plain ones from where they are. It uses parts up.
func (l *lane) write(parts [][]byte) error {
	if l.tls == nil {
		l.rest = parts
		_, err := l.rest.WriteTo(l.raw.Conn)
		return err
	}
	for _, p := range parts {
		if _, err := l.out.Write(p); err != nil {
			return err
		}
	}
	return l.cork.flush()
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

// bufferedConn reads many TLS records with one system call.
type bufferedConn struct {
	net.Conn
	in *bufio.Reader
}

func (b *bufferedConn) Read(p []byte) (int, error) { return b.in.Read(p) }

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
	if len(c.buf) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

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
