package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"gemel/node/replicator/wire"
)

// Path is one way to the peer.
type Path struct {
	Name   string         // of the link, such as "private"
	Local  netip.Addr     // this node's address on the link; the zero Addr lets the kernel choose
	Remote netip.AddrPort // the peer's
}

// Dialer opens sessions with the peer.
type Dialer struct {
	Paths []Path // in order of preference
	// TLS is the client's side of mutual TLS 1.3; not used when Plain.
	TLS *tls.Config
	// Plain leaves TLS out: whoever reaches the network can read and change the
	// volume.
	Plain       bool
	PeerTimeout time.Duration // see the package comment
	// PathTimeout is the silence after which the session leaves a path; zero:
	// DefaultPathTimeout, or a third of PeerTimeout if that is less.
	PathTimeout time.Duration
	// HoldDown is how long a better path must be well before the session moves
	// back to it; zero: DefaultHoldDown.
	HoldDown time.Duration
	// Prober is shared by the sessions of all volumes; nil: each is alone.
	Prober *Prober
}

// connectLimit bounds the wait for the peer's kernel to answer.
const connectLimit = time.Second

// Dial tries the paths, the best first and the next ones a little later, and
// opens a session over the first that answers. mine is this side's hello;
// versions, features, random number and link name are set here. Each path may
// take PeerTimeout. When no path works the error says for each of them why.
func (d *Dialer) Dial(ctx context.Context, mine wire.Hello) (*Conn, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	left := make([]int, len(d.Paths))
	for i := range left {
		left[i] = i
	}
	var all error
	for len(left) > 0 && ctx.Err() == nil {
		l, i, err := d.race(ctx, left)
		all = errors.Join(all, err)
		if l == nil {
			break
		}
		c, err := d.begin(ctx, l, mine)
		if err == nil {
			return c, nil
		}
		all = errors.Join(all, d.pathError(i, err))
		left = slices.DeleteFunc(left, func(j int) bool { return j == i })
	}
	if all == nil {
		if all = ctx.Err(); all == nil {
			all = errors.New("no link is configured")
		}
	}
	return nil, fmt.Errorf("connect volume %s: %w", mine.Volume, all)
}

func (d *Dialer) check() error {
	if d.Plain {
		return nil
	}
	return checkTLS(d.TLS)
}

func (d *Dialer) pace() pace { return newPace(d.PeerTimeout, d.PathTimeout, d.HoldDown) }

func (d *Dialer) pathError(i int, err error) error {
	return fmt.Errorf("link %s to %v: %w", d.Paths[i].Name, d.Paths[i].Remote, err)
}

// raced is one path's result.
type raced struct {
	lane *lane
	path int
	err  error
}

// race connects over several paths, each a path timeout after the one before or
// when that one has failed, and returns the first lane. The others are closed.
// Without any, the error says for each path why.
func (d *Dialer) race(ctx context.Context, paths []int) (*lane, int, error) {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan raced, len(paths))
	next := time.NewTimer(0)
	defer next.Stop()
	var all error
	started, ended := 0, 0
	defer func() {
		cancel()
		closeRest(results, started-ended)
	}()
	for ended < len(paths) {
		select {
		case <-next.C:
			if started < len(paths) {
				go func(i int) {
					l, err := d.connect(ctx, i)
					results <- raced{l, i, err}
				}(paths[started])
				started++
				next.Reset(d.pace().pathTimeout)
			}
		case r := <-results:
			ended++
			if r.err == nil {
				return r.lane, r.path, nil
			}
			all = errors.Join(all, d.pathError(r.path, r.err))
			next.Reset(0)
		}
	}
	return nil, 0, all
}

// closeRest closes the lanes that came too late; each ends soon, since its
// context has ended.
func closeRest(results <-chan raced, n int) {
	for range n {
		if r := <-results; r.lane != nil {
			_ = r.lane.raw.Close()
		}
	}
}

// connect brings up a socket and TLS on a path.
func (d *Dialer) connect(ctx context.Context, path int) (*lane, error) {
	p := d.Paths[path]
	if d.Prober != nil {
		free, err := d.Prober.place(ctx, p.Name)
		if err != nil {
			return nil, err
		}
		defer free()
	}
	ctx, cancel := context.WithTimeout(ctx, d.PeerTimeout)
	defer cancel()
	dialer := net.Dialer{Timeout: connectLimit}
	if p.Local.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.Local, 0))
	}
	socket, err := dialer.DialContext(ctx, "tcp", p.Remote.String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	config := d.TLS
	if d.Plain {
		config = nil
	}
	l := newLane(p.Name, socket, config, true, d.PeerTimeout)
	if err := l.handshake(ctx); err != nil {
		_ = socket.Close()
		return nil, err
	}
	return l, nil
}

// opening runs f, an exchange on a new lane, within PeerTimeout and ctx. When it
// fails the lane is closed.
func (d *Dialer) opening(ctx context.Context, l *lane, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, d.PeerTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.raw.SetReadDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = l.raw.Close()
		return err
	}
	_ = l.raw.SetDeadline(time.Time{})
	return nil
}

// begin opens a session over a lane.
func (d *Dialer) begin(ctx context.Context, l *lane, mine wire.Hello) (*Conn, error) {
	mine.Link = l.name
	var peer wire.Hello
	var key sessionKey
	err := d.opening(ctx, l, func() (err error) {
		peer, key, err = l.introduce(mine)
		return err
	})
	if err != nil {
		return nil, err
	}
	c := newConn(l, peer, d.pace(), key)
	c.dialer = d
	for i, p := range d.Paths {
		c.road(p.Name).path = i
	}
	if d.Prober != nil {
		d.Prober.enter(c)
	}
	c.start()
	return c, nil
}

// another opens one more lane for the session of key.
func (d *Dialer) another(ctx context.Context, path int, key *sessionKey) (*lane, error) {
	l, err := d.connect(ctx, path)
	if err != nil {
		return nil, err
	}
	return l, d.opening(ctx, l, func() error { return key.join(l) })
}

// introduce is the dialer's half of the opening.
func (l *lane) introduce(mine wire.Hello) (peer wire.Hello, key sessionKey, err error) {
	prepare(&mine)
	if err := l.talk(wire.Header{Type: wire.TypeHello}, wire.AppendHello(nil, &mine)); err != nil {
		return peer, key, fmt.Errorf("send hello: %w", err)
	}
	if peer, err = l.hello(wire.TypeHelloReply); err != nil {
		return peer, key, fmt.Errorf("wait for the peer's hello: %w", err)
	}
	if err := matches(&mine, &peer); err != nil {
		l.refuse(0, err)
		return peer, key, err
	}
	if key, err = newKey(l, &mine.Nonce, &peer.Nonce); err != nil {
		return peer, key, err
	}
	mine.Echo = peer.Nonce
	if err := l.talk(wire.Header{Type: wire.TypeHelloConfirm}, wire.AppendHello(nil, &mine)); err != nil {
		return peer, key, fmt.Errorf("confirm hello: %w", err)
	}
	return peer, key, nil
}

// prepare sets what this package answers for in a hello.
func prepare(mine *wire.Hello) {
	mine.VersionMin, mine.VersionMax, mine.Features = wire.VersionMin, wire.VersionMax, wire.FeaturePaths
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
