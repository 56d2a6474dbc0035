package failover

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"gemel/node/arbiter"
)

func TestAPairWithoutThirdVoterIsBornAndSwitchesOver(t *testing.T) {
	w := newWorldOf(t, byNobody, true)
	first := w.healthy(10 * time.Second)
	if r := first.reg.Record.Accepted.Rule; !r.Alone() {
		t.Errorf("the rule on record is %+v", r)
	}
	w.order(first.id, OrderSwitchover)
	w.pass(3 * time.Second)
	if b := w.healthy(10 * time.Second); b == first {
		w.fail("nothing was switched over")
	}
	if len(w.shots) != 0 {
		t.Errorf("shots %v in a healthy pair", w.shots)
	}
}

func TestProofReplacesTheDeadPrimary(t *testing.T) {
	w := newWorldOf(t, byNobody, true)
	first := w.healthy(10 * time.Second)
	w.pass(time.Second)
	w.powerOff(first.id)
	died := w.now
	for w.serving() == nil && w.now-died < 20*time.Second {
		w.pass(tick)
	}
	t.Logf("pause %v", w.now-died)
	if w.serving() == nil {
		w.fail("no fail-over: %+v", w.nodes[1-first.id].m.View())
	}
	if b := w.healthy(30 * time.Second); b.id == first.id {
		t.Error("the volume went back by itself")
	}
}

func TestProofLetsThePrimaryGoOn(t *testing.T) {
	w := newWorldOf(t, byNobody, true)
	first := w.healthy(10 * time.Second)
	w.powerOff(1 - first.id)
	for range 600 {
		if w.pass(tick); !first.vip || !first.replica.Primary {
			w.fail("the Primary stopped serving")
		}
	}
	if w.healthy(30*time.Second) != first {
		t.Error("the other one serves")
	}
}

// TestAPeerThatStopsInGoodOrderIsNotShot: it is taken out of the set while it can vote.
func TestAPeerThatStopsInGoodOrderIsNotShot(t *testing.T) {
	w := newWorldOf(t, byNobody, true)
	first := w.healthy(10 * time.Second)
	other := w.nodes[1-first.id]
	other.going = true
	for end := w.now + 3*time.Second; first.m.View().Chosen.Set != arbiter.Only(first.id) && w.now < end; {
		w.pass(tick)
	}
	w.powerOff(other.id)
	for range 3000 {
		if w.pass(tick); !first.vip || !first.replica.Primary {
			w.fail("the Primary stopped serving")
		}
	}
	other.going = false
	w.powerOn(other.id)
	if w.healthy(20*time.Second) != first || len(w.shots) != 0 {
		w.fail("shots by %v", w.shots)
	}
}

func TestWithoutLinksOneIsShotAndOneStays(t *testing.T) {
	w := newWorldOf(t, byNobody, true)
	first := w.healthy(10 * time.Second)
	w.split(0, 1, true)
	w.pass(8 * time.Second)
	if w.serving() != first || len(w.shots) == 0 || w.shots[0] != w.config(first.id).SelfName {
		w.fail("the Primary did not stay; shots by %v", w.shots)
	}
	w.split(0, 1, false)
	if w.healthy(30*time.Second) != first {
		t.Error("the other one serves")
	}
	for _, by := range w.shots {
		if by != w.config(first.id).SelfName {
			t.Errorf("shots by %v: the Secondary, which is not current, shot too", w.shots)
		}
	}
}

func TestADeviceThatFailsLeavesItToAPerson(t *testing.T) {
	w := newWorldOf(t, byNobody, true)
	first := w.healthy(10 * time.Second)
	w.pass(time.Second)
	other := w.nodes[1-first.id]
	w.broken = true
	w.powerOff(first.id)
	w.pass(30 * time.Second)
	if w.serving() != nil {
		w.fail("took over without a proof")
	}
	if why := other.m.View().Refusal; !strings.Contains(why, "does not answer") || !strings.Contains(why, "gemel grab data") {
		t.Errorf("refusal: %s", why)
	}
	w.broken = false // mended: the next try proves it
	for end := w.now + 30*time.Second; w.serving() == nil && w.now < end; {
		w.pass(tick)
	}
	if w.serving() != other {
		w.fail("no take-over after the device was mended")
	}
	w.healthy(30 * time.Second)
}

