package pairing

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"

	"gemel/node/identity"
)

// Granted is what a box gets for its pairing.
type Granted struct {
	Authority, Certificate []byte // DER
	Key                    *ecdsa.PrivateKey
	By                     identity.Peer // the host, as the words proved
}

// Join talks to a host over conn and returns what it granted to self, once keep
// has stored it. It wraps ErrRefused, ErrMismatch or ErrProtocol.
func Join(ctx context.Context, conn net.Conn, self identity.Peer, ask Confirm, keep func(Granted) error) error {
	tc := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}) //nolint:gosec // people compare words instead
	if err := join(ctx, tc, self, ask, keep); err != nil {
		return fmt.Errorf("pair with %s: %w", conn.RemoteAddr(), err)
	}
	return nil
}

func join(ctx context.Context, conn *tls.Conn, self identity.Peer, ask Confirm, keep func(Granted) error) error {
	if err := shake(ctx, conn); err != nil {
		return err
	}
	key, err := identity.NewKey()
	if err != nil {
		return err
	}
	h, r, mine, err := introduce(ctx, conn, self, key)
	if err != nil {
		return err
	}
	said, err := words(conn, h, r, mine)
	if err != nil {
		return err
	}
	host := identity.Peer{Cluster: r.Cluster, Role: r.Role, Name: r.Name}
	yes, err := ask(ctx, host, said)
	if err != nil {
		return err
	}
	if err := send(conn, agree{Yes: yes}); err != nil {
		return err
	}
	if !yes {
		return fmt.Errorf("%w; no key was taken: somebody may sit between the boxes, try on another network", ErrMismatch)
	}
	var g grant
	if err := receive(ctx, conn, &g, peopleWait); err != nil {
		return err
	}
	if g.Refused != "" {
		return fmt.Errorf("%w: %.300q", ErrRefused, g.Refused)
	}
	if err := keep(Granted{Authority: g.Authority, Certificate: g.Certificate, Key: key, By: host}); err != nil {
		return err
	}
	return send(conn, kept{Kept: true})
}

// shake does the TLS handshake within bounded time.
func shake(ctx context.Context, conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return nil
}

// introduce sends the hello, hears the reply and reveals the number.
func introduce(ctx context.Context, conn *tls.Conn, self identity.Peer, key *ecdsa.PrivateKey) (h hello, r reply, mine []byte, err error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return h, r, nil, err
	}
	if mine, err = number(); err != nil {
		return h, r, nil, err
	}
	h = hello{Version: version, Cluster: self.Cluster, Role: self.Role, Name: self.Name, Key: public}
	h.Commitment = commitment(h, mine)
	if err = send(conn, h); err != nil {
		return h, r, nil, err
	}
	if err = receive(ctx, conn, &r, answerWait); err != nil {
		return h, r, nil, err
	}
	switch {
	case r.Refused != "":
		return h, r, nil, fmt.Errorf("%w: %.300q", ErrRefused, r.Refused)
	case r.Version != version:
		return h, r, nil, fmt.Errorf("%w: it speaks version %d, this box version %d; install the same gemel on both", ErrProtocol, r.Version, version)
	case r.Cluster != self.Cluster:
		return h, r, nil, fmt.Errorf("it keeps the authority of cluster %.60q, this box is configured for %q: %w",
			r.Cluster, self.Cluster, identity.ErrWrongCluster)
	}
	return h, r, mine, send(conn, reveal{Number: mine})
}
