package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/arbiter"
	"gemel/node/replicator/wire"
)

// openings bounds how many connections may be in the opening at once; more are
// closed unheard.
const openings = 32

// Address is where to listen, and the link it belongs to.
type Address struct {
	Link string
	At   netip.AddrPort
}

// Listener accepts connections for all volumes of a node.
type Listener struct {
	options Options
	sockets []net.Listener
	slots   chan struct{}
	ctx     context.Context // of the openings, ended by Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	handlers map[string]func(*Pending)
	sessions map[[16]byte]*entry
}

// entry is a session that further lanes may join.
type entry struct {
	open chan struct{} // closed when conn is known, or will not come
	conn *Conn         // nil when the opening failed
}

// Options of Listen.
type Options struct {
	Addresses []Address
	// TLS is the server's side of mutual TLS 1.3; not used when Plain.
	TLS     *tls.Config
	Plain   bool // see Dialer
	Cluster string
	Node    arbiter.NodeID
	// PeerTimeout and PathTimeout are as in a Dialer.
	PeerTimeout, PathTimeout time.Duration
	// Refused is told of every connection that was turned away, for the log.
	Refused func(remote net.Addr, err error)
}

// Listen opens the sockets and starts to accept. An address that the node does
// not have yet is no error: it may come later.
func Listen(o Options) (*Listener, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Listener{options: o, slots: make(chan struct{}, openings), ctx: ctx, cancel: cancel,
		handlers: map[string]func(*Pending){}, sessions: map[[16]byte]*entry{}}
	config := net.ListenConfig{Control: freeBind}
	for _, a := range o.Addresses {
		socket, err := config.Listen(ctx, "tcp", a.At.String())
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("listen for the peer on link %s: %w", a.Link, err)
		}
		l.sockets = append(l.sockets, socket)
	}
	for _, socket := range l.sockets {
		l.running.Add(1)
		go l.accept(socket)
	}
	return l, nil
}

func (o *Options) check() error {
	if o.Plain {
		return nil
	}
	if err := checkTLS(o.TLS); err != nil {
		return err
	}
	if o.TLS.ClientAuth < tls.RequireAnyClientCert {
		return errors.New("replication link: the server must ask for client certificates")
	}
	return nil
}

// freeBind lets a socket wait on an address that does not exist yet.
func freeBind(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	})
}

// Addrs returns the addresses in use, in the order of the options.
func (l *Listener) Addrs() []net.Addr {
	var all []net.Addr
	for _, s := range l.sockets {
		all = append(all, s.Addr())
	}
	return all
}

// Handle gives connections for the volume to f, each in a goroutine of its own.
// f calls Accept or Refuse before it returns. Calling remove ends that; the
// peer is then told that the volume does not run here.
func (l *Listener) Handle(volume string, f func(*Pending)) (remove func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handlers[volume] = f
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.handlers, volume)
	}
}

// Close stops accepting, ends what is in the opening, and waits for it.
// Connections that are open stay open.
func (l *Listener) Close() {
	l.cancel()
	for _, s := range l.sockets {
		s.Close()
	}
	l.running.Wait()
}

func (l *Listener) accept(socket net.Listener) {
	defer l.running.Done()
	for {
		raw, err := socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or a peer gone already
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-l.ctx.Done():
				return
			}
		}
		select {
		case l.slots <- struct{}{}:
			l.running.Add(1)
			go l.open(raw)
		default:
			l.refused(raw, errors.New("too many connections are being opened at once"))
			raw.Close()
		}
	}
}

// open runs one connection's opening.
func (l *Listener) open(raw net.Conn) {
	defer l.running.Done()
	defer func() { <-l.slots }()
	_ = raw.SetDeadline(time.Now().Add(l.options.PeerTimeout))
	stop := context.AfterFunc(l.ctx, func() { raw.Close() })
	defer stop()
	config := l.options.TLS
	if l.options.Plain {
		config = nil
	}
	road := newLane("", raw, config, false, l.options.PeerTimeout)
	if err := road.handshake(l.ctx); err != nil {
		l.refused(raw, err)
		raw.Close()
		return
	}
	m, err := road.listen()
	if err == nil && m.Type == wire.TypeJoin {
		err = l.join(road, &m)
	} else if err == nil {
		err = l.begin(road, &m)
	}
	m.Release()
	if err != nil {
		l.refuse(road, err)
	}
}

// begin hands a connection that asks for a new session to its volume.
func (l *Listener) begin(road *lane, m *Message) error {
	if m.Type != wire.TypeHello {
		return wire.Refuse(wire.OutOfPlace, "%v where %v was due", m.Type, wire.TypeHello)
	}
	hello, err := wire.ParseHello(m.Payload)
	if err != nil {
		return err
	}
	handler, err := l.greet(&hello)
	if err != nil {
		return err
	}
	road.name = hello.Link
	p := &Pending{listener: l, lane: road, hello: hello}
	handler(p)
	if !p.settled {
		p.Refuse(errors.New("the volume did not answer"))
	}
	return nil
}

