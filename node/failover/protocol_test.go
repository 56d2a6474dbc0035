package failover

import (
	"strings"
	"testing"
	"time"

	"gemel/node/arbiter"
)

// underProtocol is a world of which the Primary died.
func underProtocol(t *testing.T, protocol string, allowA bool) (w *world, dead, left *box) {
	w = newWorld(t)
	w.protocol, w.allowA = protocol, allowA
	for i := range w.nodes {
		w.restartAgent(arbiter.NodeID(i))
	}
	dead = w.healthy(10 * time.Second)
	left = w.nodes[1-dead.id]
	w.powerOff(dead.id)
	w.pass(15 * time.Second)
	return w, dead, left
}

func TestTakeoverUnderAIsRefused(t *testing.T) {
	w, dead, left := underProtocol(t, "A", false)
	if w.serving() != nil {
		w.fail("a node that may lack completed writes took over by itself")
	}
	why := left.m.View().Refusal
	if !strings.Contains(why, "protocol A") || !strings.Contains(why, "gemel grab") || !strings.Contains(why, "takeover-under-a") {
		t.Errorf("refusal %q names neither reason nor next step", why)
	}
	w.powerOn(dead.id)
	if b := w.healthy(40 * time.Second); b.id != dead.id {
		t.Error("the node that lacked writes went first although the other was back")
	}
}

func TestTakeoverUnderAByAnOperator(t *testing.T) {
	w, _, left := underProtocol(t, "A", false)
	w.order(left.id, OrderGrab)
	w.pass(10 * time.Second)
	if w.serving() != left {
		w.fail("the operator's word did not help: %s", left.m.View().Refusal)
	}
}

func TestTakeoverUnderAWhereAllowed(t *testing.T) {
	w, _, left := underProtocol(t, "A", true)
	if w.serving() != left {
		w.fail("no take-over although it is allowed: %s", left.m.View().Refusal)
	}
}

func TestTakeoverUnderB(t *testing.T) {
	w, _, left := underProtocol(t, "B", false)
	if w.serving() != left {
		w.fail("no take-over under protocol B: %s", left.m.View().Refusal)
	}
}

// TestTheOneThatHoldsEverythingGoesFirst: after a power cut of both, the node
// that may lack writes waits for the one that does not.
func TestTheOneThatHoldsEverythingGoesFirst(t *testing.T) {
	for _, protocol := range []string{"A", "B"} {
		w := newWorld(t)
		w.protocol = protocol
		first := w.healthy(10 * time.Second)
		other := w.nodes[1-first.id]
		w.powerOff(0)
		w.powerOff(1)
		w.pass(time.Second)
		w.powerOn(other.id)
		w.pass(time.Second)
		w.powerOn(first.id)
		if b := w.healthy(40 * time.Second); b.id != first.id {
			t.Errorf("protocol %s: node %d went first, which may lack writes", protocol, b.id)
		}
	}
}

// TestSwitchoverUnderA: a planned change leaves nothing behind.
func TestSwitchoverUnderA(t *testing.T) {
	w := newWorld(t)
	w.protocol = "A"
	first := w.healthy(10 * time.Second)
	id := w.order(first.id, OrderSwitchover)
	if b := w.healthy(20 * time.Second); b.id == first.id || first.answers[id] != "" {
		w.fail("no switchover: %q", first.answers[id])
	}
}
