package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/config"
	"gemel/node/event"
	"gemel/node/failover"
	"gemel/node/identity"
	"gemel/node/replicator/control"
)

// register is a voter in memory behind real requests.
type register struct {
	api.Unsupported
	mu  sync.Mutex
	reg arbiter.Register
}

func (r *register) Prepare(_ context.Context, q arbiter.PrepareRequest) (arbiter.PrepareReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reply, _ := r.reg.Prepare(bootClock{}.Boot(), q.Epoch, q.Known)
	return reply, nil
}

func (r *register) Accept(_ context.Context, q arbiter.AcceptRequest) (arbiter.AcceptReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reply, _ := r.reg.Accept(bootClock{}.Boot(), q.Accepted)
	return reply, nil
}

func (r *register) Renew(_ context.Context, q arbiter.RenewRequest) (arbiter.RenewReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reg.Renew(bootClock{}.Boot(), q.Epoch, q.Term), nil
}

func (r *register) Release(_ context.Context, q arbiter.ReleaseRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reg.Release(q.Epoch)
	return nil
}

func (r *register) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	return ballot.Cast(ctx, r, votes, ballot.NoCode, answer)
}

// witnessDesk gives the register the API's shape.
type witnessDesk struct {
	api.Unsupported
	r *register
}

func (w witnessDesk) Votes(ctx context.Context, _ api.Caller, votes []ballot.Vote, answer ballot.Answer) error {
	return w.r.Votes(ctx, votes, answer)
}

func (w witnessDesk) Status(context.Context, api.Caller) (api.Status, error) {
	return api.Status{}, nil
}

// datalessReplicator is a replicator that moves no data: its peer is always in
// sync as soon as somebody says so.
type datalessReplicator struct {
	register
	state   control.VolumeState
	changed chan struct{}
	lease   int64
}

func newDataless() *datalessReplicator {
	return &datalessReplicator{register: register{reg: arbiter.Register{Record: arbiter.Record{Fresh: true}}},
		changed: make(chan struct{}),
		state: control.VolumeState{Name: "data", Role: control.Secondary, Disk: control.Inconsistent,
			Connection: control.Connected, Created: true, Seq: 1}}
}

func (r *datalessReplicator) set(change func(*control.VolumeState)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.state)
	r.state.Seq++
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *datalessReplicator) State() ([]control.VolumeState, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Record = r.reg.Record
	s.LeaseLeft = time.Duration(r.lease) - bootClock{}.Boot()
	return []control.VolumeState{s}, r.changed
}

func (r *datalessReplicator) Create(context.Context, control.CreateRequest) error { return nil }

// Promote refuses as the real one does, by an operator's word or not.
func (r *datalessReplicator) Promote(_ context.Context, q control.PromoteRequest) (control.PromoteReply, error) {
	r.mu.Lock()
	held := r.reg.Record
	r.mu.Unlock()
	if held.Accepted != q.Chosen || held.Promised > q.Chosen.Epoch || q.Chosen.Set.Has(1-q.Chosen.Epoch.Owner()) {
		return control.PromoteReply{}, fmt.Errorf("this node's register holds %+v, not %+v", held, q.Chosen)
	}
	r.set(func(s *control.VolumeState) {
		s.Role, s.Disk, s.Created, s.Epoch, s.Chosen = control.Primary, control.UpToDate, false, q.Chosen.Epoch, q.Chosen
	})
	return control.PromoteReply{Device: "/dev/fake"}, nil
}

func (r *datalessReplicator) Chosen(_ context.Context, q control.ChosenRequest) error {
	r.set(func(s *control.VolumeState) {
		s.Chosen, s.ReadyToGrow = q.Chosen, s.ReadyToGrow && q.Chosen.Set != arbiter.Both
	})
	return nil
}

func (r *datalessReplicator) Lease(_ context.Context, q control.LeaseRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lease = q.Until
	return nil
}

