package failover

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"gemel/node/arbiter"
)

func TestBirthGrowsToBoth(t *testing.T) {
	w := newWorld(t)
	if b := w.healthy(10 * time.Second); b.id != 0 {
		t.Errorf("node %d was born Primary, want the lower", b.id)
	}
}

func TestNewVolumeDoesNotStartAlone(t *testing.T) {
	w := newWorld(t)
	w.powerOff(1)
	w.pass(20 * time.Second)
	if w.serving() != nil {
		t.Fatal("a new volume started without its second node")
	}
	if why := w.nodes[0].m.View().Refusal; !strings.Contains(why, "volume create") {
		t.Errorf("refusal %q does not name the next step", why)
	}
}

func TestPrimaryDies(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.powerOff(first.id)
	died := w.now
	for w.serving() == nil && w.now-died < 20*time.Second {
		w.pass(tick)
	}
	took := w.now - died
	t.Logf("pause %v", took)
	if w.serving() == nil || took > term+2*time.Second {
		w.fail("no fail-over in time: %v", took)
	}
	w.powerOn(first.id)
	if b := w.healthy(30 * time.Second); b.id == first.id {
		t.Error("the volume went back by itself")
	}
}

func TestSecondaryDiesAndComesBack(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.powerOff(1 - first.id)
	w.pass(5 * time.Second)
	if b := w.serving(); b != first || b.m.View().Chosen.Set != arbiter.Only(first.id) {
		w.fail("the Primary did not go on alone: %+v", first.m.View())
	}
	w.powerOn(1 - first.id)
	w.healthy(20 * time.Second)
}

func TestIsolatedPrimaryStopsBeforeTheOtherStarts(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.split(first.id, 1-first.id, true)
	w.split(first.id, arbiter.Witness, true)
	w.pass(12 * time.Second) // check() watches the address all the time
	if b := w.serving(); b == nil || b.id == first.id {
		w.fail("the connected node did not take over")
	}
	if first.replica.Primary {
		w.fail("the isolated replica is still Primary")
	}
	w.split(first.id, 1-first.id, false)
	w.split(first.id, arbiter.Witness, false)
	w.healthy(20 * time.Second)
}

func TestAloneAndThenWithoutWitnessGoesOn(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.powerOff(1 - first.id)
	w.pass(5 * time.Second)
	w.wit.up = false
	w.pass(time.Minute)
	if w.serving() != first {
		w.fail("the last box standing stopped")
	}
}

func TestLastBoxStandingOutlivesItsAgent(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.powerOff(1 - first.id)
	w.pass(5 * time.Second)
	w.wit.up = false
	w.pass(10 * time.Second)
	w.restartAgent(first.id)
	for range 3000 {
		if w.pass(tick); !first.vip || !first.replica.Primary {
			w.fail("the restart of the agent ended a reign that nobody else can take")
		}
	}
	if w.serving() != first {
		w.fail("does not serve: %+v", first.m.View())
	}
}

func TestWitnessDownThenPrimaryDiesIsRefused(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.wit.up = false
	w.pass(10 * time.Second)
	if w.serving() != first {
		w.fail("the loss of the witness stopped the service")
	}
	w.powerOff(first.id)
	w.pass(20 * time.Second)
	other := w.nodes[1-first.id]
	if w.serving() != nil {
		w.fail("took over with one vote of three")
	}
	if why := other.m.View().Refusal; !strings.Contains(why, "witness") || !strings.Contains(why, "gemel grab data`") {
		w.fail("refusal %q does not say what is missing and what to do", why)
	}
	id := w.order(other.id, OrderGrab)
	w.pass(6 * time.Second)
	if err, answered := other.answers[id]; w.serving() != other || !answered || err != "" {
		w.fail("grab: answered %v %q", answered, err)
	}
	w.restartAgent(other.id)
	if w.pass(10 * time.Second); w.serving() != other {
		w.fail("the restart of the agent ended the reign by hand")
	}
	w.wit.up = true
	w.powerOn(first.id)
	w.healthy(30 * time.Second)
}

