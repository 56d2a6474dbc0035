package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/event"
	"gemel/node/identity"
	"gemel/node/replicator/control"
)

// agent is a daemon as the command line sees it.
type agent struct {
	api.Unsupported
	mu     sync.Mutex
	status []api.Status // one per question; the last stays
	orders []api.Order
	answer error

	verified []control.VerifyRequest
	resynced []control.ResyncRequest
	resized  []control.GrowRequest
	outdated []control.OutdateRequest
	unfit    string // of the fencing device
	skipped  string
}

func (g *agent) Status(context.Context, api.Caller) (api.Status, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.status[0]
	if len(g.status) > 1 {
		g.status = g.status[1:]
	}
	return s, nil
}

func (g *agent) order(o api.Order) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.orders = append(g.orders, o)
	return g.answer
}

func (g *agent) Switchover(_ context.Context, _ api.Caller, o api.Order) error { return g.order(o) }
func (g *agent) Grab(_ context.Context, _ api.Caller, o api.Order) error       { return g.order(o) }
func (g *agent) Connect(_ context.Context, _ api.Caller, r control.ConnectRequest) error {
	return g.order(api.Order{Volume: r.Volume})
}

func (g *agent) Protocol(_ context.Context, _ api.Caller, r control.ProtocolRequest) error {
	return g.order(api.Order{Volume: r.Volume + " " + r.Protocol})
}

func (g *agent) GiveUp(_ context.Context, _ api.Caller, r control.GiveUpRequest) error {
	return g.order(api.Order{Volume: r.Volume, Stale: r.All})
}

func (g *agent) CreateVolume(_ context.Context, _ api.Caller, r control.CreateRequest) error {
	return g.order(api.Order{Volume: r.Volume, Stale: r.Force})
}

func (g *agent) Events(context.Context, api.Caller, uint64) (api.EventPage, error) {
	return api.EventPage{Next: 3, Events: []event.Event{
		{Time: noon, Node: "server1", Kind: "agent.started", Text: "The agent of server1 started."},
		{Time: noon, Node: "server1", Volume: "data", Kind: "role.primary", Text: "server1 is Primary of data.", Reason: "server2 is dead"},
	}}, nil
}

func (g *agent) History(_ context.Context, _ api.Caller, q api.HistoryQuery) (api.HistoryPage, error) {
	now := time.Now()
	return q.PageOf([]event.Event{
		{Time: now.Add(-time.Second), Node: "server1", Kind: "failure.major", Text: "MAJOR failure.", Fields: map[string]string{"silent": "2s"}},
		{Time: now.Add(-900 * time.Millisecond), Node: "server1", Volume: "data", Kind: "campaign", Text: "server1 asks.", Reason: "server2 is silent"},
		{Time: now.Add(-800 * time.Millisecond), Node: "server1", Volume: "data", Kind: "elected", Text: "server1 reigns in epoch 3.",
			Fields: map[string]string{"vote witness": "promised epoch 3"}},
		{Time: now.Add(-500 * time.Millisecond), Node: "server1", Volume: "data", Kind: "step.done", Fields: map[string]string{"step": "mount the file system", "took_ms": "21.0"}},
		{Time: now, Node: "server1", Volume: "data", Kind: "serving", Text: "server1 serves data."},
	}), nil
}

// box is a data node with a configuration, keys and, if wanted, an agent.
type box struct {
	dir, config string
	agent       *agent
}