func (r *datalessReplicator) Demote(context.Context, control.DemoteRequest) error {
	r.set(func(s *control.VolumeState) {
		s.Role, s.Epoch, s.WantShrink, s.ReadyToGrow = control.Secondary, 0, false, false
	})
	return nil
}

func (r *datalessReplicator) GiveUp(context.Context, control.GiveUpRequest) error   { return nil }
func (r *datalessReplicator) Connect(context.Context, control.ConnectRequest) error { return nil }
func (r *datalessReplicator) Resync(context.Context, control.ResyncRequest) error   { return nil }
func (r *datalessReplicator) Outdate(context.Context, control.OutdateRequest) error { return nil }
func (r *datalessReplicator) Resize(context.Context, control.GrowRequest) error     { return nil }
func (r *datalessReplicator) Verify(context.Context, control.VerifyRequest) error   { return nil }

func (r *datalessReplicator) Protocol(context.Context, control.ProtocolRequest) error { return nil }

// box is one node of the pair: real machine, API, keys, heartbeats and votes;
// fakes below the course.
type box struct {
	replicator *datalessReplicator
	steps      *stepFake
	memory     *event.History
	local      *api.Client
	stop       func()
}

func TestPair(t *testing.T) {
	keys := t.TempDir()
	if _, err := identity.Init(keys, identity.Plan{Cluster: "lab", Nodes: []string{"server1", "server2"}, Witness: "witness"}); err != nil {
		t.Fatal(err)
	}
	at := map[string]net.Listener{}
	for _, name := range []string{"server1", "server2", "witness"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at[name] = l
	}
	startWitness(t, keys, at["witness"])
	one, two := startBox(t, keys, "server1", at), startBox(t, keys, "server2", at)
	if !firstServing(t, one, two) { // a slow box may be overtaken
		one, two = two, one
	}
	one.replicator.set(func(s *control.VolumeState) { s.ReadyToGrow = true })
	two.replicator.set(func(s *control.VolumeState) { s.Disk, s.Created = control.UpToDate, false })
	one.waitInSync(t, 2)

	// The order is given to the Secondary, which passes it on.
	if err := two.local.Switchover(t.Context(), api.Order{Volume: "data"}); err != nil {
		t.Fatalf("switchover: %v", err)
	}
	two.waitServing(t, "switchover")
	if got := one.steps.calls.all(); !slices.Equal(got[len(got)-3:], []string{"drop", "stop", "unmount"}) {
		t.Errorf("the old Primary did not leave in order: %v", got)
	}
	two.replicator.set(func(s *control.VolumeState) { s.ReadyToGrow = true })
	two.waitInSync(t, 2)

	two.stop() // SIGTERM hands over, too
	one.waitServing(t, "the other's clean stop")
	if two.replicator.state.Role != control.Secondary {
		t.Error("the stopped node is still Primary")
	}
}

// firstServing waits until one of two boxes serves; it reports whether it is the first.
func firstServing(t *testing.T, one, two *box) bool {
	t.Helper()
	first := false
	one.wait(t, "serving after birth, nor the other", func(v api.Volume) bool {
		first = v.Phase == "serving" && v.Role == control.Primary
		s, err := two.local.Status(t.Context())
		return first || err == nil && s.Volumes[0].Phase == "serving" && s.Volumes[0].Role == control.Primary
	})
	return first
}

func (b *box) waitServing(t *testing.T, after string) {
	t.Helper()
	b.wait(t, "serving after "+after, func(v api.Volume) bool { return v.Phase == "serving" && v.Role == control.Primary })
}

func (b *box) waitInSync(t *testing.T, n int) {
	t.Helper()
	b.wait(t, "in sync", func(v api.Volume) bool { return len(v.InSyncBy) == n && v.Chosen.Set == v.InSync })
}

