package agent

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/failover"
	"gemel/node/replicator/control"
)

func peerBeat(seq uint64, link string, v ...api.BeatVolume) api.Beat {
	for i := range v {
		v[i].Version = seq
	}
	return api.Beat{Node: "server2", Boot: "peer1", Seq: seq, Link: link, Volumes: v, Upto: seq}
}

func TestBeatBecomesEvent(t *testing.T) {
	s := newStage(t, nil)
	s.runOwner(t)
	word := api.BeatVolume{Name: "data", Role: control.Primary, Serving: true, Epoch: 7, Fit: true, AddressNIC: true,
		Chosen: arbiter.Accepted{Epoch: 7, Version: 2, Set: arbiter.Both}}
	reply, err := s.agent.takeBeat("server2", peerBeat(1, "lan", word))
	if err != nil {
		t.Fatal(err)
	}
	want := failover.Beat{Link: "lan", Peer: failover.PeerReport{Boot: "peer1", Primary: true, Serving: true, Epoch: 7,
		Chosen: word.Chosen, Fit: true, AddressNIC: true, Speaks: true}}
	if got := next[failover.Beat](t, s.script); got != want {
		t.Errorf("event %+v, want %+v", got, want)
	}
	if reply.Node != "server1" || reply.Link != "lan" || reply.Seq == 0 || len(reply.Volumes) != 1 {
		t.Errorf("the reply is no beat: %+v", reply)
	}
}

func TestBeatsThatAreRefusedOrIgnored(t *testing.T) {
	s := newStage(t, nil)
	take := func(from string, b api.Beat) error { _, err := s.agent.takeBeat(from, b); return err }
	if err := take("witness", peerBeat(1, "lan")); !errors.Is(err, errNotPeer) {
		t.Errorf("beat of the witness: %v", err)
	}
	stranger := peerBeat(1, "lan")
	stranger.Node = "server3"
	if take("server2", stranger) == nil || take("server2", peerBeat(1, "moon")) == nil {
		t.Error("a wrong name or an unknown link was taken")
	}
	if err := take("server2", peerBeat(5, "lan")); err != nil {
		t.Fatal(err)
	}
	if err := take("server2", peerBeat(5, "lan")); err != nil {
		t.Errorf("a late beat is no crime: %v", err)
	}
	if n := len(s.owner.box.take()); n != 1 {
		t.Errorf("%d events of two equal beats, want 1", n)
	}
	again := peerBeat(1, "lan")
	again.Boot = "peer2"
	if err := take("server2", again); err != nil {
		t.Errorf("beat of a restarted peer: %v", err)
	}
	if take("server2", peerBeat(9, "lan")) == nil {
		t.Error("a replayed beat of an earlier start was taken")
	}
}

func TestBeatsGoBothWays(t *testing.T) {
	s := newStage(t, nil)
	s.runOwner(t)
	seq := uint64(0)
	s.private.beat = func(b api.Beat) (api.Beat, error) {
		seq++
		return peerBeat(seq, b.Link), nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.agent.heart.send(ctx, s.agent.links[0]) }()
	for range 3 {
		if b := next[failover.Beat](t, s.script); b.Link != "private" {
			t.Errorf("beat on link %s", b.Link)
		}
	}
	cancel()
	<-done
}

// TestANodeThatStandsStillSendsNoHeartbeats: its machine is stuck in a step, as on a
// disk that does not answer, and its peer must be free to take over.
func TestANodeThatStandsStillSendsNoHeartbeats(t *testing.T) {
	stuck, free := make(chan struct{}, 1000), make(chan struct{})
	s := newStage(t, func(ev failover.Event) []failover.Action {
		if _, tick := ev.(failover.Tick); tick {
			stuck <- struct{}{}
			<-free
		}
		return nil
	})
	var beats atomic.Int32
	s.private.beat = func(b api.Beat) (api.Beat, error) {
		return peerBeat(uint64(beats.Add(1)), b.Link), nil
	}
	s.runOwner(t)
	<-stuck
	heart, clock := s.agent.heart, s.agent.clock.(*fakeClock)
	if heart.once(t.Context(), s.agent.links[0]); beats.Load() != 1 {
		t.Error("a step that has only begun stopped the heart")
	}
	clock.pass(10 * time.Second)
	heart.once(t.Context(), s.agent.links[0])
	if _, err := heart.answer(peerBeat(9, "lan")); beats.Load() != 1 || !errors.Is(err, errStands) {
		t.Errorf("%d beats were sent, the peer's was answered with %v", beats.Load(), err)
	}
	if s.memory.count("agent.stuck") != 1 {
		t.Errorf("agent.stuck was told %d times", s.memory.count("agent.stuck"))
	}
	close(free)
	for end := time.Now().Add(10 * time.Second); heart.stands(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the heart does not beat again")
		}
	}
}

