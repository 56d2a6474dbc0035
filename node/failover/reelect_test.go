package failover

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"gemel/node/arbiter"
)

// aloneBesideNewerPromise brings node `first` to serve alone, and the other
// back with a promise that outranks the reign.
func aloneBesideNewerPromise(t *testing.T) (w *world, first *box) {
	w = newWorld(t)
	first = w.healthy(10 * time.Second)
	other := w.nodes[1-first.id]
	w.powerOff(other.id)
	w.pass(5 * time.Second)
	other.reg.Raise(first.replica.Epoch.NextFor(other.id) + 1000) // its own campaign by hand came to nothing
	w.powerOn(other.id)
	return w, first
}

// healthyWithoutPause is healthy, and fails when first stops serving meanwhile.
func (w *world) healthyWithoutPause(first *box, within time.Duration) {
	w.t.Helper()
	for end := w.now + within; w.now < end; w.pass(tick) {
		if !first.vip || !first.mounted || !first.replica.Primary {
			w.fail("the service was interrupted")
		}
		if w.serving() == first && first.m.View().Chosen.Set == arbiter.Both {
			return
		}
	}
	w.healthy(tick)
}

func TestPeerOfANewerPromiseIsTakenBackWithoutAPause(t *testing.T) {
	w, first := aloneBesideNewerPromise(t)
	epoch := first.m.View().Epoch
	w.healthyWithoutPause(first, 15*time.Second)
	if v := first.m.View(); v.Epoch <= epoch || first.replica.Epoch != v.Epoch {
		w.fail("reigns in epoch %d, its replica in %d, want one above %d", v.Epoch, first.replica.Epoch, epoch)
	}
	w.pass(10 * time.Second) // and it lasts
	w.healthyWithoutPause(first, tick)
}

func TestReelectionOutlivesTheAgent(t *testing.T) {
	for after := range 12 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			w, first := aloneBesideNewerPromise(t)
			for first.m.View().Phase != phaseReelecting {
				if w.pass(tick); w.now > 2*time.Hour {
					w.fail("never asks for a newer reign")
				}
			}
			w.pass(time.Duration(after) * tick)
			w.restartAgent(first.id)
			w.healthyWithoutPause(first, 20*time.Second)
		})
	}
}

func TestReelectionWaitsForTheWitness(t *testing.T) {
	w, first := aloneBesideNewerPromise(t)
	w.wit.up = false
	w.split(0, 1, true)
	w.pass(3 * time.Second)
	w.cut = map[[2]arbiter.NodeID]bool{}
	w.pass(10 * time.Second)
	if !first.vip || !first.replica.Primary {
		w.fail("stopped serving although nobody else can reign")
	}
	w.wit.up = true
	w.healthyWithoutPause(first, 20*time.Second)
}

// TestRandomWalkOutbid is the walk with one more trouble: a campaign by hand
// that comes to nothing leaves a promise that outranks every reign.
func TestRandomWalkOutbid(t *testing.T) {
	for seed := range uint64(walks()) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			walk(t, seed, func(w *world, r *rand.Rand) {
				if b := w.nodes[r.IntN(2)]; r.IntN(4) == 0 && !b.replica.Primary {
					b.reg.Raise((max(b.reg.Record.Promised, w.wit.reg.Record.Promised) + 1000).NextFor(b.id))
					return
				}
				trouble(w, r)
			})
		})
	}
}
