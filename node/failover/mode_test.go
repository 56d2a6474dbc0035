package failover

import (
	"strings"
	"testing"
	"time"
)

func TestMaintenanceOnlyWatches(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(30 * time.Second)
	second := w.nodes[1-first.id]
	w.setMode(0, Mode{Maintenance: true})
	w.setMode(1, Mode{Maintenance: true})

	first.nic = false // would hand over
	w.feed(first.id, ServiceFailed{Name: "nfs", Reason: "it ended"})
	w.pass(5 * time.Second)
	if w.serving() != first {
		t.Fatal("the volume moved during maintenance")
	}
	first.nic = true

	// An operator's switchover is carried out.
	n := w.order(first.id, OrderSwitchover)
	w.pass(5 * time.Second)
	if w.serving() != second || first.answers[n] != "" {
		t.Fatalf("the switchover did not happen: %q", first.answers[n])
	}
	w.healthy(20 * time.Second)

	w.powerOff(second.id)
	w.pass(20 * time.Second)
	if w.serving() != nil {
		t.Fatal("taken over during maintenance")
	}
	if r := first.m.View().Refusal; !strings.Contains(r, "gemel maintenance off") {
		t.Errorf("refusal: %q", r)
	}
	w.setMode(first.id, Mode{})
	w.pass(5 * time.Second)
	if w.serving() != first {
		t.Errorf("not taken over after the maintenance: %q", first.m.View().Refusal)
	}
}

func TestAServiceThatFailedInMaintenanceIsHandedOverAfterwards(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(30 * time.Second)
	w.setMode(first.id, Mode{Maintenance: true})
	w.feed(first.id, ServiceFailed{Name: "nfs", Reason: "it ended"})
	w.pass(time.Second)
	w.setMode(first.id, Mode{})
	w.pass(5 * time.Second)
	if w.serving() != w.nodes[1-first.id] {
		t.Error("the failed service stayed")
	}
}

func TestStandbyTakesNothing(t *testing.T) {
	for _, id := range []int{0, 1} {
		w := newWorld(t)
		first := w.healthy(30 * time.Second)
		idle, busy := w.nodes[id], w.nodes[1-id]
		if first == idle {
			w.order(idle.id, OrderSwitchover)
			w.pass(5 * time.Second)
			w.healthy(20 * time.Second)
		}
		w.setMode(idle.id, Mode{Standby: true})
		w.pass(time.Second)
		n := w.order(busy.id, OrderSwitchover)
		ask := w.order(busy.id, OrderMayGive)
		w.pass(time.Second)
		if w.serving() != busy || !strings.Contains(busy.answers[n], "on standby") || busy.answers[ask] != busy.answers[n] {
			t.Errorf("switchover to a node on standby: %q, %q", busy.answers[n], busy.answers[ask])
		}
		// The Primary comes back from a crash and is not held up by the other's number.
		w.powerOff(busy.id)
		w.pass(20 * time.Second)
		if r := idle.m.View().Refusal; w.serving() != nil || !strings.Contains(r, "--undo") {
			t.Errorf("node %d took over on standby (%q)", id, r)
		}
		w.restartAgent(idle.id)
		w.pass(20 * time.Second)
		if w.serving() != nil {
			t.Error("a restarted agent forgot the standby")
		}
		w.powerOn(busy.id)
		w.pass(15 * time.Second)
		if w.serving() != busy {
			t.Errorf("node %d: the other one does not serve again: %q", id, busy.m.View().Refusal)
		}
		w.setMode(idle.id, Mode{})
		w.healthy(20 * time.Second)
		w.powerOff(busy.id)
		w.pass(20 * time.Second)
		if w.serving() != idle {
			t.Errorf("node %d does not take over after the standby: %q", id, idle.m.View().Refusal)
		}
	}
}
