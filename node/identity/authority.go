package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Authority can make a cluster's certificates. Its key stays where it is.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// OpenAuthority reads the authority in dir, or makes one for cluster when there
// is none; made tells which. A directory that holds half of one is an error.
func OpenAuthority(dir, cluster string) (a *Authority, made bool, err error) {
	if !plainName.MatchString(cluster) {
		return nil, false, fmt.Errorf("cluster name %q: use letters, digits and dashes", cluster)
	}
	a, err = readAuthority(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return a, false, wrapAuthority(dir, err)
	}
	if err := Vacant(dir); err != nil {
		return nil, false, err
	}
	fresh, err := newAuthority(cluster, time.Now())
	if err != nil {
		return nil, false, wrapAuthority(dir, err)
	}
	err = write(dir, map[string]*pem.Block{caFile: certificate(fresh.cert.Raw), keyFile: fresh.keyBlock})
	return &Authority{cert: fresh.cert, key: fresh.key}, true, wrapAuthority(dir, err)
}

func wrapAuthority(dir string, err error) error {
	if err != nil {
		return fmt.Errorf("authority in %s: %w", dir, err)
	}
	return nil
}

func readAuthority(dir string) (*Authority, error) {
	key, err := readPEM(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	if err := private(filepath.Join(dir, keyFile)); err != nil {
		return nil, err
	}
	raw, err := readPEM(filepath.Join(dir, caFile))
	if err != nil {
		return nil, errors.New(caFile + " is missing or unreadable beside " + keyFile + "; restore it, or use another directory")
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caFile, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(cert.PublicKey) || !cert.IsCA {
		return nil, fmt.Errorf("%s and %s do not make an authority; restore both", keyFile, caFile)
	}
	return &Authority{cert: cert, key: private}, nil
}

func readPEM(path string) ([]byte, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the directory is the operator's choice
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	return block.Bytes, nil
}

// Certificate returns the authority's own certificate, DER.
func (a *Authority) Certificate() []byte { return a.cert.Raw }

// Issue makes the certificate of a box for its public key, DER.
func (a *Authority) Issue(p Peer, public crypto.PublicKey) ([]byte, error) {
	if !plainName.MatchString(p.Name) {
		return nil, fmt.Errorf("name %q: use letters, digits and dashes", p.Name)
	}
	return sign(a.cert, a.key, p, public, time.Now())
}

// NewKey draws a private key for a box.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, _, err := newKey()
	return key, err
}

// Install writes an identity into dir, after looking that its parts belong
// together and name self. It returns ErrExists rather than overwrite one, unless
// force is set.
func Install(dir string, self Peer, ca, cert []byte, key *ecdsa.PrivateKey, force bool) error {
	if !force {
		if err := Vacant(dir); err != nil {
			return err
		}
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	id, err := assemble(ca, cert, raw, time.Now)
	if err != nil {
		return fmt.Errorf("the certificate that was received: %w", err)
	}
	if err := id.Check(self.Cluster, self.Role, self.Name); err != nil {
		return fmt.Errorf("the certificate that was received: %w", err)
	}
	return write(dir, map[string]*pem.Block{caFile: certificate(ca), certFile: certificate(cert),
		keyFile: {Type: "PRIVATE KEY", Bytes: raw}})
}

// Vacant returns ErrExists when dir holds any file of an identity.
func Vacant(dir string) error {
	for _, f := range []string{caFile, certFile, keyFile} {
		if _, err := os.Lstat(filepath.Join(dir, f)); err == nil {
			return fmt.Errorf("%s: %w; new keys lock out every box that has the old ones; use another directory, or --force",
				filepath.Join(dir, f), ErrExists)
		}
	}
	return nil
}

// SignedBy reports whether a made this box's certificate.
func (id *Identity) SignedBy(a *Authority) bool {
	return id.cert.Leaf.CheckSignatureFrom(a.cert) == nil
}