// newBox makes a box. port 0 serves on the unix socket only.
func newBox(t *testing.T, serve bool) *box {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "GEMEL_") {
			t.Setenv(name, "")
		}
	}
	b := &box{dir: t.TempDir(), agent: &agent{status: []api.Status{wellStatus()}}}
	b.config = filepath.Join(b.dir, "gemel.yaml")
	keys := filepath.Join(b.dir, "keys")
	if _, err := identity.Init(keys, identity.Plan{Cluster: "lab", Nodes: []string{"server1", "server2"}, Witness: "witness", Admins: []string{"admin"}}); err != nil {
		t.Fatal(err)
	}
	port := 7789
	if serve {
		port = b.serve(t, filepath.Join(keys, "server1"))
	}
	text := strings.ReplaceAll(config.Example, "198.18.0.1}", "127.0.0.1}") +
		"run-dir: " + b.dir + "\nkeys: " + filepath.Join(keys, "server1") + "\nports: {api: " + strconv.Itoa(port) + "}\n"
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *box) serve(t *testing.T, keys string) int {
	t.Helper()
	id, err := identity.Load(keys)
	if err != nil {
		t.Fatal(err)
	}
	unix, err := api.ListenUnix(filepath.Join(b.dir, "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	network, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	server := api.NewServer(b.agent, api.Options{Identity: id, Nodes: []string{"server1", "server2"}})
	go func() { done <- server.Serve(ctx, network, unix) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return network.Addr().(*net.TCPAddr).Port
}

// run carries out a command line and returns its exit code and output.
func (b *box) run(t *testing.T, input string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	daemon := func(_ context.Context, cfg *config.Config, log *slog.Logger) error {
		log.Info("here I am", "node", cfg.Node)
		return nil
	}
	code = Run(context.Background(), append(args, "--config", b.config), Program{Version: "v0.1.0", In: strings.NewReader(input),
		Out: &o, Err: &e, Agent: daemon, Replicator: daemon, Witness: daemon})
	return code, o.String(), e.String()
}

func TestExitCodesAndWords(t *testing.T) {
	refusal := &api.Error{Code: api.CodeRefused, Message: "server2 is not in sync; wait for the resync"}
	tests := []struct {
		name, args, input string
		answer            error
		code              int
		says              string
	}{
		{"status", "status", "", nil, ExitOK, "HEALTHY: server1 serves data"},
		{"version", "version", "", nil, ExitOK, "gemel v0.1.0"},
		{"list", "volume list", "", nil, ExitOK, "data          10.0 GiB"},
		{"events", "events", "", nil, ExitOK, "why: server2 is dead"},
		{"events count", "events --count 1 --json", "", nil, ExitOK, `"kind":"role.primary"`},
		{"links", "status --links", "", nil, ExitOK, "1 minor failure (last"},
		{"history", "history", "", nil, ExitOK, "21.0 ms     mount the file system"},
		{"history votes", "history --volume data --since 1m", "", nil, ExitOK, "vote witness: promised epoch 3"},
		{"history total", "history --courses --json", "", nil, ExitOK, `"total_ns": 3000`},
		{"history of no time", "history --since 0s", "", nil, ExitUsage, "looks at no time"},
		{"history of no volume", "history --volume dat", "", nil, ExitUsage, `no volume "dat"`},
		{"switchover", "switchover", "", nil, ExitOK, "Done: server1 serves data."},
		{"switchover refused", "switchover data", "", refusal, ExitRefused, "switch over data: server2 is not in sync; wait for the resync"},
		{"switchover failed", "switchover data", "", &api.Error{Code: api.CodeFailed, Message: "mount failed"}, ExitFailed, "mount failed"},
		{"no such volume", "switchover dat", "", nil, ExitUsage, `there is no volume "dat"; the configuration has: data`},
		{"create", "volume create data --force", "", nil, ExitOK, "Volume data is created on server1, on /dev/sdb"},
		{"create refused", "volume create data", "", &api.Error{Code: api.CodeRefused, Message: "/dev/sdb is mounted"}, ExitRefused, "/dev/sdb is mounted"},
		{"connect", "volume connect data", "", nil, ExitOK, "tries to connect"},
		{"invalidate", "volume invalidate data", "server1\n", nil, ExitOK, "is filled anew"},
		{"invalidate unsure", "volume invalidate data", "yes\n", nil, ExitRefused, "nothing was done"},
		{"invalidate refused", "volume invalidate data --yes", "", &api.Error{Code: api.CodeRefused, Message: "this may be the only good copy"}, ExitRefused, "the only good copy"},
		{"nothing to resolve", "resolve data", "", nil, ExitRefused, "nothing to resolve"},
		{"no undo files", "undo list", "", nil, ExitOK, "no undo files"},
		{"undo of nothing", "undo restore x", "", nil, ExitUsage, "either --to PATH or --onto-volume"},
		{"wait-sync", "volume wait-sync", "", nil, ExitOK, "Volume data is in sync on both nodes (10.0 GiB"},
		{"grab as Primary", "grab", "", nil, ExitOK, "nothing to do"},
		{"unknown command", "volumes", "", nil, ExitUsage, "unknown command"},
		{"unknown flag", "status --jason", "", nil, ExitUsage, "unknown flag"},
		{"too many", "switchover a b", "", nil, ExitUsage, "accepts at most 1"},
		{"unknown box", "status --node server9", "", nil, ExitUsage, `there is no box "server9"`},
		{"daemon", "agent", "", nil, ExitOK, "here I am"},
		{"daemon elsewhere", "witness", "", nil, ExitRefused, `this box is "server1", which is not the witness`},
		{"log level", "agent --log-level loud", "", nil, ExitUsage, `log level "loud"`},
		{"check", "config check", "", nil, ExitOK, "is in order: cluster lab, 1 volumes; this box is server1, data node 0"},
		{"show", "config show", "", nil, ExitOK, "lease: 3s # default"},
		{"defaults", "config show --defaults", "", nil, ExitOK, "TCP port: Replicator to replicator"},
	}
	b := newBox(t, true)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.agent.answer = tt.answer
			code, out, errs := b.run(t, tt.input, strings.Fields(tt.args)...)
			if code != tt.code || !strings.Contains(out+errs, tt.says) {
				t.Errorf("exit %d, want %d with %q; it said:\n%s%s", code, tt.code, tt.says, out, errs)
			}
		})
	}
}