// TestNewReplicaCannotBeGrabbed: no word makes data of nothing. The order is
// refused, and the volume begins once all voters are there.
func TestNewReplicaCannotBeGrabbed(t *testing.T) {
	for _, kind := range []OrderKind{OrderGrab, OrderGrabStale} {
		w := newWorld(t)
		w.powerOff(1)
		w.wit.up = false
		w.pass(8 * time.Second)
		id := w.order(0, kind)
		w.pass(6 * time.Second)
		if err, answered := w.nodes[0].answers[id]; !answered || !strings.Contains(err, "new") {
			w.fail("grab: answered %v %q", answered, err)
		}
		w.wit.up = true
		w.powerOn(1)
		w.healthy(30 * time.Second)
	}
}

func TestStaleNodeAloneIsRefused(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	stale := w.nodes[1-first.id]
	w.powerOff(stale.id)
	w.pass(5 * time.Second)
	promised := w.wit.reg.Record.Promised
	w.powerOff(first.id)
	w.powerOn(stale.id)
	w.pass(20 * time.Second)
	if w.serving() != nil {
		w.fail("a stale node started alone")
	}
	if why := stale.m.View().Refusal; !strings.Contains(why, first.m.cfg.SelfName) || !strings.Contains(why, "--stale") {
		w.fail("refusal %q does not name the current node and the next step", why)
	}
	if w.wit.reg.Record.Promised != promised {
		w.fail("the stale node raised the witness's promise: it would disturb the reign")
	}
	w.powerOn(first.id)
	if b := w.healthy(30 * time.Second); b != first {
		w.fail("the stale node reigns")
	}
}

func TestStaleNodeCutFromPrimaryDoesNotDisturbIt(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.split(0, 1, true)
	w.pass(30 * time.Second)
	if w.serving() != first {
		w.fail("the Primary was disturbed")
	}
	epoch := first.m.View().Epoch
	w.split(0, 1, false)
	if b := w.healthy(20 * time.Second); b != first || b.m.View().Epoch != epoch {
		w.fail("the reign changed for nothing")
	}
}

func TestSwitchover(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	id := w.order(first.id, OrderSwitchover)
	began := w.now
	w.pass(tick)
	for w.serving() == nil || w.serving() == first {
		w.pass(tick)
		if w.now-began > 10*time.Second {
			w.fail("switchover does not end")
		}
	}
	t.Logf("pause %v", w.now-began)
	if w.now-began > 1500*time.Millisecond {
		w.fail("switchover took %v", w.now-began)
	}
	w.pass(time.Second)
	if err, ok := first.answers[id]; !ok || err != "" {
		w.fail("answer %v %q", ok, err)
	}
	w.healthy(10 * time.Second)
}

func TestSwitchoverIsRefusedWhenNotInSync(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.powerOff(1 - first.id)
	w.pass(5 * time.Second)
	id := w.order(first.id, OrderSwitchover)
	if err := first.answers[id]; err == "" {
		t.Fatal("handed over to a dead node")
	}
	if w.serving() != first {
		t.Fatal("a refused switchover changed something")
	}
}

func TestAgentRestartGoesOn(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	epoch := first.m.View().Epoch
	first.steps = nil
	w.pass(500 * time.Millisecond)
	w.restartAgent(first.id)
	if b := w.healthy(10 * time.Second); b != first || b.m.View().Epoch != epoch {
		w.fail("the restart of the agent ended the reign")
	}
	if why := first.m.View().Refusal; why != "" {
		w.fail("serves, and still shows the refusal %q", why)
	}
	for _, s := range first.steps {
		if s >= StepDropAddress {
			w.fail("the restart of the agent ran: %v", s)
		}
	}
}

