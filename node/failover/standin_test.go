package failover

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gemel/node/arbiter"
)

// alone waits until both nodes recorded that there is no third voter.
func (w *world) alone(within time.Duration) {
	w.t.Helper()
	for end := w.now + within; w.now < end; w.pass(tick) {
		a, b := w.nodes[0].reg.Record.Accepted, w.nodes[1].reg.Record.Accepted
		if a == b && a.Rule.Alone() {
			w.pass(time.Second) // the Secondary is told that it is chosen
			return
		}
	}
	w.fail("fencing does not stand in: %+v and %+v", w.nodes[0].m.View().Arbiter, w.nodes[1].m.View().Arbiter)
}

// TestTheWitnessDiesThenThePrimary: a proof that it is off stands for the vote that
// nobody can give any more.
func TestTheWitnessDiesThenThePrimary(t *testing.T) {
	w := newWorldOf(t, byWitness, true)
	first := w.healthy(10 * time.Second)
	w.wit.up = false
	w.alone(20 * time.Second)
	if v := first.m.View().Arbiter; !strings.Contains(v.Differs, "stands in for witness") || w.serving() != first || len(w.shots) != 0 {
		w.fail("%+v, shots by %v", v, w.shots)
	}
	w.powerOff(first.id)
	for end := w.now + 15*time.Second; w.serving() == nil && w.now < end; {
		w.pass(tick)
	}
	if w.serving() != w.nodes[1-first.id] || len(w.shots) != 1 {
		w.fail("no take-over by proof: %+v, shots by %v", w.nodes[1-first.id].m.View(), w.shots)
	}
	w.healthy(30 * time.Second)
	w.wit.up = true
	w.follows(20 * time.Second)
	if !slices.ContainsFunc(w.notes, func(n string) bool { return strings.Contains(n, "Fencing stands in") }) {
		t.Error("nobody tells that fencing stood in")
	}
}

func TestTheWitnessDiesThenTheSecondary(t *testing.T) {
	w := newWorldOf(t, byWitness, true)
	first := w.healthy(10 * time.Second)
	w.wit.up = false
	w.alone(20 * time.Second)
	w.powerOff(1 - first.id)
	for range 900 {
		if w.pass(tick); !first.vip || !first.replica.Primary {
			w.fail("the Primary stopped serving")
		}
	}
	w.healthy(30 * time.Second)
}

// TestFencingDoesNotStandIn where it could not decide, where the witness answers
// somebody, and for a moment's silence.
func TestFencingDoesNotStandIn(t *testing.T) {
	for name, trouble := range map[string]func(*world){
		"the devices are unfit":        func(w *world) { w.unfit, w.wit.up = true, false },
		"one node hears the witness":   func(w *world) { w.split(1, arbiter.Witness, true) },
		"the other hears the witness":  func(w *world) { w.split(0, arbiter.Witness, true) },
		"it is silent for three beats": func(w *world) { w.wit.up = false; w.pass(3 * time.Second); w.wit.up = true },
		"there is no device":           func(w *world) { w.fenced, w.wit.up = false, false; w.restartAgent(0); w.restartAgent(1) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldOf(t, byWitness, true)
			w.healthy(10 * time.Second)
			w.pass(2 * time.Second)
			trouble(w)
			w.pass(15 * time.Second)
			for _, b := range w.nodes {
				if b.reg.Record.Accepted.Rule.Third != arbiter.Third(byWitness) {
					w.fail("%+v", b.m.View().Arbiter)
				}
			}
		})
	}
}

// TestAnUnfitDeviceDoesNotCallTheWitnessBack: only its answers do.
func TestAnUnfitDeviceDoesNotCallTheWitnessBack(t *testing.T) {
	w := newWorldOf(t, byWitness, true)
	w.healthy(10 * time.Second)
	w.wit.up = false
	w.alone(20 * time.Second)
	change := w.nodes[0].reg.Record.Accepted.Rule.Change
	w.unfit = true
	w.pass(20 * time.Second)
	if now := w.nodes[0].reg.Record.Accepted.Rule.Change; now != change {
		w.fail("changed to and fro: %d, then %d", change, now)
	}
	w.unfit, w.wit.up = false, true
	w.follows(20 * time.Second)
}

// TestRandomWalkWhereTheWitnessComesAndGoes has it away for longer than fencing waits.
func TestRandomWalkWhereTheWitnessComesAndGoes(t *testing.T) {
	for seed := range walks() {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			proofWalk(t, uint64(seed), newWorldOf(t, byWitness, true), func(w *world, r *rand.Rand) {
				switch r.IntN(8) {
				case 0:
					w.broken = !w.broken
				case 1:
					w.unfit = !w.unfit
				case 2, 3:
					if w.wit.up = !w.wit.up; w.wit.up {
						w.wit.reg = arbiter.Boot(w.wit.reg.Record, w.now, term)
						return
					}
					w.pass(time.Duration(4+r.IntN(6)) * time.Second)
				default:
					trouble(w, r)
				}
			})
		})
	}
}

// TestARestartedAgentDoesNotFence: its replica reigns, and the peer has not been heard yet.
func TestARestartedAgentDoesNotFence(t *testing.T) {
	w := newWorldOf(t, byWitness, true)
	first := w.healthy(10 * time.Second)
	if !slices.Contains(first.steps, StepFence) {
		w.fail("no reign begins without that step: %v", first.steps)
	}
	first.steps = nil
	w.restartAgent(first.id)
	w.pass(3 * time.Second)
	if w.healthy(time.Second) != first || slices.Contains(first.steps, StepFence) {
		w.fail("steps of a reign that went on: %v", first.steps)
	}
	other := w.nodes[1-first.id]
	other.steps = nil
	w.powerOff(first.id)
	w.pass(10 * time.Second)
	if w.serving() != other || !slices.Contains(other.steps, StepFence) {
		w.fail("steps of a new reign: %v", other.steps)
	}
}
