package pairing

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"gemel/node/identity"
)

// Host is the side that keeps the authority.
type Host struct {
	Self      identity.Peer
	Authority *identity.Authority
	// Expect returns why a box that calls itself so may not join; nil: it may.
	Expect  func(identity.Peer) error
	Confirm Confirm
}

// Serve admits one box after the other until done says that all are there, or
// ctx ends. A conversation that fails is told and does not end it. The listener
// is closed when Serve returns.
func (h *Host) Serve(ctx context.Context, l net.Listener, joined func(identity.Peer) (done bool), failed func(error)) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer func() { _ = l.Close() }()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("wait for boxes on %s: %w", l.Addr(), err)
		}
		p, err := h.Admit(ctx, conn)
		switch {
		case err == nil && joined(p):
			return nil
		case err != nil && !errors.Is(err, context.Cause(ctx)):
			failed(err)
		}
	}
}

// Admit talks to one box over conn, closes it, and returns who got keys.
func (h *Host) Admit(ctx context.Context, conn net.Conn) (identity.Peer, error) {
	throwAway, err := temporary()
	if err != nil {
		return identity.Peer{}, err
	}
	tc := tls.Server(conn, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{throwAway},
		SessionTicketsDisabled: true})
	defer func() { _ = tc.Close() }()
	p, err := h.admit(ctx, tc)
	if err != nil {
		return p, fmt.Errorf("box at %s: %w", conn.RemoteAddr(), err)
	}
	return p, nil
}

func (h *Host) admit(ctx context.Context, conn *tls.Conn) (identity.Peer, error) {
	if err := shake(ctx, conn); err != nil {
		return identity.Peer{}, err
	}
	p, key, said, err := h.meet(ctx, conn)
	if err != nil {
		return p, err
	}
	yes, err := h.Confirm(ctx, p, said)
	if err == nil && !yes {
		err = fmt.Errorf("%w; %s got no keys: somebody may sit between the boxes, try on another network", ErrMismatch, p)
	}
	if err != nil {
		_ = send(conn, grant{Refused: "the words were not confirmed at the other box"})
		return p, err
	}
	var a agree
	if err := receive(ctx, conn, &a, peopleWait); err != nil {
		return p, fmt.Errorf("%s: %w", p, err)
	}
	if !a.Yes {
		return p, fmt.Errorf("%w, said %s; it got no keys", ErrMismatch, p)
	}
	cert, err := h.Authority.Issue(p, key)
	if err != nil {
		return p, err
	}
	if err := send(conn, grant{Authority: h.Authority.Certificate(), Certificate: cert}); err != nil {
		return p, err
	}
	var k kept
	if err := receive(ctx, conn, &k, answerWait); err != nil || !k.Kept {
		return p, fmt.Errorf("%s did not say that it kept its keys; look there, and repeat with --force if need be: %w", p, err)
	}
	return p, nil
}

// meet hears who joins and makes the words.
func (h *Host) meet(ctx context.Context, conn *tls.Conn) (p identity.Peer, key *ecdsa.PublicKey, said [Words]string, err error) {
	var m hello
	if err = receive(ctx, conn, &m, answerWait); err != nil {
		return p, nil, said, err
	}
	p = identity.Peer{Cluster: m.Cluster, Role: m.Role, Name: m.Name}
	key, err = h.acceptable(p, m)
	if err != nil {
		_ = send(conn, reply{Version: version, Refused: err.Error()})
		return p, nil, said, err
	}
	r := reply{Version: version, Cluster: h.Self.Cluster, Role: h.Self.Role, Name: h.Self.Name}
	if r.Number, err = number(); err != nil {
		return p, nil, said, err
	}
	if err = send(conn, r); err != nil {
		return p, nil, said, err
	}
	var v reveal
	if err = receive(ctx, conn, &v, answerWait); err != nil {
		return p, nil, said, err
	}
	if !bytes.Equal(commitment(m, v.Number), m.Commitment) {
		return p, nil, said, fmt.Errorf("%w: its number is not the one it committed itself to", ErrProtocol)
	}
	said, err = words(conn, m, r, v.Number)
	return p, key, said, err
}

// acceptable looks whether the box may ask for keys at all.
func (h *Host) acceptable(p identity.Peer, m hello) (*ecdsa.PublicKey, error) {
	switch {
	case m.Version != version:
		return nil, fmt.Errorf("%w: it speaks version %d, this box version %d; install the same gemel on both", ErrProtocol, m.Version, version)
	case p.Cluster != h.Self.Cluster:
		return nil, fmt.Errorf("it is configured for cluster %.60q, here is %q: %w", p.Cluster, h.Self.Cluster, identity.ErrWrongCluster)
	}
	if err := h.Expect(p); err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(m.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: its key: %w", ErrProtocol, err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: its key is not of the kind used here", ErrProtocol)
	}
	return key, nil
}

// temporary makes the certificate of one conversation; nobody looks at it.
func temporary() (tls.Certificate, error) {
	key, err := identity.NewKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, errors.Join(errors.New("make a throw-away certificate"), err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, nil
}