func TestReplicatorDies(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	first.replica.Primary, first.replica.Epoch, first.replica.CrashedPrimary = false, 0, true
	w.feed(first.id, ReplicaDown{Reason: "killed"})
	w.pass(5 * time.Second)
	if b := w.serving(); b == nil || b == first {
		w.fail("no fail-over after the replicator died")
	}
	w.healthy(30 * time.Second)
}

func TestLostLANCableHandsOver(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	first.nic = false
	w.pass(5 * time.Second)
	if b := w.serving(); b == nil || b == first {
		w.fail("the node without a LAN cable kept the volume")
	}
}

func TestStepThatFailsEndsWithThePeer(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	other := w.nodes[1-first.id]
	other.failing[StepServices] = "no such program"
	w.order(first.id, OrderSwitchover)
	w.pass(30 * time.Second)
	if w.serving() != first {
		w.fail("the volume is nowhere")
	}
}

func TestTwoFailingNodesDoNotTossTheVolume(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	for _, b := range w.nodes {
		b.failing[StepServices] = "no such program"
	}
	w.order(first.id, OrderSwitchover)
	w.nodes[0].steps, w.nodes[1].steps = nil, nil
	w.pass(time.Minute)
	tries := 0
	for _, b := range w.nodes {
		for _, s := range b.steps {
			if s == StepServices {
				tries++
			}
		}
	}
	if tries < 2 || tries > 12 {
		w.fail("%d tries to start the services in a minute", tries)
	}
	for _, b := range w.nodes {
		delete(b.failing, StepServices)
	}
	w.healthy(3 * time.Minute)
}

func TestBothBootAfterPowerCut(t *testing.T) {
	w := newWorld(t)
	w.healthy(10 * time.Second)
	w.powerOff(0)
	w.powerOff(1)
	w.wit.up = false
	w.pass(time.Second)
	w.wit.up = true
	w.wit.reg = arbiter.Boot(w.wit.reg.Record, w.now, term)
	w.powerOn(0)
	w.powerOn(1)
	w.healthy(30 * time.Second)
}

func TestLeaveHandsOver(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	id := w.order(first.id, OrderLeave)
	w.pass(3 * time.Second)
	if err, ok := first.answers[id]; !ok || err != "" {
		w.fail("leave: %v %q", ok, err)
	}
	if b := w.serving(); b == nil || b == first {
		w.fail("the volume did not move")
	}
}

// TestRandomWalk makes trouble from a seed, heals it, and expects a healthy
// pair; the address is watched at every instant. GEMEL_WALKS sets how many.
func TestRandomWalk(t *testing.T) {
	for seed := range walks() {
		t.Run(strconv.Itoa(seed), func(t *testing.T) { walk(t, uint64(seed), trouble) })
	}
}

// breakDisk takes the replica of a node out of service until it is restarted.
func (w *world) breakDisk(b *box) {
	b.replica.Usable, b.replica.Problem = false, "the backing device failed"
}

func TestBrokenDiskMovesTheReign(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.breakDisk(first)
	broke := w.now
	for w.serving() == nil || w.serving() == first {
		if w.pass(tick); w.now-broke > 10*time.Second {
			w.fail("the other node does not serve")
		}
	}
	if took := w.now - broke; took > term {
		t.Errorf("it took %v, as if nobody had told the peer", took)
	}
	w.pass(10 * time.Second)
	if b := w.serving(); b == nil || b == first {
		w.fail("the volume did not stay with the good disk")
	}
}

// TestBrokenDiskOfTheLastStays: nobody else has the data, so what can still be
// read is served.
func TestBrokenDiskOfTheLastStays(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.powerOff(1 - first.id)
	w.pass(5 * time.Second)
	w.breakDisk(first)
	w.pass(10 * time.Second)
	if w.serving() != first {
		w.fail("the only node with the data stopped serving")
	}
}

func TestRandomWalkWithBrokenDisks(t *testing.T) {
	for seed := range walks() {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			walk(t, uint64(seed), func(w *world, r *rand.Rand) {
				if r.IntN(5) != 0 {
					trouble(w, r)
				} else if b := w.nodes[r.IntN(2)]; b.up {
					w.breakDisk(b)
				}
			})
		})
	}
}