// An agent that has just started must not report a vacancy while its replica
// still serves.
func TestWordWhileResuming(t *testing.T) {
	s := newStage(t, nil)
	s.replica.set(func(v *control.VolumeState) { v.Role = control.Primary })
	s.agent.learnFirst(t.Context())
	if w := s.owner.word(false); w.Role != control.Primary {
		t.Errorf("role %s while the replica is Primary", w.Role)
	}
	s.script.setRole(failover.RoleLettingGo)
	s.owner.publish()
	if w := s.owner.word(false); w.Role == control.Primary || w.Fit {
		t.Errorf("word while letting go: %+v", w)
	}
}

func TestConflictsAreDefendedAndToldOnce(t *testing.T) {
	s := newStage(t, nil)
	s.script.setRole(failover.RoleServing)
	s.owner.publish()
	for _, l := range s.agent.links {
		<-l.kick // of the new role
	}
	for range 3 {
		s.owner.conflict("198.18.0.250 on lan0", "02:00:00:00:00:01")
	}
	if n := s.steps.calls.count("announce"); n != 3 {
		t.Errorf("announced %d times after three conflicts", n)
	}
	for _, l := range s.agent.links {
		select {
		case <-l.kick:
		default:
			t.Errorf("no heartbeat leaves at once on link %s", l.name)
		}
	}
	if told := s.memory.count("address.conflict"); told != 1 {
		t.Errorf("a conflict was told %d times", told)
	}
}

func TestVotesFindTheirVoter(t *testing.T) {
	s := newStage(t, nil)
	s.runOwner(t)
	for voter, name := range []string{"self", "private", "witness"} {
		id := arbiter.NodeID(voter)
		s.ask(failover.SendPrepare{Voter: id, Epoch: 2}, failover.SendAccept{Voter: id}, failover.SendRenew{Voter: id})
		seen := 0
		for range 3 {
			switch ev := (<-s.script.events).(type) {
			case failover.Prepared:
				if ev.Voter == id && ev.Reply.OK && !ev.Unreachable {
					seen++
				}
			case failover.AcceptedBy:
				if ev.Voter == id && ev.Reply.OK {
					seen++
				}
			case failover.Renewed:
				if ev.Voter == id && ev.Sent != 0 {
					seen++
				}
			}
		}
		if seen != 3 {
			t.Errorf("voter %d: %d of 3 answers", id, seen)
		}
		for _, what := range []string{"prepare", "accept", "renew"} {
			if s.votes.count(name+" "+what) != 1 {
				t.Errorf("%s %s: calls %v", name, what, s.votes.all())
			}
		}
	}
}

func TestVoteTakesTheOtherLink(t *testing.T) {
	for name, spoil := range map[string]func(*fakePeer){
		"error":      func(p *fakePeer) { p.err = errors.New("connection refused") },
		"black hole": func(p *fakePeer) { p.hang = true },
	} {
		s := newStage(t, nil)
		s.runOwner(t)
		spoil(s.private)
		s.ask(failover.SendPrepare{Voter: 1, Epoch: 2})
		if got := next[failover.Prepared](t, s.script); got.Unreachable || s.votes.count("lan prepare") != 1 {
			t.Errorf("%s: %+v, calls %v", name, got, s.votes.all())
		}
		spoil(s.lan)
		s.ask(failover.SendPrepare{Voter: 1, Epoch: 2})
		if got := next[failover.Prepared](t, s.script); !got.Unreachable {
			t.Errorf("%s on both links: %+v", name, got)
		}
	}
}

func TestHandOverFollowsReleases(t *testing.T) {
	s := newStage(t, nil)
	s.runOwner(t)
	s.ask(failover.SendRelease{Voter: 0}, failover.SendRelease{Voter: 1}, failover.SendRelease{Voter: 2},
		failover.TellHandOver{Epoch: 2}, failover.SendPrepare{Voter: 0})
	next[failover.Prepared](t, s.script)
	waitUntil(t, func() bool { return s.memory.has("handover.sent") })
	list := s.votes.all()
	at := slices.Index(list, "private handover")
	for _, r := range []string{"self release", "private release", "witness release"} {
		if i := slices.Index(list, r); i < 0 || i > at {
			t.Errorf("%s did not come before the hand-over: %v", r, list)
		}
	}
}

