package identity

import (
	"crypto/tls"
	"fmt"
)

// ServerTLS is for a side that listens. Every connection needs a certificate of
// this cluster for which allow returns true; a nil allow takes all of the
// cluster. A refusal wraps ErrUnknownPeer, ErrWrongCluster or ErrExpired.
func (id *Identity) ServerTLS(allow func(Peer) bool) *tls.Config {
	c := id.base()
	c.ClientAuth = tls.RequireAnyClientCert // verified below, with our own words
	c.VerifyConnection = func(s tls.ConnectionState) error {
		p, err := id.verify(s)
		if err != nil {
			return err
		}
		if allow != nil && !allow(p) {
			return fmt.Errorf("%s is not expected here: %w", quoted(p), ErrUnknownPeer)
		}
		return nil
	}
	return c
}

// ClientTLS is for a side that calls the node or witness called name; anybody
// else who answers is refused.
func (id *Identity) ClientTLS(name string) *tls.Config {
	c := id.base()
	// The standard check compares host names, which boxes here do not have.
	// VerifyConnection checks authority, time, cluster, role and name instead.
	c.InsecureSkipVerify = true //nolint:gosec // see above
	c.VerifyConnection = func(s tls.ConnectionState) error {
		p, err := id.verify(s)
		if err != nil {
			return err
		}
		if p.Name != name || p.Role == RoleAdmin {
			return fmt.Errorf("%s answered where %q should: %w", quoted(p), name, ErrUnknownPeer)
		}
		return nil
	}
	return c
}

func (id *Identity) base() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{id.cert},
		SessionTicketsDisabled: true, // every connection shows its certificate anew
		Time:                   id.now,
	}
}

// verify checks the other side's certificate and returns who it is.
func (id *Identity) verify(s tls.ConnectionState) (Peer, error) {
	p, err := PeerOf(s)
	if err != nil {
		return Peer{}, err
	}
	if p.Cluster != id.Cluster {
		return Peer{}, fmt.Errorf("%s is of cluster %q, this box of %q: %w", quoted(p), p.Cluster, id.Cluster, ErrWrongCluster)
	}
	if err := id.signed(s.PeerCertificates[0]); err != nil {
		return Peer{}, fmt.Errorf("%s: %w", quoted(p), err)
	}
	return p, nil
}

// PeerOf returns who is at the other end of a connection whose handshake is done.
func PeerOf(s tls.ConnectionState) (Peer, error) {
	if len(s.PeerCertificates) == 0 {
		return Peer{}, fmt.Errorf("%w: it showed no certificate", ErrUnknownPeer)
	}
	return peerOf(s.PeerCertificates[0])
}

// Nodes allows data nodes with one of the given names.
func Nodes(names ...string) func(Peer) bool {
	return func(p Peer) bool {
		if p.Role != RoleNode {
			return false
		}
		for _, n := range names {
			if n == p.Name {
				return true
			}
		}
		return false
	}
}

// quoted shows names that strangers chose.
func quoted(p Peer) string { return fmt.Sprintf("%s %q", p.Role, p.Name) }