func TestGrabWantsThePeersName(t *testing.T) {
	b := newBox(t, true)
	s := wellStatus()
	alone(&s)
	idle(&s)
	b.agent.status = []api.Status{s}
	for input, want := range map[string]int{"": ExitRefused, "yes\n": ExitRefused, "server1\n": ExitRefused, "server2\n": ExitOK} {
		b.agent.orders = nil
		code, out, errs := b.run(t, input, "grab", "data")
		if code != want || len(b.agent.orders) != map[bool]int{true: 1}[want == ExitOK] {
			t.Errorf("answer %q: exit %d, %d orders\n%s%s", input, code, len(b.agent.orders), out, errs)
		}
		if !strings.Contains(out, "Make sure that it is powered off") {
			t.Errorf("it did not say what could be lost:\n%s", out)
		}
	}
	b.agent.orders = nil
	if code, _, errs := b.run(t, "", "grab", "--stale", "--yes-i-know"); code != ExitOK || !b.agent.orders[0].Stale {
		t.Errorf("for scripts: %d %s", code, errs)
	}
}

func TestWaitSyncShowsTheWay(t *testing.T) {
	b := newBox(t, true)
	busy := wellStatus()
	situations["resyncing"](&busy)
	b.agent.status = []api.Status{busy, busy, wellStatus()}
	code, out, errs := b.run(t, "", "volume", "wait-sync", "data", "--timeout", "1m")
	if code != ExitOK || !strings.Contains(out, "50.0 % 5.0 GiB of 10.0 GiB") {
		t.Errorf("exit %d:\n%s%s", code, out, errs)
	}
	b.agent.status = []api.Status{busy}
	if code, _, errs := b.run(t, "", "volume", "wait-sync", "--timeout", "1ms"); code != ExitFailed || !strings.Contains(errs, "not in sync in time") {
		t.Errorf("timeout: exit %d: %s", code, errs)
	}
}

