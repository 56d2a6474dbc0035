package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/replicator/wire"
)

// Path is one way to the peer.
type Path struct {
	Name   string         // of the link, such as "private"
	Local  netip.Addr     // this node's address on the link; the zero Addr lets the kernel choose
	Remote netip.AddrPort // the peer's
}

// Dialer opens connections to the peer.
type Dialer struct {
	Paths []Path // in order of preference
	// TLS is the client's side of mutual TLS 1.3.
	TLS         *tls.Config
	PeerTimeout time.Duration // see the package comment
}

// Dial tries the paths in order and returns the first connection the peer
// accepts. mine is this side's hello; versions, random number and link name are
// set here. Each path may take PeerTimeout. When no path works the error says
// for each of them why.
func (d *Dialer) Dial(ctx context.Context, mine wire.Hello) (*Conn, error) {
	if err := checkTLS(d.TLS); err != nil {
		return nil, err
	}
	var all error
	for _, p := range d.Paths {
		c, err := d.dialPath(ctx, p, mine)
		if err == nil {
			return c, nil
		}
		all = errors.Join(all, fmt.Errorf("link %s to %v: %w", p.Name, p.Remote, err))
		if ctx.Err() != nil {
			break
		}
	}
	if all == nil {
		all = errors.New("no link is configured")
	}
	return nil, fmt.Errorf("connect volume %s: %w", mine.Volume, all)
}

func (d *Dialer) dialPath(ctx context.Context, p Path, mine wire.Hello) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.PeerTimeout)
	defer cancel()
	dialer := net.Dialer{}
	if p.Local.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.Local, 0))
	}
	raw, err := dialer.DialContext(ctx, "tcp", p.Remote.String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	s := newSession(raw, d.TLS, tls.Client, d.PeerTimeout)
	mine.Link = p.Name
	peer, err := s.introduce(ctx, mine)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	return newConn(s, p.Name, peer, d.PeerTimeout), nil
}

// introduce is the dialer's half of the opening.
func (s *session) introduce(ctx context.Context, mine wire.Hello) (wire.Hello, error) {
	if err := s.tls.HandshakeContext(ctx); err != nil {
		return wire.Hello{}, fmt.Errorf("TLS: %w", err)
	}
	prepare(&mine)
	if err := s.send(wire.TypeHello, wire.AppendHello(nil, &mine)); err != nil {
		return wire.Hello{}, fmt.Errorf("send hello: %w", err)
	}
	peer, err := s.hello(wire.TypeHelloReply)
	if err != nil {
		return peer, fmt.Errorf("wait for the peer's hello: %w", err)
	}
	if err := matches(&mine, &peer); err != nil {
		s.refuse(err)
		return peer, err
	}
	mine.Echo = peer.Nonce
	if err := s.send(wire.TypeHelloConfirm, wire.AppendHello(nil, &mine)); err != nil {
		return peer, fmt.Errorf("confirm hello: %w", err)
	}
	return peer, nil
}

// prepare sets what this package answers for in a hello.
func prepare(mine *wire.Hello) {
	mine.VersionMin, mine.VersionMax = wire.VersionMin, wire.VersionMax
	rand.Read(mine.Nonce[:])
}

// matches returns why an answer does not belong to the hello mine.
func matches(mine, peer *wire.Hello) error {
	if peer.Echo != mine.Nonce {
		return wire.Refuse(wire.WrongEcho, "the answer is not for this hello; it may be a replay")
	}
	return related(mine.Cluster, mine.Volume, mine, peer)
}

// related returns why peer is not the other side of this volume.
func related(cluster, volume string, mine, peer *wire.Hello) error {
	switch {
	case peer.Cluster != cluster:
		return wire.Refuse(wire.ForeignCluster, "the peer is in cluster %q, this node in %q", peer.Cluster, cluster)
	case peer.Volume != volume:
		return wire.Refuse(wire.ForeignVolume, "the peer speaks of volume %q, this node of %q", peer.Volume, volume)
	case peer.Node == mine.Node:
		return wire.Refuse(wire.ForeignNode, "the peer says it is node number %d, as this node is; "+
			"check the order of nodes in both configurations", peer.Node)
	}
	return nil
}

// checkTLS refuses a configuration that would let a stranger in.
func checkTLS(c *tls.Config) error {
	if c == nil || c.MinVersion < tls.VersionTLS13 || c.InsecureSkipVerify && c.VerifyConnection == nil && c.VerifyPeerCertificate == nil {
		return errors.New("replication link: TLS 1.3 with verified certificates is required")
	}
	return nil
}

// tune sets what the kernel should know of a replication socket. Each is a
// wish: a kernel without it still works.
func tune(raw net.Conn, timeout time.Duration) {
	tcp, ok := raw.(*net.TCPConn)
	if !ok {
		return
	}
	_ = tcp.SetNoDelay(true)
	_ = tcp.SetKeepAlive(false) // pings do that, and faster
	conn, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
		// What is not sent yet waits here, where a new write can be told apart
		// from it, not in the kernel.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, burst)
	})
}