// greet finds the volume that a hello asks for.
func (l *Listener) greet(hello *wire.Hello) (func(*Pending), error) {
	mine := wire.Hello{Node: l.options.Node}
	if err := related(l.options.Cluster, hello.Volume, &mine, hello); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	handler := l.handlers[hello.Volume]
	if handler == nil {
		return nil, wire.Refuse(wire.ForeignVolume, "volume %q does not run on this node; "+
			"see `gemel status` there", hello.Volume)
	}
	return handler, nil
}

// join brings a connection into an open session.
func (l *Listener) join(road *lane, m *Message) error {
	join, err := wire.ParseJoin(m.Payload)
	if err != nil {
		return err
	}
	road.name = join.Link
	l.mu.Lock()
	e := l.sessions[join.Session]
	l.mu.Unlock()
	if e == nil {
		return errUnknownSession
	}
	select {
	case <-e.open:
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
	if e.conn == nil {
		return errUnknownSession
	}
	if err := e.conn.key.answerJoin(road, &join); err != nil {
		return err
	}
	e.conn.add(road)
	return nil
}

// refuse tells the dialer why not.
func (l *Listener) refuse(road *lane, err error) {
	if errors.Is(err, errUnknownSession) {
		// Usual after a restart; the dialer opens a new session.
		road.refuse(wire.CodeUnknownSession, errors.New("there is no such session here"))
		return
	}
	l.refused(road.raw, err)
	road.refuse(0, err)
}

func (l *Listener) refused(raw net.Conn, err error) {
	if l.options.Refused != nil {
		l.options.Refused(raw.RemoteAddr(), err)
	}
}

// Pending is a connection whose hello was read and not yet answered.
type Pending struct {
	listener *Listener
	lane     *lane
	hello    wire.Hello
	settled  bool
}

// Hello returns the peer's introduction.
func (p *Pending) Hello() wire.Hello { return p.hello }

// Accept answers with this side's hello and waits until the peer confirms it.
// Versions, features and random numbers are set here.
func (p *Pending) Accept(mine wire.Hello) (*Conn, error) {
	p.settled = true
	prepare(&mine)
	mine.Echo, mine.Link = p.hello.Nonce, p.hello.Link
	_ = p.lane.raw.SetDeadline(time.Now().Add(p.listener.options.PeerTimeout))
	c, err := p.accept(&mine)
	if err != nil {
		p.Refuse(err)
		return nil, fmt.Errorf("accept connection from %v: %w", p.lane.raw.RemoteAddr(), err)
	}
	return c, nil
}

func (p *Pending) accept(mine *wire.Hello) (*Conn, error) {
	key, err := newKey(p.lane, &p.hello.Nonce, &mine.Nonce)
	if err != nil {
		return nil, err
	}
	// The peer may join more lanes as soon as it has sent its confirmation.
	e, forget := p.listener.expect(key.id)
	defer close(e.open)
	err = p.lane.talk(wire.Header{Type: wire.TypeHelloReply}, wire.AppendHello(nil, mine))
	if err == nil {
		err = p.confirmed(mine)
	}
	if err != nil {
		forget()
		return nil, err
	}
	_ = p.lane.raw.SetDeadline(time.Time{})
	o := &p.listener.options
	c := newConn(p.lane, p.hello, newPace(o.PeerTimeout, o.PathTimeout, 0), key)
	for _, a := range o.Addresses {
		c.road(a.Link)
	}
	c.leave = forget
	c.start()
	e.conn = c
	return c, nil
}

// expect announces a session that lanes may join.
func (l *Listener) expect(id [16]byte) (e *entry, forget func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e = &entry{open: make(chan struct{})}
	l.sessions[id] = e
	return e, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.sessions, id)
	}
}

// confirmed waits for the confirmation and compares it with the hello before.
func (p *Pending) confirmed(mine *wire.Hello) error {
	confirm, err := p.lane.hello(wire.TypeHelloConfirm)
	if err != nil {
		return err
	}
	if confirm.Nonce != p.hello.Nonce {
		return wire.Refuse(wire.WrongEcho, "the confirmation is not of the one who said hello")
	}
	return matches(mine, &confirm)
}

// Refuse tells the peer why not and closes the connection.
func (p *Pending) Refuse(reason error) {
	p.settled = true
	p.listener.refused(p.lane.raw, reason)
	p.lane.refuse(0, reason)
}