func waitUntil(t *testing.T, cond func() bool) {
	t.Helper()
	limit := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(limit) {
			t.Fatal("it did not happen")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func answerOrders(ev failover.Event) []failover.Action {
	if o, ok := ev.(failover.Order); ok {
		return []failover.Action{failover.Answer{ID: o.ID}}
	}
	return nil
}

func TestSwitchoverIsForwardedByTheSecondary(t *testing.T) {
	s := newStage(t, answerOrders)
	s.runOwner(t)
	s.owner.heard.Store(&api.BeatVolume{Name: "data", Role: control.Primary})
	if err := s.agent.switchover(t.Context(), "data", false); err != nil {
		t.Fatal(err)
	}
	if v := <-s.private.switched; v != "data" {
		t.Errorf("the peer was asked for %q", v)
	}
	// An order that the peer passed on is never passed back.
	if err := s.agent.switchover(t.Context(), "data", true); err != nil {
		t.Fatal(err)
	}
	if o := next[failover.Order](t, s.script); o.Kind != failover.OrderSwitchover || len(s.private.switched) != 0 {
		t.Errorf("order %+v, %d passed back", o, len(s.private.switched))
	}
}

func TestSwitchoverStaysAtThePrimary(t *testing.T) {
	s := newStage(t, answerOrders)
	s.script.setRole(failover.RoleServing)
	s.owner.publish()
	s.runOwner(t)
	if err := s.agent.switchover(t.Context(), "data", false); err != nil || len(s.private.switched) != 0 {
		t.Errorf("error %v, %d forwarded", err, len(s.private.switched))
	}
	if err := s.agent.switchover(t.Context(), "nothing", false); err == nil {
		t.Error("an unknown volume was switched over")
	}
}

func TestOrderWithoutAnswerEnds(t *testing.T) {
	s := newStage(t, nil)
	s.runOwner(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.agent.grab(ctx, "data", true); err == nil {
		t.Error("an order without an answer must end with an error")
	}
	if o := next[failover.Order](t, s.script); o.Kind != failover.OrderGrabStale {
		t.Errorf("order %+v", o)
	}
}

func TestBootCleansOnlyWhatIsNotPrimary(t *testing.T) {
	for role, want := range map[string][]string{
		control.Secondary: {"drop", "kill", "detach"},
		control.Primary:   nil,
	} {
		s := newStage(t, nil)
		s.steps.mounted = true
		s.replica.set(func(v *control.VolumeState) { v.Role = role })
		s.agent.clean(t.Context())
		if got := s.steps.calls.all(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", role, got, want)
		}
	}
}

func TestStopLeavesThenDropsTheAddresses(t *testing.T) {
	for name, c := range map[string]struct {
		err  string
		want []string
	}{"clean": {"", []string{"drop"}}, "not clean": {"the mount is busy", []string{"drop", "kill"}}} {
		s := newStage(t, func(ev failover.Event) []failover.Action {
			if o, ok := ev.(failover.Order); ok && o.Kind == failover.OrderLeave {
				return []failover.Action{failover.Answer{ID: o.ID, Err: c.err}}
			}
			return nil
		})
		s.replica.set(func(v *control.VolumeState) { v.Role = control.Primary })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.agent.serve(ctx) }()
		next[failover.Replica](t, s.script)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := s.steps.calls.all(); !slices.Equal(got, c.want) {
			t.Errorf("%s: calls %v, want %v", name, got, c.want)
		}
	}
}

func TestAgentEndsWithWhatRunsBesideIt(t *testing.T) {
	s := newStage(t, answerOrders)
	broken := errors.New("address in use")
	s.agent.beside = append(s.agent.beside, func(context.Context, *Agent) error { return broken })
	if err := s.agent.serve(t.Context()); !errors.Is(err, broken) {
		t.Errorf("serve: %v", err)
	}
}

func TestWatcherTellsChangesAndDeath(t *testing.T) {
	s := newStage(t, nil)
	s.runOwner(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.agent.watcher.run(ctx) }()
	defer func() { cancel(); <-done }()
	if r := next[failover.Replica](t, s.script); !r.State.Usable || !r.State.DiskWhole || r.State.Primary {
		t.Errorf("first report %+v", r.State)
	}
	s.replica.set(func(v *control.VolumeState) { v.WantShrink = true })
	if r := next[failover.Replica](t, s.script); !r.State.WantShrink {
		t.Errorf("report %+v", r.State)
	}
	s.replica.kill(errReplicatorGone)
	next[failover.ReplicaDown](t, s.script)
	s.replica.kill(nil)
	next[failover.Replica](t, s.script)
}

func TestOldStatesDoNotOvertakeNewOnes(t *testing.T) {
	s := newStage(t, nil)
	state := func(seq uint64, role string) []control.VolumeState {
		return []control.VolumeState{{Name: "data", Role: role, Disk: control.UpToDate, Seq: seq}}
	}
	s.owner.learn(state(5, control.Primary), false)
	s.owner.learn(state(7, control.Secondary), false)
	s.owner.learn(state(6, control.Primary), false)
	if got := s.owner.state.Load(); got.Role != control.Secondary {
		t.Errorf("an old state came back: %+v", got)
	}
	s.owner.learn(state(1, control.Primary), true)
	if got := s.owner.state.Load(); got.Seq != 1 {
		t.Errorf("a restarted replicator's state was dropped: %+v", got)
	}
}

func TestReportOfAnUnknownVolume(t *testing.T) {
	s := newStage(t, nil)
	s.owner.learn(nil, false)
	ev := s.owner.box.take()[0].(failover.Replica)
	if ev.State.Usable || ev.State.Problem == "" || ev.State.DiskWhole {
		t.Errorf("report %+v", ev.State)
	}
}

func TestCarrierReachesLinksAndAddresses(t *testing.T) {
	s := newStage(t, nil)
	s.script.setRole(failover.RoleServing)
	s.owner.publish()
	s.runOwner(t)
	if names, complete := s.agent.interfaces(); !complete || !slices.Equal(names, []string{"lan0", "priv0"}) {
		t.Fatalf("interfaces %v, complete %v", names, complete)
	}
	s.agent.carrier("lan0", false)
	if ev := next[failover.Carrier](t, s.script); ev.Link != "lan" || ev.Up {
		t.Errorf("event %+v", ev)
	}
	if ev := next[failover.AddressNIC](t, s.script); ev.Up || s.owner.word(false).AddressNIC {
		t.Errorf("event %+v", ev)
	}
	if best := s.agent.links.best(); best[0].name != "private" {
		t.Errorf("best link is %s", best[0].name)
	}
	s.agent.carrier("lan0", true)
	if ev := next[failover.AddressNIC](t, s.script); !ev.Up || s.steps.calls.count("announce") != 1 {
		t.Errorf("event %+v, announced %d times", ev, s.steps.calls.count("announce"))
	}
}

func TestChosenIsToldInOrderAndNewestWins(t *testing.T) {
	s := newStage(t, nil)
	s.runOwner(t)
	for v := uint32(1); v <= 3; v++ {
		s.ask(failover.TellChosen{Chosen: arbiter.Accepted{Epoch: 2, Version: v}}, failover.Answer{})
		s.owner.box.post(failover.Tick{})
	}
	last := uint32(0)
	for last < 3 {
		got := <-s.replica.chosen
		if got.Chosen.Version <= last {
			t.Fatalf("version %d after %d", got.Chosen.Version, last)
		}
		last = got.Chosen.Version
	}
}

func TestStatusTellsTheWholeStory(t *testing.T) {
	s := newStage(t, nil)
	s.agent.learnFirst(t.Context())
	s.script.mu.Lock()
	s.script.view = failover.View{Role: failover.RoleSecondary, Phase: "follows server2", Epoch: 7,
		Chosen: arbiter.Accepted{Epoch: 7, Version: 2, Set: arbiter.Both},
		Peer: failover.PeerView{Alive: true, LastSeen: 1, Links: []failover.LinkView{
			{Name: "private", Up: true}, {Name: "lan", Missed: 4}}}}
	s.script.mu.Unlock()
	s.owner.publish()
	s.owner.heard.Store(&api.BeatVolume{Name: "data", Role: control.Primary})
	st := s.agent.status()
	v := st.Volumes[0]
	if !slices.Equal(v.InSyncBy, []string{"server1", "server2"}) || v.PeerRole != control.Primary ||
		v.Addresses[0].Holder != "server2" || v.Phase != "follows server2" {
		t.Errorf("volume %+v", v)
	}
	if !st.Links[0].Up || st.Links[1].Missed != 4 || !st.Peer.Alive || st.Witness.Means == "" {
		t.Errorf("status %+v", st)
	}
	s.owner.lose("killed", true)
	if st := s.agent.status(); st.ReplicatorProblem == "" || st.Volumes[0].Problem == "" {
		t.Errorf("status without a replicator: %+v", st)
	}
}

// What runs no more is told apart from what does not answer: only the first
// proves that the device is gone.
func TestGoneReplicatorIsNoSlowReplicator(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replicator.sock")
	client := replicaClient{control.NewClient(path)}
	if _, err := client.State(t.Context()); !errors.Is(err, errReplicatorGone) {
		t.Errorf("missing socket: %v", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.State(ctx); err == nil || errors.Is(err, errReplicatorGone) {
		t.Errorf("silent socket: %v", err)
	}
}
