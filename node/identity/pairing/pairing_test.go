package pairing

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"gemel/node/identity"
)

func peer(role, name string) identity.Peer {
	return identity.Peer{Cluster: "lab", Role: role, Name: name}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// table is a host and a box that wants to join, over loopback.
type table struct {
	t    *testing.T
	host *Host
	l    net.Listener
	said [2][Words]string // what host and joining box showed
	yes  [2]bool
}

func newTable(t *testing.T) *table {
	t.Helper()
	a, made, err := identity.OpenAuthority(filepath.Join(t.TempDir(), "authority"), "lab")
	must(t, err)
	if !made {
		t.Fatal("an authority was found in an empty directory")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	e := &table{t: t, l: l, yes: [2]bool{true, true}}
	e.host = &Host{Self: peer(identity.RoleNode, "server1"), Authority: a,
		Expect: func(p identity.Peer) error {
			if p.Name != "server2" {
				return errors.New("no such box in the configuration")
			}
			return nil
		},
		Confirm: e.confirm(0)}
	return e
}

func (e *table) confirm(side int) Confirm {
	return func(_ context.Context, _ identity.Peer, words [Words]string) (bool, error) {
		e.said[side] = words
		return e.yes[side], nil
	}
}

// run lets self join and returns both sides' errors.
func (e *table) run(self identity.Peer, dial func() (net.Conn, error), keep func(Granted) error) (hostErr, joinErr error) {
	e.t.Helper()
	done := make(chan error, 1)
	go func() {
		conn, err := e.l.Accept()
		if err == nil {
			_, err = e.host.Admit(e.t.Context(), conn)
		}
		done <- err
	}()
	conn, err := dial()
	must(e.t, err)
	defer func() { _ = conn.Close() }()
	joinErr = Join(e.t.Context(), conn, self, e.confirm(1), keep)
	_ = conn.Close()
	return <-done, joinErr
}

func (e *table) dial() (net.Conn, error) { return net.Dial("tcp", e.l.Addr().String()) }

func TestKeysThatWork(t *testing.T) {
	e, dir := newTable(t), filepath.Join(t.TempDir(), "keys")
	self := peer(identity.RoleNode, "server2")
	hostErr, joinErr := e.run(self, e.dial, func(g Granted) error {
		if g.By != e.host.Self {
			t.Errorf("granted by %v", g.By)
		}
		return identity.Install(dir, self, g.Authority, g.Certificate, g.Key, false)
	})
	must(t, hostErr)
	must(t, joinErr)
	if e.said[0] != e.said[1] || e.said[0][0] == "" {
		t.Errorf("words: %v and %v", e.said[0], e.said[1])
	}
	id, err := identity.Load(dir)
	must(t, err)
	must(t, id.Check("lab", identity.RoleNode, "server2"))
	if err := identity.Install(dir, self, nil, nil, nil, false); !errors.Is(err, identity.ErrExists) {
		t.Errorf("install over keys: %v, want ErrExists", err)
	}
}

func TestNoKeysWithoutBothPeople(t *testing.T) {
	for _, c := range []struct {
		name           string
		yes            [2]bool
		hostIs, joinIs error
	}{
		{"host says no", [2]bool{false, true}, ErrMismatch, ErrRefused},
		{"joining side says no", [2]bool{true, false}, ErrMismatch, ErrMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newTable(t)
			e.yes = c.yes
			hostErr, joinErr := e.run(peer(identity.RoleNode, "server2"), e.dial, func(Granted) error {
				t.Error("keys were granted")
				return nil
			})
			if !errors.Is(hostErr, c.hostIs) || !errors.Is(joinErr, c.joinIs) {
				t.Errorf("host: %v; joining side: %v", hostErr, joinErr)
			}
		})
	}
}

func TestWhoMayNotJoin(t *testing.T) {
	other := identity.Peer{Cluster: "elsewhere", Role: identity.RoleNode, Name: "server2"}
	for _, self := range []identity.Peer{peer(identity.RoleNode, "server3"), other} {
		e := newTable(t)
		hostErr, joinErr := e.run(self, e.dial, func(Granted) error { return nil })
		if hostErr == nil || !errors.Is(joinErr, ErrRefused) || e.said[0][0] != "" {
			t.Errorf("%v: host: %v; joining side: %v; words %v", self, hostErr, joinErr, e.said[0])
		}
	}
}

// TestSomebodyInTheMiddle: one who ends both TLS conversations and passes every
// message on makes the words differ.
func TestSomebodyInTheMiddle(t *testing.T) {
	e := newTable(t)
	mitm, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = mitm.Close() }()
	cert, err := temporary()
	must(t, err)
	go func() {
		conn, err := mitm.Accept()
		if err != nil {
			return
		}
		in := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
		out, err := tls.Dial("tcp", e.l.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the attacker does not mind
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
		_, _ = io.Copy(in, out)
		_ = in.Close()
	}()
	e.yes = [2]bool{false, false}
	hostErr, joinErr := e.run(peer(identity.RoleNode, "server2"),
		func() (net.Conn, error) { return net.Dial("tcp", mitm.Addr().String()) },
		func(Granted) error { t.Error("keys were granted"); return nil })
	if hostErr == nil || joinErr == nil {
		t.Errorf("host: %v; joining side: %v", hostErr, joinErr)
	}
	if e.said[0][0] == "" || e.said[0] == e.said[1] {
		t.Errorf("the words do not tell: %v and %v", e.said[0], e.said[1])
	}
}

// TestCommitmentBinds: another number than the one committed to is found out.
func TestCommitmentBinds(t *testing.T) {
	h := hello{Version: version, Cluster: "lab", Role: "node", Name: "server2", Key: []byte{1}}
	a, b := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	if bytes.Equal(commitment(h, a), commitment(h, b)) {
		t.Error("two numbers, one commitment")
	}
	other := h
	other.Name = "server1"
	if bytes.Equal(commitment(h, a), commitment(other, a)) {
		t.Error("two names, one commitment")
	}
}

func TestStrangersAreEnded(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"not TLS": []byte("GET / HTTP/1.0\r\n\r\n"),
		"nothing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			e := newTable(t)
			done := make(chan error, 1)
			go func() {
				conn, err := e.l.Accept()
				if err == nil {
					_, err = e.host.Admit(t.Context(), conn)
				}
				done <- err
			}()
			conn, err := e.dial()
			must(t, err)
			_, _ = conn.Write(bytes)
			_ = conn.Close()
			if err := <-done; !errors.Is(err, ErrProtocol) {
				t.Errorf("%v, want ErrProtocol", err)
			}
		})
	}
}

func TestOversizedMessageIsRefused(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _ = a.Close(); _ = b.Close() }()
	go func() { _, _ = b.Write(binary.BigEndian.AppendUint32(nil, maxMessage+1)) }()
	if err := receive(t.Context(), a, &hello{}, time.Minute); !errors.Is(err, ErrProtocol) {
		t.Errorf("%v, want ErrProtocol", err)
	}
}

func TestListIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range list {
		if seen[w] {
			t.Errorf("%q stands twice", w)
		}
		seen[w] = true
	}
	if len(list) != 256 {
		t.Errorf("%d words, want 256", len(list))
	}
}