func TestAPrimaryWhosePeerCannotBeProvedOffLetsGoAndComesBack(t *testing.T) {
	w := newWorldOf(t, byNobody, true)
	first := w.healthy(10 * time.Second)
	w.broken = true
	w.powerOff(1 - first.id)
	w.pass(40 * time.Second)
	if w.serving() != nil || first.vip {
		w.fail("served on without peer, third voter and proof")
	}
	w.broken = false
	for end := w.now + 30*time.Second; w.serving() == nil && w.now < end; {
		w.pass(tick)
	}
	if w.serving() != first {
		w.fail("did not come back with the proof: %+v", first.m.View())
	}
}

// TestAnOldBoxDoesNotShoot: it was off while the other one went on, and boots when
// that is off.
func TestAnOldBoxDoesNotShoot(t *testing.T) {
	w := newWorldOf(t, byNobody, true)
	first := w.healthy(10 * time.Second)
	old := w.nodes[1-first.id]
	w.powerOff(old.id)
	w.pass(2500 * time.Millisecond)
	w.queue = nil // nobody switches it on again
	w.pass(10 * time.Second)
	w.queue = nil
	if w.serving() != first {
		// the shot's answer was thrown away with the queue
		for end := w.now + 60*time.Second; w.serving() == nil && w.now < end; {
			w.pass(tick)
		}
	}
	if old.up {
		w.powerOff(old.id)
	}
	w.pass(time.Second)
	w.powerOff(first.id)
	w.shots = nil
	w.powerOn(old.id)
	w.pass(time.Minute)
	if w.serving() != nil || len(w.shots) != 0 {
		w.fail("the old box took over; shots by %v", w.shots)
	}
	if why := old.m.View().Refusal; !strings.Contains(why, "may hold newer data") {
		t.Errorf("refusal: %s", why)
	}
	w.powerOn(first.id)
	if w.healthy(30*time.Second) != first {
		t.Error("the old box serves")
	}
}

func TestWithoutFencingOnlyAPersonTakesOver(t *testing.T) {
	w := newWorldOf(t, byNobody, false)
	first := w.healthy(10 * time.Second)
	other := w.nodes[1-first.id]
	w.powerOff(first.id)
	w.pass(20 * time.Second)
	if w.serving() != nil {
		w.fail("took over without any proof")
	}
	if why := other.m.View().Refusal; !strings.Contains(why, "only a person") || !strings.Contains(why, "gemel grab data") {
		t.Errorf("refusal: %s", why)
	}
	w.order(other.id, OrderGrab)
	w.pass(8 * time.Second)
	if w.serving() != other {
		w.fail("the operator's word did not help: %+v", other.m.View())
	}
	w.powerOn(first.id)
	w.healthy(30 * time.Second)
}

// reconfigure gives both nodes another third voter, one agent after the other.
func (w *world) reconfigure(third int) {
	for id := range arbiter.NodeID(2) {
		w.third[id] = third
		w.restartAgent(id)
		w.pass(700 * time.Millisecond)
	}
}

// follows waits until the rule on record is as configured.
func (w *world) follows(within time.Duration) {
	w.t.Helper()
	for end := w.now + within; w.now < end; w.pass(tick) {
		a, b := w.nodes[0].m.View().Arbiter, w.nodes[1].m.View().Arbiter
		if a.Differs == "" && b.Differs == "" && a.Rule == b.Rule && w.nodes[0].reg.Record.Accepted == w.nodes[1].reg.Record.Accepted {
			return
		}
	}
	w.fail("the third voter was not changed: %+v and %+v", w.nodes[0].m.View().Arbiter, w.nodes[1].m.View().Arbiter)
}

