package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

const (
	caFile   = "ca.pem"
	certFile = "cert.pem"
	keyFile  = "key.pem"
	caDir    = "ca"

	validity = 10 * 365 * 24 * time.Hour
	// slack lets a box whose clock is behind use new keys.
	slack = 24 * time.Hour
)

// Plan is what Init makes keys for.
type Plan struct {
	Cluster string
	Nodes   []string // names of the data nodes
	Witness string   // empty: none
	Admins  []string
	Force   bool // overwrite
}

func (p Plan) boxes() []Peer {
	var all []Peer
	for _, n := range p.Nodes {
		all = append(all, Peer{p.Cluster, RoleNode, n})
	}
	if p.Witness != "" {
		all = append(all, Peer{p.Cluster, RoleWitness, p.Witness})
	}
	for _, n := range p.Admins {
		all = append(all, Peer{p.Cluster, RoleAdmin, n})
	}
	return all
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

func (p Plan) check() error {
	if !plainName.MatchString(p.Cluster) {
		return fmt.Errorf("cluster name %q: use letters, digits and dashes", p.Cluster)
	}
	if len(p.Nodes) == 0 {
		return errors.New("no node is named; name both data nodes")
	}
	seen := map[string]bool{caDir: true}
	for _, b := range p.boxes() {
		if !plainName.MatchString(b.Name) {
			return fmt.Errorf("name %q: use letters, digits and dashes", b.Name)
		}
		if seen[b.Name] {
			return fmt.Errorf("name %q is taken twice, or is the authority's own", b.Name)
		}
		seen[b.Name] = true
	}
	return nil
}

// Init makes a new authority in dir/ca and, for every box of the plan, the
// directory dir/NAME with ca.pem, cert.pem and key.pem. It returns the
// directories made, the authority's first. Without Force it returns ErrExists
// rather than overwrite a file, and then has changed nothing.
func Init(dir string, plan Plan) ([]string, error) { return initAt(dir, plan, time.Now()) }

func initAt(dir string, plan Plan, now time.Time) ([]string, error) {
	if err := plan.check(); err != nil {
		return nil, fmt.Errorf("make keys: %w", err)
	}
	if err := vacant(dir, plan); err != nil {
		return nil, fmt.Errorf("make keys: %w", err)
	}
	made, err := makeAll(dir, plan, now)
	if err != nil {
		return made, fmt.Errorf("make keys in %s: %w", dir, err)
	}
	return made, nil
}

// vacant looks for every file before the first is written.
func vacant(dir string, plan Plan) error {
	if plan.Force {
		return nil
	}
	places := []string{filepath.Join(dir, caDir)}
	for _, b := range plan.boxes() {
		places = append(places, filepath.Join(dir, b.Name))
	}
	for _, place := range places {
		if err := Vacant(place); err != nil {
			return err
		}
	}
	return nil
}

func makeAll(dir string, plan Plan, now time.Time) ([]string, error) {
	a, err := newAuthority(plan.Cluster, now)
	if err != nil {
		return nil, err
	}
	caPlace := filepath.Join(dir, caDir)
	made := []string{caPlace}
	if err := write(caPlace, map[string]*pem.Block{caFile: certificate(a.cert.Raw), keyFile: a.keyBlock}); err != nil {
		return nil, err
	}
	for _, b := range plan.boxes() {
		cert, key, err := a.issue(b, now)
		if err != nil {
			return made, fmt.Errorf("%s: %w", b, err)
		}
		place := filepath.Join(dir, b.Name)
		files := map[string]*pem.Block{caFile: certificate(a.cert.Raw), certFile: certificate(cert), keyFile: key}
		if err := write(place, files); err != nil {
			return made, err
		}
		made = append(made, place)
	}
	return made, nil
}

type authority struct {
	cert     *x509.Certificate
	key      *ecdsa.PrivateKey
	keyBlock *pem.Block
}

func newAuthority(cluster string, now time.Time) (*authority, error) {
	key, block, err := newKey()
	if err != nil {
		return nil, err
	}
	t, err := template("gemel authority of "+cluster, now)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(raw)
	return &authority{cert: cert, key: key, keyBlock: block}, err
}

func (a *authority) issue(p Peer, now time.Time) (cert []byte, key *pem.Block, err error) {
	private, block, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	cert, err = sign(a.cert, a.key, p, private.Public(), now)
	return cert, block, err
}

// sign makes the certificate of the box p for its public key.
func sign(ca *x509.Certificate, key *ecdsa.PrivateKey, p Peer, public crypto.PublicKey, now time.Time) ([]byte, error) {
	t, err := template(p.Name, now)
	if err != nil {
		return nil, err
	}
	t.URIs = []*url.URL{p.uri()}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return x509.CreateCertificate(rand.Reader, t, ca, public, key)
}

func template(name string, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-slack), NotAfter: now.Add(validity)}, nil
}

func newKey() (*ecdsa.PrivateKey, *pem.Block, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	return key, &pem.Block{Type: "PRIVATE KEY", Bytes: raw}, err
}

func certificate(raw []byte) *pem.Block { return &pem.Block{Type: "CERTIFICATE", Bytes: raw} }

// write puts files into place, readable by their owner alone.
func write(place string, files map[string]*pem.Block) error {
	if err := os.MkdirAll(place, 0o700); err != nil {
		return err
	}
	for name, block := range files {
		path := filepath.Join(place, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err // removed first, so that the mode below holds
		}
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
