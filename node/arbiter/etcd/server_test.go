package etcd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// member of an etcd of the test's own, on loopback.
type testMember struct {
	client, peer string
	dir          string
	cmd          *exec.Cmd
}

// server starts an etcd of one member, and returns its endpoint.
func server(t *testing.T) string {
	t.Helper()
	return "http://" + servers(t, 1)[0].client
}

// servers starts an etcd of several members and waits until it answers.
func servers(t *testing.T, count int) []*testMember {
	t.Helper()
	binary, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("etcd is not installed (Debian package etcd-server)")
	}
	var all []*testMember
	var cluster []string
	for i := range count {
		m := &testMember{client: address(t), peer: address(t), dir: t.TempDir()}
		all = append(all, m)
		cluster = append(cluster, fmt.Sprintf("member%d=http://%s", i, m.peer))
	}
	for i, m := range all {
		m.start(t, binary, fmt.Sprintf("member%d", i), strings.Join(cluster, ","))
	}
	for _, m := range all {
		await(t, m)
	}
	return all
}

func (m *testMember) start(t *testing.T, binary, name, cluster string) {
	t.Helper()
	log, err := os.Create(filepath.Join(m.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	m.cmd = exec.Command(binary, "--data-dir", filepath.Join(m.dir, "data"), "--name", name, //nolint:gosec // a test's own
		"--listen-client-urls", "http://"+m.client, "--advertise-client-urls", "http://"+m.client,
		"--listen-peer-urls", "http://"+m.peer, "--initial-advertise-peer-urls", "http://"+m.peer,
		"--initial-cluster", cluster)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.cmd.Process.Kill(); _ = m.cmd.Wait(); _ = log.Close() })
}

// await waits until a member answers what takes a majority.
func await(t *testing.T, m *testMember) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := dial(t, m)
	if _, err := c.Get(ctx, "up"); err != nil {
		text, _ := os.ReadFile(filepath.Join(m.dir, "log"))
		t.Fatalf("etcd does not answer: %v\n%s", err, text)
	}
}

func dial(t *testing.T, m *testMember) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + m.client}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// leads says whether a member is the leader, by its own word.
func leads(t *testing.T, m *testMember) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := dial(t, m).Status(ctx, "http://"+m.client)
	if err != nil {
		t.Fatal(err)
	}
	return s.Leader == s.Header.GetMemberId()
}

func address(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
