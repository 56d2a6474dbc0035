package agent

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/config"
	"gemel/node/event"
	"gemel/node/failover"
	"gemel/node/replicator/control"
)

// script is a machine whose answers the test writes.
type script struct {
	mu     sync.Mutex
	view   failover.View
	react  func(ev failover.Event) []failover.Action
	events chan failover.Event // everything but ticks
}

func newScript(react func(failover.Event) []failover.Action) *script {
	return &script{react: react, events: make(chan failover.Event, 1000)}
}

func (s *script) Step(_ time.Duration, ev failover.Event) []failover.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, tick := ev.(failover.Tick); !tick {
		s.events <- ev
	}
	if s.react == nil {
		return nil
	}
	return s.react(ev)
}

func (s *script) View() failover.View { s.mu.Lock(); defer s.mu.Unlock(); return s.view }

func (s *script) setRole(r failover.Role) { s.mu.Lock(); defer s.mu.Unlock(); s.view.Role = r }

// next returns the next event of type T and skips others.
func next[T failover.Event](t *testing.T, s *script) T {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case ev := <-s.events:
			if want, ok := ev.(T); ok {
				return want
			}
		case <-limit:
			var want T
			t.Fatalf("no event %T came", want)
		}
	}
}

// calls is a log of what was called, in order.
type calls struct {
	mu   sync.Mutex
	list []string
}

func (c *calls) add(s string) { c.mu.Lock(); defer c.mu.Unlock(); c.list = append(c.list, s) }

func (c *calls) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.list...)
}

func (c *calls) count(s string) int {
	n := 0
	for _, x := range c.all() {
		if x == s {
			n++
		}
	}
	return n
}

// stepFake stands for addresses, services and mount; block[name] makes a call
// hang until the channel is closed, whatever its context says.
type stepFake struct {
	calls   *calls
	mu      sync.Mutex
	block   map[string]chan struct{}
	fail    map[string]error
	mounted bool
	blank   bool
	running string // phase of the service
}

func newStepFake() *stepFake {
	return &stepFake{calls: &calls{}, block: map[string]chan struct{}{}, fail: map[string]error{}}
}

func (f *stepFake) do(name string) error {
	f.calls.add(name)
	f.mu.Lock()
	block, err := f.block[name], f.fail[name]
	f.mu.Unlock()
	if block != nil {
		<-block
	}
	return err
}

func (f *stepFake) hang(name string) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.block[name] = make(chan struct{})
	return f.block[name]
}

type fakeAddresses struct{ *stepFake }

func (f fakeAddresses) Ask()                        {}
func (f fakeAddresses) Claim(context.Context) error { return f.do("claim") }
func (f fakeAddresses) Open(_ context.Context, known []api.Connection) error {
	for _, c := range known {
		f.calls.add("tickle " + c.Client.String())
	}
	return f.do("open")
}
func (f fakeAddresses) Drop(context.Context) error { return f.do("drop") }
func (f fakeAddresses) Held() []api.Held           { return []api.Held{{Address: "198.18.0.250"}} }
func (f fakeAddresses) Announce()                  { f.calls.add("announce") }

type fakeServices struct{ *stepFake }

func (f fakeServices) Start(context.Context) error { return f.do("start") }
func (f fakeServices) Stop(context.Context) error  { return f.do("stop") }
func (f fakeServices) Kill(context.Context) error  { return f.do("kill") }
func (f fakeServices) State() []api.Running {
	return []api.Running{{Name: "nfs", State: cmp.Or(f.running, "stopped")}}
}

type fakeMount struct{ *stepFake }

func (f fakeMount) Mounted() (bool, error) { f.mu.Lock(); defer f.mu.Unlock(); return f.mounted, nil }
func (f fakeMount) Blank(context.Context, string) (bool, error) {
	return f.blank, f.do("blank")
}
func (f fakeMount) Format(_ context.Context, _ string, again bool) error {
	if again {
		return f.do("format again")
	}
	return f.do("format")
}
func (f fakeMount) Check(context.Context, string) (string, error) { return "", f.do("fsck") }
func (f fakeMount) Mount(context.Context, string) error           { return f.do("mount") }
func (f fakeMount) Grow(context.Context, string) (before, after int64, err error) {
	return 1 << 20, 2 << 20, f.do("grow")
}
func (f fakeMount) Unmount(context.Context) error { return f.do("unmount") }
func (f fakeMount) Detach(context.Context) error  { return f.do("detach") }

// fakeVoter answers votes and counts them.
type fakeVoter struct {
	name string
	log  *calls
	hang bool
	err  error
	wait time.Duration
}

func (v *fakeVoter) ask(ctx context.Context, what string) error {
	v.log.add(v.name + " " + what)
	if v.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return v.err
}

func (v *fakeVoter) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	broken := v.err
	err := ballot.Cast(ctx, single{v}, votes, control.CodeOf, func(i int, r ballot.Reply) {
		if r.Failure == nil { // else the whole voter cannot be reached
			answer(i, r)
		}
	})
	return errors.Join(err, broken)
}

// single answers votes one by one.
type single struct{ *fakeVoter }

