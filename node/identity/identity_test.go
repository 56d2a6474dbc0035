package identity

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var labPlan = Plan{Cluster: "lab", Nodes: []string{"server1", "server2"}, Witness: "witness", Admins: []string{"admin"}}

func makeKeys(t *testing.T, plan Plan) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := Init(dir, plan); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustLoad(t *testing.T, dir, name string) *Identity {
	t.Helper()
	id, err := Load(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestInitMakesOneDirectoryPerBox(t *testing.T) {
	dir := makeKeys(t, labPlan)
	for name, role := range map[string]string{"server1": RoleNode, "server2": RoleNode, "witness": RoleWitness, "admin": RoleAdmin} {
		id := mustLoad(t, dir, name)
		if id.Peer != (Peer{"lab", role, name}) {
			t.Errorf("%s: %+v", name, id.Peer)
		}
		if err := id.Check("lab", role, name); err != nil {
			t.Error(err)
		}
		for _, f := range []string{caFile, certFile, keyFile} {
			info, err := os.Stat(filepath.Join(dir, name, f))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s/%s: %v %v", name, f, info.Mode(), err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "server1", "ca-key.pem")); err == nil {
		t.Error("the authority's key left its directory")
	}
}

func TestInitRefusesToOverwrite(t *testing.T) {
	dir := makeKeys(t, labPlan)
	before, _ := os.ReadFile(filepath.Join(dir, "ca", keyFile))
	if _, err := Init(dir, labPlan); !errors.Is(err, ErrExists) {
		t.Fatalf("second init: %v", err)
	}
	after, _ := os.ReadFile(filepath.Join(dir, "ca", keyFile))
	if string(before) != string(after) {
		t.Error("a refused init changed the authority")
	}
	plan := labPlan
	plan.Force = true
	if _, err := Init(dir, plan); err != nil {
		t.Fatal(err)
	}
}

func TestInitRefusesBadPlans(t *testing.T) {
	for name, plan := range map[string]Plan{
		"no cluster": {Nodes: []string{"a"}}, "no node": {Cluster: "lab"}, "twice": {Cluster: "lab", Nodes: []string{"a", "a"}},
		"path": {Cluster: "lab", Nodes: []string{"../a"}}, "ca": {Cluster: "lab", Nodes: []string{"ca"}},
	} {
		if _, err := Init(t.TempDir(), plan); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	old := t.TempDir()
	if _, err := initAt(old, labPlan, time.Now().Add(-11*365*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(filepath.Join(old, "server1")); !errors.Is(err, ErrExpired) {
		t.Errorf("expired: %v", err)
	}

	dir, other := makeKeys(t, labPlan), makeKeys(t, labPlan)
	copyFile(t, filepath.Join(dir, "server2", keyFile), filepath.Join(dir, "server1", keyFile))
	if _, err := Load(filepath.Join(dir, "server1")); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("key of another box: %v", err)
	}
	copyFile(t, filepath.Join(other, "server2", caFile), filepath.Join(dir, "server2", caFile))
	if _, err := Load(filepath.Join(dir, "server2")); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("other authority: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "witness", keyFile), 0o640); err != nil { //nolint:gosec // the point of the test
		t.Fatal(err)
	}
	if _, err := Load(filepath.Join(dir, "witness")); !errors.Is(err, ErrUnsafe) {
		t.Errorf("open key: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "admin", certFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(filepath.Join(dir, "admin")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "gemel keys init") {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(filepath.Join(other, "admin", certFile), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(filepath.Join(other, "admin")); err == nil || !strings.Contains(err.Error(), "no PEM block") {
		t.Errorf("garbage: %v", err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	id := mustLoad(t, makeKeys(t, labPlan), "server1")
	if err := id.Check("other", RoleNode, "server1"); !errors.Is(err, ErrWrongCluster) {
		t.Error(err)
	}
	if err := id.Check("lab", RoleNode, "server2"); !errors.Is(err, ErrUnknownPeer) {
		t.Error(err)
	}
}

// shake runs one handshake over loopback and returns both sides' errors.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	done := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer func() { _ = raw.Close() }()
		c := tls.Server(raw, server)
		if err = c.Handshake(); err == nil {
			_, err = c.Write([]byte{1})
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	c := tls.Client(raw, client)
	if clientErr = c.Handshake(); clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1)) // TLS 1.3 tells a refused client only now
	}
	_ = raw.Close()
	return <-done, clientErr
}

func TestHandshake(t *testing.T) {
	// Two clusters under one authority, and a third box under its own.
	now := time.Now()
	a, err := newAuthority("lab", now)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(a *authority, p Peer) *Identity {
		t.Helper()
		cert, key, err := a.issue(p, now)
		if err != nil {
			t.Fatal(err)
		}
		id, err := assemble(a.cert.Raw, cert, key.Bytes, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	stranger, err := newAuthority("lab", now)
	if err != nil {
		t.Fatal(err)
	}
	server := issue(a, Peer{"lab", RoleNode, "server1"})
	peer := issue(a, Peer{"lab", RoleNode, "server2"})
	tests := []struct {
		name   string
		client *tls.Config
		server error // nil: accepted
		either string
	}{
		{"peer", peer.ClientTLS("server1"), nil, ""},
		{"admin not allowed", issue(a, Peer{"lab", RoleAdmin, "server2"}).ClientTLS("server1"), ErrUnknownPeer, ""},
		{"unknown name", issue(a, Peer{"lab", RoleNode, "server9"}).ClientTLS("server1"), ErrUnknownPeer, ""},
		{"other cluster, same authority", accepting(issue(a, Peer{"prod", RoleNode, "server2"})), ErrWrongCluster, ""},
		{"other authority", accepting(issue(stranger, Peer{"lab", RoleNode, "server2"})), ErrUnknownPeer, ""},
		{"no certificate", &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}, nil, "certificate"},
		{"TLS 1.2", old(peer.ClientTLS("server1")), nil, "version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			se, ce := shake(t, server.ServerTLS(Nodes("server2")), tt.client)
			switch {
			case tt.server != nil && !errors.Is(se, tt.server):
				t.Errorf("server: %v, want %v", se, tt.server)
			case tt.server != nil && ce == nil:
				t.Error("the client was not told")
			case tt.server == nil && tt.either == "" && (se != nil || ce != nil):
				t.Errorf("refused: %v, %v", se, ce)
			case tt.either != "" && (se == nil || !strings.Contains(se.Error(), tt.either)):
				t.Errorf("server: %v, want something about %s", se, tt.either)
			}
		})
	}

	t.Run("expired client", func(t *testing.T) {
		later := issue(a, Peer{"lab", RoleNode, "server1"})
		later.now = func() time.Time { return now.Add(validity + 2*slack) }
		if se, _ := shake(t, later.ServerTLS(nil), accepting(peer)); !errors.Is(se, ErrExpired) {
			t.Errorf("got %v", se)
		}
	})
	t.Run("wrong name answers", func(t *testing.T) {
		if _, ce := shake(t, server.ServerTLS(nil), peer.ClientTLS("witness")); !errors.Is(ce, ErrUnknownPeer) {
			t.Errorf("got %v", ce)
		}
	})
	t.Run("admin answers", func(t *testing.T) {
		admin := issue(a, Peer{"lab", RoleAdmin, "server1"})
		if _, ce := shake(t, admin.ServerTLS(nil), peer.ClientTLS("server1")); !errors.Is(ce, ErrUnknownPeer) {
			t.Errorf("got %v", ce)
		}
	})
	t.Run("other cluster answers", func(t *testing.T) {
		prod := issue(a, Peer{"prod", RoleNode, "server1"})
		if _, ce := shake(t, prod.ServerTLS(nil), peer.ClientTLS("server1")); !errors.Is(ce, ErrWrongCluster) {
			t.Errorf("got %v", ce)
		}
	})
}

// accepting is a client that would take any server: the server must refuse it.
func accepting(id *Identity) *tls.Config {
	c := id.ClientTLS("")
	c.VerifyConnection = nil
	return c
}

func old(c *tls.Config) *tls.Config {
	c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	return c
}
