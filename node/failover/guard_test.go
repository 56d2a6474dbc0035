package failover

import (
	"testing"
	"time"

	"gemel/node/arbiter"
)

// TestTheGuardFollowsTheLease: a watchdog is pinged for a set that holds the peer, as long as the lease lasts.
func TestTheGuardFollowsTheLease(t *testing.T) {
	w := newWorld(t)
	guard := func(id arbiter.NodeID) Guard { return w.nodes[id].m.View().Guard }
	if g := New(w.config(0)).View().Guard; g != GuardUnknown {
		t.Errorf("a machine that has heard of nothing: %v", g)
	}
	first := w.healthy(10 * time.Second)
	if guard(first.id) != GuardHeld || guard(1-first.id) != GuardNone {
		t.Errorf("a pair: %v, %v", guard(first.id), guard(1-first.id))
	}
	w.powerOff(1 - first.id)
	w.pass(5 * time.Second)
	if guard(first.id) != GuardNone {
		t.Errorf("alone in the set: %v", guard(first.id))
	}
	w.powerOn(1 - first.id)
	w.healthy(20 * time.Second)
	w.restartAgent(first.id)
	w.pass(200 * time.Millisecond)
	if guard(first.id) != GuardHeld {
		t.Errorf("a resumed reign: %v", guard(first.id))
	}
}

// TestTheGuardIsOverWhenTheVolumeIsNotLetGo: services that cannot be killed outlive the lease.
func TestTheGuardIsOverWhenTheVolumeIsNotLetGo(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	first.failing[StepLetGoServices] = "a process hangs in the kernel"
	w.split(first.id, 1-first.id, true)
	w.split(first.id, arbiter.Witness, true)
	w.pass(12 * time.Second)
	if g := first.m.View().Guard; g != GuardOver || first.m.View().Role != RoleLettingGo {
		t.Errorf("guard %v in role %v", g, first.m.View().Role)
	}
	delete(first.failing, StepLetGoServices)
	w.pass(5 * time.Second)
	if g := first.m.View().Guard; g != GuardNone {
		t.Errorf("guard %v after it was let go", g)
	}
}

// TestAProofIsWaitedForWithAPing: without a third voter the Primary holds on while the peer's power is cut.
func TestAProofIsWaitedForWithAPing(t *testing.T) {
	w := newWorldOf(t, byNobody, true)
	first := w.healthy(20 * time.Second)
	w.broken = true
	w.powerOff(1 - first.id)
	over := false
	for range 3000 {
		w.pass(tick)
		if v := first.m.View(); isReign(v.Role) && v.Guard == GuardOver {
			t.Fatal("a Primary that waits for a proof is reset")
		} else if v.Role == RoleSecondary || v.Guard == GuardNone {
			over = true
		}
	}
	if !over {
		t.Errorf("it never came to an end: %+v", first.m.View())
	}
}