func (v single) Prepare(ctx context.Context, _ arbiter.PrepareRequest) (arbiter.PrepareReply, error) {
	return arbiter.PrepareReply{OK: true, Wait: v.wait}, v.ask(ctx, "prepare")
}

func (v single) Accept(ctx context.Context, _ arbiter.AcceptRequest) (arbiter.AcceptReply, error) {
	return arbiter.AcceptReply{OK: true}, v.ask(ctx, "accept")
}

func (v single) Renew(ctx context.Context, _ arbiter.RenewRequest) (arbiter.RenewReply, error) {
	return arbiter.RenewReply{OK: true}, v.ask(ctx, "renew")
}

func (v single) Release(ctx context.Context, _ arbiter.ReleaseRequest) error {
	return v.ask(ctx, "release")
}

// fakeReplica is a replicator with one volume.
type fakeReplica struct {
	verified []control.VerifyRequest
	resynced []control.ResyncRequest
	resized  []control.GrowRequest
	outdated []control.OutdateRequest
	fakeVoter
	mu       sync.Mutex
	state    control.VolumeState
	gone     error
	promoted []control.PromoteRequest
	demoted  []control.DemoteRequest
	chosen   chan control.ChosenRequest
	changed  chan struct{}

	protocols []string
}

func newFakeReplica() *fakeReplica {
	return &fakeReplica{fakeVoter: fakeVoter{name: "self", log: &calls{}}, chosen: make(chan control.ChosenRequest, 100),
		changed: make(chan struct{}, 1),
		state:   control.VolumeState{Name: "data", Role: control.Secondary, Disk: control.UpToDate, Seq: 1}}
}

func (r *fakeReplica) set(change func(*control.VolumeState)) {
	r.mu.Lock()
	change(&r.state)
	r.state.Seq++
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *fakeReplica) kill(err error) {
	r.mu.Lock()
	r.gone = err
	r.mu.Unlock()
	r.set(func(*control.VolumeState) {})
}

func (r *fakeReplica) State(context.Context) ([]control.VolumeState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return []control.VolumeState{r.state}, r.gone
}

func (r *fakeReplica) StateOf(ctx context.Context, _ string) ([]control.VolumeState, error) {
	return r.State(ctx)
}

func (r *fakeReplica) Watch(ctx context.Context, run, since uint64, wait time.Duration) (control.Changes, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		s, err := r.State(ctx)
		if err != nil || run != 1 || s[0].Seq != since {
			return control.Changes{Run: 1, Version: s[0].Seq, Volumes: s}, err
		}
		select {
		case <-r.changed:
		case <-timer.C:
			return control.Changes{Run: 1, Version: since}, nil
		case <-ctx.Done():
			return control.Changes{}, ctx.Err()
		}
	}
}

func (r *fakeReplica) Create(context.Context, control.CreateRequest) error { return nil }

func (r *fakeReplica) Promote(_ context.Context, req control.PromoteRequest) (string, error) {
	r.set(func(s *control.VolumeState) { s.Role = control.Primary; r.promoted = append(r.promoted, req) })
	return "/dev/fake", nil
}

func (r *fakeReplica) Chosen(_ context.Context, req control.ChosenRequest) error {
	r.chosen <- req
	return nil
}

func (r *fakeReplica) Leases(_ context.Context, q []control.LeaseRequest) ([]control.LeaseReply, error) {
	return make([]control.LeaseReply, len(q)), nil
}