func walks() int {
	if n, err := strconv.Atoi(os.Getenv("GEMEL_WALKS")); err == nil {
		return n
	}
	return 60
}

func walk(t *testing.T, seed uint64, trouble func(*world, *rand.Rand)) {
	r := rand.New(rand.NewPCG(seed, 7))
	w := newWorld(t)
	w.protocol, w.allowA = []string{"", "A", "B"}[seed%3], seed%2 == 0
	w.healthy(10 * time.Second)
	for range 12 {
		trouble(w, r)
		w.pass(time.Duration(r.IntN(6000)) * time.Millisecond / tick * tick)
	}
	w.cut = map[[2]arbiter.NodeID]bool{}
	w.wit.up = true
	for _, b := range w.nodes {
		w.setMode(b.id, Mode{})
		b.mode = Mode{}
		b.nic = true
		delete(b.failing, StepServices)
		if !b.replica.Usable {
			w.powerOff(b.id)
		}
		if !b.up {
			w.powerOn(b.id)
		}
		if b.dead {
			w.startReplicator(b)
		}
	}
	w.healthy(60 * time.Second)
}

func trouble(w *world, r *rand.Rand) {
	id := arbiter.NodeID(r.IntN(2))
	b := w.nodes[id]
	switch r.IntN(11) {
	case 9, 10:
		w.setMode(id, Mode{Maintenance: r.IntN(3) == 0, Standby: r.IntN(4) == 0})
	case 0, 1:
		if b.up {
			w.powerOff(id)
		} else {
			w.powerOn(id)
		}
	case 2:
		w.split(0, 1, r.IntN(2) == 0)
	case 3:
		w.split(id, arbiter.Witness, r.IntN(2) == 0)
	case 4:
		w.wit.up = !w.wit.up
		w.wit.reg = arbiter.Boot(w.wit.reg.Record, w.now, term)
	case 5:
		if b.up {
			w.restartAgent(id)
		}
	case 6:
		w.order(id, OrderSwitchover)
	case 7:
		w.cut[[2]arbiter.NodeID{id, 1 - id}] = r.IntN(2) == 0
	case 8:
		b.nic = !b.nic
	}
	for _, p := range w.nodes {
		if !p.up && r.IntN(3) == 0 {
			w.powerOn(p.id)
		}
	}
}

// TestBirthThatCameToNothingIsRepeated lets the winner of a volume's first
// election die before it promoted its replica: the voters are not new any more,
// but nothing of the volume exists, so the next election is its birth.
func TestBirthThatCameToNothingIsRepeated(t *testing.T) {
	w := newWorld(t)
	w.nodes[0].failing[StepPromote] = "overtaken"
	w.pass(3 * time.Second)
	if w.nodes[0].reg.Record.Fresh || w.serving() != nil {
		t.Fatal("the first election was to be won in vain")
	}
	delete(w.nodes[0].failing, StepPromote)
	w.healthy(60 * time.Second)
}

// TestReignKnowsWhichOneWasBefore: what a take-over may conclude from an unfinished
// first file system rests on it; the random walk checks it at every promotion.
func TestReignKnowsWhichOneWasBefore(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	epoch := first.m.View().Epoch
	w.powerOff(first.id)
	for limit := w.now + 20*time.Second; w.serving() == nil && w.now < limit; {
		w.pass(tick)
	}
	next := w.serving()
	if next == nil || next.m.before != epoch {
		t.Fatalf("the reign after epoch %d takes %d for the one before", epoch, next.m.before)
	}
	w.restartAgent(next.id)
	w.pass(2 * time.Second)
	if now := w.serving(); now != next || now.m.before != now.m.View().Epoch {
		t.Errorf("a resumed reign takes %d for the one before", next.m.before)
	}
}