func (b *box) wait(t *testing.T, what string, cond func(api.Volume) bool) {
	t.Helper()
	limit := time.Now().Add(60 * time.Second)
	for {
		s, err := b.local.Status(t.Context())
		if err == nil && cond(s.Volumes[0]) {
			return
		}
		if time.Now().After(limit) {
			events, _ := b.memory.Since(0)
			for _, e := range events {
				t.Logf("%s %s %s %s", e.Node, e.Kind, e.Text, e.Reason)
			}
			t.Fatalf("not %s: %v %+v", what, err, s.Volumes)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func startWitness(t *testing.T, keys string, l net.Listener) {
	t.Helper()
	id, err := identity.Load(filepath.Join(keys, "witness"))
	if err != nil {
		t.Fatal(err)
	}
	desk := witnessDesk{r: &register{reg: arbiter.Register{Record: arbiter.Record{Fresh: true}}}}
	server := api.NewServer(desk, api.Options{Identity: id, Nodes: []string{"server1", "server2"}, Log: quiet()})
	background(t, func(ctx context.Context) { _ = server.Serve(ctx, l, nil) })
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// background runs f until the test ends or the returned function is called.
func background(t *testing.T, f func(ctx context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); f(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func startBox(t *testing.T, keys, name string, at map[string]net.Listener) *box {
	t.Helper()
	cfg := stageConfig()
	cfg.Node, cfg.RunDir, cfg.StateDir = name, t.TempDir(), t.TempDir()
	cfg.Volumes[0] = config.Volume{Name: "data"}
	cfg.Timing = config.Timing{Heartbeat: 100 * time.Millisecond, MinorBeats: 5, Major: 3 * time.Second, Lease: 4 * time.Second,
		Renew: 500 * time.Millisecond, BootWait: 3 * time.Second, StepTimeout: 10 * time.Second}
	id, err := identity.Load(filepath.Join(keys, name))
	if err != nil {
		t.Fatal(err)
	}
	history, err := event.NewHistory(1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{replicator: newDataless(), steps: newStepFake(), memory: history, local: api.NewUnixClient(cfg.AgentSocket())}
	socket, err := control.Listen(cfg.ReplicatorSocket())
	if err != nil {
		t.Fatal(err)
	}
	background(t, func(ctx context.Context) { _ = control.Serve(ctx, socket, b.replicator) })
	a, err := build(b.parts(cfg, id, at))
	if err != nil {
		t.Fatal(err)
	}
	b.stop = background(t, func(ctx context.Context) {
		if err := a.serve(ctx); err != nil {
			t.Errorf("agent of %s: %v", name, err)
		}
	})
	return b
}

// parts are the real ones, but for addresses that many boxes could not share.
func (b *box) parts(cfg *config.Config, id *identity.Identity, at map[string]net.Listener) parts {
	w := &wiring{cfg: cfg, log: quiet(), id: id, history: b.memory}
	p := w.parts(control.NewClient(cfg.ReplicatorSocket()))
	call := func(name string) *api.Client {
		return api.NewClient(api.Target{Address: at[name].Addr().String(), TLS: id.ClientTLS(name)})
	}
	peer := cfg.Peer().Name
	p.peers = map[string]Peer{"private": peerClient{call(peer)}, "lan": peerClient{call(peer)}}
	p.witness = witnessClient{call("witness")}
	p.volume = func(vol config.Volume, _ func(string, string)) (volumeParts, error) {
		return volumeParts{failover.New(machineConfig(w.cfg, w.cfg.SelfIndex(), "", vol)), fakeAddresses{b.steps}, fakeServices{b.steps}, fakeMount{b.steps}, nil}, nil
	}
	p.beside = []func(context.Context, *Agent) error{func(ctx context.Context, a *Agent) error {
		local, err := api.ListenUnix(cfg.AgentSocket())
		if err != nil {
			return err
		}
		server := api.NewServer(handler{a, b.memory}, api.Options{Identity: id, Nodes: cfg.NodeNames(), Log: quiet()})
		return server.Serve(ctx, at[cfg.Node], local)
	}}
	return p
}