func TestNobodyAnswers(t *testing.T) {
	b := newBox(t, false)
	code, _, errs := b.run(t, "", "status")
	if code != ExitUnreachable || !strings.Contains(errs, "Start it with `gemel agent`") {
		t.Errorf("exit %d: %s", code, errs)
	}
	t.Setenv("GEMEL_NODE", "witness")
	if code, _, errs = b.run(t, "", "status"); code != ExitUnreachable || !strings.Contains(errs, "Start it with `gemel witness`") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// TestFromAnotherBox: the peer, and a box of an administrator, ask over the network.
func TestFromAnotherBox(t *testing.T) {
	b := newBox(t, true)
	keys := filepath.Join(b.dir, "keys")
	raw, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	// A box without a name, and with only that address of server1 which answers.
	text := strings.Replace(string(raw), "node: server1\n", "", 1)
	text = strings.Replace(text, "      - {name: private, address: 198.18.1.1}\n", "", 1)
	text = strings.Replace(text, "      - {name: private, address: 198.18.1.2}\n", "", 1)
	text = strings.Replace(text, "replication: {links: [private]}\n", "", 1)
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GEMEL_KEYS", filepath.Join(keys, "admin"))
	code, out, errs := b.run(t, "", "status", "--node", "server1", "--json")
	var s api.Status
	if err := json.Unmarshal([]byte(out), &s); code != ExitOK || err != nil || s.Node != "server1" {
		t.Errorf("exit %d, %v: %s%s", code, err, out, errs)
	}
	if code, out, errs = b.run(t, "", "status"); code != ExitOK || !strings.Contains(out, "HEALTHY") {
		t.Errorf("any node: exit %d: %s%s", code, out, errs)
	}
	if code, _, errs = b.run(t, "", "grab", "--yes-i-know"); code != ExitUsage || !strings.Contains(errs, "--node") {
		t.Errorf("grab without a node: exit %d: %s", code, errs)
	}
	t.Setenv("GEMEL_KEYS", filepath.Join(keys, "nobody"))
	if code, _, errs = b.run(t, "", "status"); code != ExitFailed || !strings.Contains(errs, "gemel keys init") {
		t.Errorf("no keys: exit %d: %s", code, errs)
	}
}

func TestConfigCheckListsAll(t *testing.T) {
	b := newBox(t, false)
	bad := filepath.Join(b.dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("cluster: lab\nvolums: []\ntiming: {lease: 3}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := b.run(t, "", "config", "check", bad)
	if code != ExitFailed || errs != "" || !strings.Contains(out, "did you mean volumes?") || !strings.Contains(out, "lacks a unit") || !strings.Contains(out, "3 mistakes.") {
		t.Errorf("exit %d:\n%s%s", code, out, errs)
	}
}

func TestKeysInit(t *testing.T) {
	b := newBox(t, false)
	dir := filepath.Join(b.dir, "new")
	code, out, errs := b.run(t, "", "keys", "init", "--dir", dir, "--client", "desk")
	if code != ExitOK || !strings.Contains(out, "copy to witness as /etc/gemel/keys") {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if id, err := identity.Load(filepath.Join(dir, "desk")); err != nil || id.Role != identity.RoleAdmin || id.Cluster != "lab" {
		t.Errorf("admin's keys: %v", err)
	}
	if code, _, errs = b.run(t, "", "keys", "init", "--dir", dir); code != ExitRefused || !strings.Contains(errs, "--force") {
		t.Errorf("again: exit %d: %s", code, errs)
	}
}

// TestEveryCommandHelps: each has an example, and those that act name their exit codes.
func TestEveryCommandHelps(t *testing.T) {
	b := newBox(t, false)
	for _, line := range []string{"status", "events", "switchover", "grab", "volume create", "volume list", "volume wait-sync",
		"volume connect", "keys init", "config check", "config show", "agent", "replicator", "witness"} {
		_, out, _ := b.run(t, "", append(strings.Fields(line), "--help")...)
		if !strings.Contains(out, "Examples:") || !strings.Contains(out, "Exit codes:") {
			t.Errorf("%s --help:\n%s", line, out)
		}
	}
}
