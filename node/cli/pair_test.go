package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gemel/node/config"
	"gemel/node/identity"
)

// pairConfig writes the configuration of one box, all on loopback.
func pairConfig(t *testing.T, name string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "gemel.yaml")
	text := strings.ReplaceAll(config.Example, "198.18.0.1}", "127.0.0.1}") +
		"run-dir: " + dir + "\nkeys: " + filepath.Join(dir, "keys") + "\n"
	text = regexp.MustCompile(`(?m)^node: .*$`).ReplaceAllString(text, "node: "+name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

type pairRun struct {
	code     int
	out, err string
}

func startPair(ctx context.Context, path, port, answers string, more ...string) chan pairRun {
	done := make(chan pairRun, 1)
	go func() {
		var out, errs bytes.Buffer
		args := append([]string{"pair", "--config", path, "--port", port, "--wait", "60s"}, more...)
		code := Run(ctx, args, Program{In: strings.NewReader(answers), Out: &out, Err: &errs})
		done <- pairRun{code, out.String(), errs.String()}
	}()
	return done
}

var sixWords = regexp.MustCompile(`(?m)^    ((?:[a-z]+  ){5}[a-z]+)$`)

func TestPairGivesEveryBoxItsKeys(t *testing.T) {
	newBox(t, false) // clears GEMEL_…
	port := freePort(t)
	dir1, first := pairConfig(t, "server1")
	dir2, second := pairConfig(t, "server2")
	dir3, third := pairConfig(t, "witness")
	host := startPair(t.Context(), first, port, "yes\nyes\n")
	runs := []pairRun{<-startPair(t.Context(), second, port, "yes\n"), <-startPair(t.Context(), third, port, "yes\n"), <-host}
	for _, r := range runs {
		if r.code != ExitOK {
			t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
		}
	}
	hostSaid := sixWords.FindAllString(runs[2].out, -1)
	for i, r := range runs[:2] {
		if len(hostSaid) != 2 || sixWords.FindString(r.out) != hostSaid[i] {
			t.Errorf("words: host %q, box %q", hostSaid, sixWords.FindString(r.out))
		}
	}
	for dir, want := range map[string]identity.Peer{
		dir1: {Cluster: "lab", Role: identity.RoleNode, Name: "server1"},
		dir2: {Cluster: "lab", Role: identity.RoleNode, Name: "server2"},
		dir3: {Cluster: "lab", Role: identity.RoleWitness, Name: "witness"}} {
		id, err := identity.Load(filepath.Join(dir, "keys"))
		if err != nil || id.Peer != want {
			t.Errorf("%v: %v, %v", want, id, err)
		}
	}
	if r := <-startPair(t.Context(), second, port, "yes\n"); r.code != ExitRefused || !strings.Contains(r.err, "--force") {
		t.Errorf("again: exit %d: %s", r.code, r.err)
	}
}

func TestPairRefusedByPeople(t *testing.T) {
	newBox(t, false)
	port := freePort(t)
	_, first := pairConfig(t, "server1")
	dir2, second := pairConfig(t, "server2")
	ctx, cancel := context.WithCancel(t.Context())
	host := startPair(ctx, first, port, "no\n")
	r := <-startPair(t.Context(), second, port, "yes\n")
	cancel()
	if h := <-host; h.code != ExitFailed || !strings.Contains(h.out, "words do not match") || !strings.Contains(h.err, "still without keys") {
		t.Errorf("host: exit %d: %s%s", h.code, h.out, h.err)
	}
	if r.code != ExitRefused {
		t.Errorf("joining box: exit %d: %s%s", r.code, r.out, r.err)
	}
	if err := identity.Vacant(filepath.Join(dir2, "keys")); err != nil {
		t.Errorf("keys were left: %v", err)
	}
}

func TestPairWithNobody(t *testing.T) {
	newBox(t, false)
	_, second := pairConfig(t, "server2")
	r := <-startPair(t.Context(), second, freePort(t), "", "--wait", "1ms")
	if r.code != ExitUnreachable || !strings.Contains(r.err, "run `gemel pair` there") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}
