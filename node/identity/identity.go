// Package identity says who a box is and who may speak to it: certificates that
// carry the cluster, a role and a name, and TLS configurations that check them.
// It is not a permission table: what a known peer may ask is decided by those
// who answer.
package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Roles of a certificate.
const (
	RoleNode    = "node"    // one of the two data nodes
	RoleWitness = "witness" // the third voter
	RoleAdmin   = "admin"   // a person's box: status and orders
)

// What a caller may want to tell apart.
var (
	// ErrWrongCluster: the other side's certificate belongs to another cluster.
	ErrWrongCluster = errors.New("certificate of another cluster")
	// ErrUnknownPeer: the other side has no certificate of this cluster's
	// authority, or its name or role is not expected here.
	ErrUnknownPeer = errors.New("unknown peer")
	// ErrExpired: a certificate's time is over, or has not begun.
	ErrExpired = errors.New("certificate not valid at this time")
	// ErrUnsafe: a private key can be read by others than its owner.
	ErrUnsafe = errors.New("private key is not private")
	// ErrExists: Init would overwrite keys.
	ErrExists = errors.New("keys exist already")
)

// Peer is who a certificate says somebody is.
type Peer struct {
	Cluster string
	Role    string // RoleNode, RoleWitness or RoleAdmin
	Name    string
}

// String shows the peer as role and name.
func (p Peer) String() string { return p.Role + " " + p.Name }

func (p Peer) uri() *url.URL {
	return &url.URL{Scheme: "gemel", Host: p.Cluster, Path: "/" + p.Role + "/" + p.Name}
}

// peerOf reads the peer out of a certificate's URI gemel://cluster/role/name.
func peerOf(c *x509.Certificate) (Peer, error) {
	if len(c.URIs) != 1 || c.URIs[0].Scheme != "gemel" {
		return Peer{}, fmt.Errorf("%w: its certificate (%s) was not made by gemel keys", ErrUnknownPeer, c.Subject.CommonName)
	}
	parts := strings.Split(strings.TrimPrefix(c.URIs[0].Path, "/"), "/")
	if len(parts) != 2 || parts[1] == "" || c.URIs[0].Host == "" {
		return Peer{}, fmt.Errorf("%w: its certificate names %q, not gemel://cluster/role/name", ErrUnknownPeer, c.URIs[0])
	}
	p := Peer{Cluster: c.URIs[0].Host, Role: parts[0], Name: parts[1]}
	if p.Role != RoleNode && p.Role != RoleWitness && p.Role != RoleAdmin {
		return Peer{}, fmt.Errorf("%w: its certificate has the role %q", ErrUnknownPeer, p.Role)
	}
	return p, nil
}

// Identity is this box's certificate with its key, and the cluster's authority.
// It does not change, and may be used by many goroutines.
type Identity struct {
	Peer // who this box is

	cert tls.Certificate
	ca   *x509.CertPool
	now  func() time.Time
}

// Load reads ca.pem, cert.pem and key.pem in dir. Errors: ErrUnsafe, ErrExpired,
// os.ErrNotExist, or a sentence about what does not fit.
func Load(dir string) (*Identity, error) {
	id, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("load keys from %s: %w", dir, err)
	}
	return id, nil
}

func load(dir string) (*Identity, error) {
	if err := private(filepath.Join(dir, keyFile)); err != nil {
		return nil, err
	}
	var blocks [3][]byte
	for i, name := range []string{caFile, certFile, keyFile} {
		raw, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // the directory is the operator's choice
		if err != nil {
			return nil, missing(err, name)
		}
		block, _ := pem.Decode(raw)
		if block == nil {
			return nil, fmt.Errorf("%s holds no PEM block; copy it again from where `gemel keys init` made it", name)
		}
		blocks[i] = block.Bytes
	}
	return assemble(blocks[0], blocks[1], blocks[2], time.Now)
}

func missing(err error, name string) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is missing (%w); run `gemel pair` on all boxes, or make keys with `gemel keys init` and copy this box's directory here", name, err)
	}
	return err
}

// private refuses a key that others than its owner can read.
func private(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return missing(err, keyFile)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o; chmod 600 it", ErrUnsafe, file, info.Mode().Perm())
	}
	return nil
}

func assemble(ca, cert, key []byte, now func() time.Time) (*Identity, error) {
	authority, err := x509.ParseCertificate(ca)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caFile, err)
	}
	leaf, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	signer, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	if !matches(signer, leaf) {
		return nil, fmt.Errorf("%s does not belong to %s; copy both again from where `gemel keys init` made them", keyFile, certFile)
	}
	self, err := peerOf(leaf)
	if err != nil {
		return nil, err
	}
	id := &Identity{Peer: self, ca: x509.NewCertPool(), now: now,
		cert: tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: signer, Leaf: leaf}}
	id.ca.AddCert(authority)
	if err := id.signed(leaf); err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	return id, nil
}

func matches(key any, leaf *x509.Certificate) bool {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return false
	}
	public, ok := signer.Public().(*ecdsa.PublicKey)
	return ok && public.Equal(leaf.PublicKey)
}

// Check refuses keys that were made for another cluster, role or box than the
// configuration says.
func (id *Identity) Check(cluster, role, name string) error {
	want := Peer{Cluster: cluster, Role: role, Name: name}
	switch {
	case id.Cluster != cluster:
		return fmt.Errorf("keys are of cluster %q, the configuration says %q: %w", id.Cluster, cluster, ErrWrongCluster)
	case id.Peer != want:
		return fmt.Errorf("keys are of %s, this box is %s: %w; copy the directory that belongs to this box", id.Peer, want, ErrUnknownPeer)
	}
	return nil
}

// signed checks a certificate's signature and time.
func (id *Identity) signed(leaf *x509.Certificate) error {
	_, err := leaf.Verify(x509.VerifyOptions{Roots: id.ca, CurrentTime: id.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: %s to %s; check the clock, or make new keys", ErrExpired,
			leaf.NotBefore.Format(time.DateOnly), leaf.NotAfter.Format(time.DateOnly))
	}
	return fmt.Errorf("%w: not signed by this cluster's authority (%w)", ErrUnknownPeer, err)
}