func TestTheThirdVoterIsChangedOnALivingPair(t *testing.T) {
	w := newWorldOf(t, byWitness, false)
	first := w.healthy(10 * time.Second)
	for i, third := range []int{byNobody, byWitness, byOther, byNobody, byOther, byWitness} {
		w.reconfigure(third)
		w.follows(10 * time.Second)
		if w.serving() != first || !first.vip {
			w.fail("change %d moved the volume", i)
		}
		w.healthy(time.Second)
		if third != byNobody && w.voterOf(first, arbiter.Witness).reg.Record.Accepted != first.reg.Record.Accepted {
			w.pass(2 * time.Second)
			if w.voterOf(first, arbiter.Witness).reg.Record.Accepted != first.reg.Record.Accepted {
				w.fail("change %d: the third voter was not told", i)
			}
		}
	}
	w.wit.up = true
	w.powerOff(first.id)
	w.pass(8 * time.Second)
	if b := w.serving(); b == nil || b == first {
		w.fail("the new third voter does not count")
	}
}

// TestAGivenUpWitnessDoesNotVote: it was given up, the Primary went on by proof, and
// an old box asks the old witness.
func TestAGivenUpWitnessDoesNotVote(t *testing.T) {
	w := newWorldOf(t, byWitness, true)
	first := w.healthy(10 * time.Second)
	old := w.nodes[1-first.id]
	w.reconfigure(byNobody)
	w.follows(10 * time.Second)
	w.powerOff(old.id)
	for end := w.now + 20*time.Second; first.reg.Record.Accepted.Set != arbiter.Only(first.id) && w.now < end; {
		w.pass(tick)
	}
	w.pass(tick)
	w.powerOff(first.id)
	w.queue = nil
	w.third[old.id] = byWitness // its configuration is the old one
	w.powerOn(old.id)
	w.pass(20 * time.Second)
	if w.serving() != nil {
		w.fail("the old witness made an old box Primary")
	}
}

func TestOneConfigurationAloneChangesNothing(t *testing.T) {
	w := newWorldOf(t, byWitness, false)
	first := w.healthy(10 * time.Second)
	w.third[first.id] = byNobody
	w.restartAgent(first.id)
	w.pass(5 * time.Second)
	v := first.m.View().Arbiter
	if v.Rule.Alone() || !strings.Contains(v.Differs, "restart both agents") {
		t.Errorf("%+v", v)
	}
}

func TestRandomWalkWithoutThirdVoter(t *testing.T) {
	for seed := range walks() {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			proofWalk(t, uint64(seed), newWorldOf(t, byNobody, true), func(w *world, r *rand.Rand) {
				if r.IntN(8) == 0 {
					w.broken = !w.broken
					return
				}
				trouble(w, r)
			})
		})
	}
}

func TestRandomWalkWithChangesOfTheThirdVoter(t *testing.T) {
	for seed := range walks() {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			proofWalk(t, uint64(seed), newWorldOf(t, seed%3, seed%2 == 0), func(w *world, r *rand.Rand) {
				switch r.IntN(6) {
				case 0:
					w.broken = !w.broken
				case 1:
					id := r.IntN(2)
					w.third[id] = r.IntN(3)
					if w.nodes[id].up {
						w.restartAgent(arbiter.NodeID(id))
					}
				case 2:
					if w.nodes[0].up && w.nodes[1].up {
						w.reconfigure(r.IntN(3))
					}
				default:
					trouble(w, r)
				}
			})
		})
	}
}

// proofWalk lets trouble happen and then mends everything. What the pair cannot
// decide by itself then, since nobody may know which node is newer, a person does.
func proofWalk(t *testing.T, seed uint64, w *world, trouble func(*world, *rand.Rand)) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 11))
	w.healthy(20 * time.Second)
	for range 12 {
		trouble(w, r)
		w.pass(time.Duration(r.IntN(9000)) * time.Millisecond / tick * tick)
	}
	w.cut, w.broken = map[[2]arbiter.NodeID]bool{}, false
	w.wit.up, w.other.up = true, true
	for _, b := range w.nodes {
		w.setMode(b.id, Mode{})
		b.mode, b.nic = Mode{}, true
		delete(b.failing, StepServices)
		if !b.up {
			w.powerOn(b.id)
		}
	}
	w.third[1] = w.third[0]
	w.restartAgent(1)
	w.healthy(90 * time.Second)
	w.follows(20 * time.Second)
}
