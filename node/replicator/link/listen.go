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
}

// Options of Listen.
type Options struct {
	Addresses []Address
	// TLS is the server's side of mutual TLS 1.3.
	TLS         *tls.Config
	Cluster     string
	Node        arbiter.NodeID
	PeerTimeout time.Duration
	// Refused is told of every connection that was turned away, for the log.
	Refused func(remote net.Addr, err error)
}

// Listen opens the sockets and starts to accept. An address that the node does
// not have yet is no error: it may come later.
func Listen(o Options) (*Listener, error) {
	if err := checkTLS(o.TLS); err != nil {
		return nil, err
	}
	if o.TLS.ClientAuth < tls.RequireAnyClientCert {
		return nil, errors.New("replication link: the server must ask for client certificates")
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Listener{options: o, slots: make(chan struct{}, openings), ctx: ctx, cancel: cancel,
		handlers: map[string]func(*Pending){}}
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
	p := &Pending{listener: l, session: newSession(raw, l.options.TLS, tls.Server, l.options.PeerTimeout)}
	if err := p.session.tls.HandshakeContext(l.ctx); err != nil {
		l.refused(raw, fmt.Errorf("TLS: %w", err))
		raw.Close()
		return
	}
	handler, err := l.greet(p)
	if err != nil {
		p.Refuse(err)
		return
	}
	handler(p)
	if !p.settled {
		p.Refuse(errors.New("the volume did not answer"))
	}
}

// greet reads the hello and finds the volume it asks for.
func (l *Listener) greet(p *Pending) (func(*Pending), error) {
	hello, err := p.session.hello(wire.TypeHello)
	if err != nil {
		return nil, err
	}
	p.hello = hello
	mine := wire.Hello{Node: l.options.Node}
	if err := related(l.options.Cluster, hello.Volume, &mine, &hello); err != nil {
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

func (l *Listener) refused(raw net.Conn, err error) {
	if l.options.Refused != nil {
		l.options.Refused(raw.RemoteAddr(), err)
	}
}

// Pending is a connection whose hello was read and not yet answered.
type Pending struct {
	listener *Listener
	session  *session
	hello    wire.Hello
	settled  bool
}

// Hello returns the peer's introduction.
func (p *Pending) Hello() wire.Hello { return p.hello }

// Accept answers with this side's hello and waits until the peer confirms it.
// Versions and random numbers are set here.
func (p *Pending) Accept(mine wire.Hello) (*Conn, error) {
	p.settled = true
	prepare(&mine)
	mine.Echo, mine.Link = p.hello.Nonce, p.hello.Link
	timeout := p.listener.options.PeerTimeout
	_ = p.session.raw.SetDeadline(time.Now().Add(timeout))
	err := p.session.send(wire.TypeHelloReply, wire.AppendHello(nil, &mine))
	if err == nil {
		err = p.confirmed(&mine)
	}
	if err != nil {
		p.Refuse(err)
		return nil, fmt.Errorf("accept connection from %v: %w", p.session.raw.RemoteAddr(), err)
	}
	_ = p.session.raw.SetDeadline(time.Time{})
	return newConn(p.session, p.hello.Link, p.hello, timeout), nil
}

// confirmed waits for the confirmation and compares it with the hello before.
func (p *Pending) confirmed(mine *wire.Hello) error {
	confirm, err := p.session.hello(wire.TypeHelloConfirm)
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
	p.listener.refused(p.session.raw, reason)
	p.session.refuse(reason)
}
