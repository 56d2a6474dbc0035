package failover

import (
	"strings"
	"testing"
	"time"

	"gemel/node/arbiter"
)

// outdated is a world of which the Primary died after a person marked the other
// replica Outdated.
func outdated(t *testing.T) (w *world, left *box) {
	w = newWorld(t)
	for i := range w.nodes {
		w.restartAgent(arbiter.NodeID(i))
	}
	dead := w.healthy(10 * time.Second)
	left = w.nodes[1-dead.id]
	left.replica.Outdated = true
	w.powerOff(dead.id)
	w.pass(15 * time.Second)
	return w, left
}

func TestAnOutdatedReplicaDoesNotTakeOver(t *testing.T) {
	w, left := outdated(t)
	if w.serving() != nil {
		w.fail("a replica that was marked Outdated took over by itself")
	}
	for _, want := range []string{"Outdated", "--undo", "gemel grab"} {
		if why := left.m.View().Refusal; !strings.Contains(why, want) {
			t.Errorf("refusal %q does not name %s", why, want)
		}
	}
	w.order(left.id, OrderGrab)
	w.pass(10 * time.Second)
	if w.serving() != left {
		w.fail("the operator's word did not help: %s", left.m.View().Refusal)
	}
}