func (r *fakeReplica) Demote(_ context.Context, req control.DemoteRequest) error {
	r.set(func(s *control.VolumeState) { s.Role = control.Secondary; r.demoted = append(r.demoted, req) })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

func (r *fakeReplica) GiveUp(context.Context, control.GiveUpRequest) error   { return nil }
func (r *fakeReplica) Connect(context.Context, control.ConnectRequest) error { return nil }

func (r *fakeReplica) Protocol(_ context.Context, req control.ProtocolRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.protocols = append(r.protocols, req.Protocol)
	return nil
}

func (r *fakeReplica) Verify(_ context.Context, req control.VerifyRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verified = append(r.verified, req)
	return r.gone
}

func (r *fakeReplica) Resync(_ context.Context, req control.ResyncRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resynced = append(r.resynced, req)
	return r.gone
}

func (r *fakeReplica) Outdate(_ context.Context, req control.OutdateRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outdated = append(r.outdated, req)
	return r.gone
}

func (r *fakeReplica) Resize(_ context.Context, req control.GrowRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resized = append(r.resized, req)
	return r.gone
}

// fakePeer is the peer's agent over one link.
type fakePeer struct {
	fakeVoter
	beat     func(api.Beat) (api.Beat, error)
	clients  func(api.Clients) (api.ClientsTaken, error)
	stage    api.Stage
	reboots  chan api.RebootOrder
	switched chan string
	verified chan control.VerifyRequest
}

func (p *fakePeer) Verify(_ context.Context, req control.VerifyRequest) error {
	p.verified <- req
	return nil
}

func (p *fakePeer) Drill(_ context.Context, o api.DrillOrder) ([]api.Drill, error) {
	return []api.Drill{{Volume: o.Volume, From: "server2", To: "server1", Pause: time.Second}}, p.err
}

func (p *fakePeer) Reboot(_ context.Context, o api.RebootOrder) error {
	p.reboots <- o
	return p.err
}

func (p *fakePeer) Stage(context.Context) (api.Stage, error) { return p.stage, p.err }

func (p *fakePeer) Resize(context.Context, control.GrowRequest) error { return nil }

func (p *fakePeer) Resync(context.Context, control.ResyncRequest) error { return nil }

func newFakePeer(name string, log *calls) *fakePeer {
	return &fakePeer{fakeVoter: fakeVoter{name: name, log: log}, switched: make(chan string, 10), reboots: make(chan api.RebootOrder, 10), verified: make(chan control.VerifyRequest, 10)}
}

func (p *fakePeer) Beat(ctx context.Context, b api.Beat) (api.Beat, error) {
	if p.beat == nil {
		<-ctx.Done()
		return api.Beat{}, ctx.Err()
	}
	return p.beat(b)
}

func (p *fakePeer) HandOver(ctx context.Context, _ string, _ arbiter.Epoch) error {
	return p.ask(ctx, "handover")
}

func (p *fakePeer) Clients(_ context.Context, m api.Clients) (api.ClientsTaken, error) {
	return p.clients(m)
}

func (p *fakePeer) Switchover(_ context.Context, volume string) error {
	p.switched <- volume
	return nil
}

func (p *fakePeer) Protocol(ctx context.Context, req control.ProtocolRequest) error {
	return p.ask(ctx, "protocol "+req.Protocol)
}

type fakeClock struct {
	mu  sync.Mutex
	now time.Duration
}

func (c *fakeClock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now += d }

func (c *fakeClock) Boot() time.Duration { c.mu.Lock(); defer c.mu.Unlock(); c.now++; return c.now }

type memory struct {
	mu     sync.Mutex
	events []event.Event
}

func (m *memory) Add(e event.Event) { m.mu.Lock(); defer m.mu.Unlock(); m.events = append(m.events, e) }

func (m *memory) count(kind string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (m *memory) has(kind string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.Kind == kind {
			return true
		}
	}
	return false
}

// stage is an Agent with fakes all around.
type stage struct {
	agent   *Agent
	owner   *owner
	script  *script
	steps   *stepFake
	replica *fakeReplica
	private *fakePeer
	lan     *fakePeer
	witness *fakeVoter
	votes   *calls
	memory  *memory
}

type pingable struct{ *fakeVoter }

func (p pingable) Ping(ctx context.Context) error { return p.err }

func stageConfig() *config.Config {
	return &config.Config{Cluster: "lab", Node: "server1",
		Nodes: []config.Node{
			{Name: "server1", Links: []config.Link{{Name: "private", Address: "198.18.1.1"}, {Name: "lan", Address: "198.18.0.1"}}},
			{Name: "server2", Links: []config.Link{{Name: "private", Address: "198.18.1.2"}, {Name: "lan", Address: "198.18.0.2"}}}},
		Witness: config.Witness{Name: "witness", Address: "198.18.0.3"},
		Timing:  config.Timing{Heartbeat: 20 * time.Millisecond, StepTimeout: 5 * time.Second},
		Volumes: []config.Volume{{Name: "data", Mount: config.Mount{Path: "/srv/data", Type: "ext4", FormatIfNew: true},
			Addresses: []config.Address{{Address: "198.18.0.250", Interface: "lan0"}}}}}
}

func newStage(t *testing.T, react func(failover.Event) []failover.Action) *stage {
	t.Helper()
	cfg := stageConfig()
	cfg.StateDir = t.TempDir()
	s := &stage{script: newScript(react), steps: newStepFake(), replica: newFakeReplica(), votes: &calls{}, memory: &memory{}}
	s.private, s.lan = newFakePeer("private", s.votes), newFakePeer("lan", s.votes)
	s.witness = &fakeVoter{name: "witness", log: s.votes}
	s.replica.log = s.votes
	agent, err := build(parts{config: cfg, log: slog.New(slog.NewTextHandler(io.Discard, nil)), clock: &fakeClock{},
		boot: "boot1", replica: s.replica, peers: map[string]Peer{"private": s.private, "lan": s.lan},
		witness: pingable{s.witness}, keep: []History{s.memory},
		interfaceOf: func(a string) string { return map[string]string{"198.18.1.1": "priv0", "198.18.0.1": "lan0"}[a] },
		volume: func(config.Volume, func(string, string)) (volumeParts, error) {
			return volumeParts{s.script, fakeAddresses{s.steps}, fakeServices{s.steps}, fakeMount{s.steps}, nil}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	s.agent, s.owner = agent, agent.owners[0]
	return s
}

// runOwner runs only the volume's owner until the test ends.
func (s *stage) runOwner(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.owner.run(ctx) }()
	ticks := make(chan struct{})
	go func() { defer close(ticks); s.agent.keepTime(ctx) }()
	t.Cleanup(func() { cancel(); <-ticks; <-done; s.owner.course.wg.Wait() })
}
