package failover

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"gemel/node/arbiter"
)

// surviving is a healthy pair whose devices outlive their replicators.
func surviving(t *testing.T) (*world, *box) {
	w := newWorld(t)
	for _, b := range w.nodes {
		b.replica.Survives = true
	}
	return w, w.healthy(10 * time.Second)
}

func TestReplicatorComesBackUnderItsDevice(t *testing.T) {
	for _, away := range []time.Duration{tick, 100 * time.Millisecond, 3 * time.Second} {
		w, first := surviving(t)
		epoch := first.m.View().Epoch
		first.steps = nil
		w.killReplicator(first)
		w.pass(away)
		w.startReplicator(first)
		w.pass(time.Second)
		w.healthy(10 * time.Second)
		if w.serving() != first || !first.replica.Primary || len(first.steps) == 0 || first.m.View().Epoch != epoch || !first.vip {
			w.fail("away %v: the restart of the replicator ended the reign", away)
		}
		for _, s := range first.steps {
			if s != StepPromote {
				w.fail("away %v: it ran: %v", away, s)
			}
		}
	}
}

func TestReplicatorComesBackWithoutPeer(t *testing.T) {
	w, first := surviving(t)
	w.powerOff(1 - first.id)
	w.pass(5 * time.Second)
	w.killReplicator(first)
	w.pass(2 * time.Second)
	w.startReplicator(first)
	w.pass(2 * time.Second)
	if w.serving() != first || !first.replica.Primary || first.m.View().Chosen.Set != arbiter.Only(first.id) {
		w.fail("the last node does not serve: %+v", first.m.View())
	}
}

func TestReplicatorThatStaysAwayIsNotAwaitedForEver(t *testing.T) {
	w, first := surviving(t)
	w.killReplicator(first)
	w.pass(replicatorWait + 5*time.Second)
	if b := w.serving(); b == nil || b == first {
		w.fail("no fail-over")
	}
	w.startReplicator(first)
	w.healthy(30 * time.Second)
}

// TestReplicatorThatDiesAgain is not awaited a second time.
func TestReplicatorThatDiesAgain(t *testing.T) {
	w, first := surviving(t)
	w.killReplicator(first)
	w.pass(time.Second)
	w.startReplicator(first)
	w.pass(time.Second)
	w.healthy(10 * time.Second)
	w.killReplicator(first)
	w.pass(3 * time.Second)
	if b := w.serving(); b == nil || b == first {
		w.fail("no fail-over")
	}
	w.startReplicator(first)
	w.healthy(30 * time.Second)
}

func TestReplicatorThatHangsIsNotAwaited(t *testing.T) {
	w, first := surviving(t)
	w.feed(first.id, ReplicaDown{Reason: "no answer"})
	if role := first.m.View().Role; role != RoleLettingGo {
		w.fail("role %v", role)
	}
}

func TestRandomWalkWithReplicatorDeaths(t *testing.T) {
	for seed := range walks() {
		t.Run(strconv.Itoa(seed), func(t *testing.T) { walk(t, uint64(seed), deadly) })
	}
}

func deadly(w *world, r *rand.Rand) {
	for _, b := range w.nodes {
		b.replica.Survives = true
		switch {
		case !b.up:
		case b.dead:
			if r.IntN(3) != 0 {
				w.startReplicator(b)
			}
		case r.IntN(3) == 0:
			w.killReplicator(b)
			w.pass(time.Duration(r.IntN(1500)) * time.Millisecond / tick * tick)
			if r.IntN(2) == 0 {
				w.startReplicator(b)
			}
		}
	}
	if r.IntN(2) == 0 {
		trouble(w, r)
	}
}
