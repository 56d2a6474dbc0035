package failover

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gemel/node/arbiter"
)

// TestBootNeverWaitsWithoutAWord: whatever is left of a pair when it boots, within
// seconds somebody serves, or every box says why not and what to do.
func TestBootNeverWaitsWithoutAWord(t *testing.T) {
	for _, left := range []string{"in sync", "stale", "incomplete", "new", "outdated by hand"} {
		for _, witness := range []bool{true, false} {
			for _, both := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s witness %v both %v", left, witness, both), func(t *testing.T) {
					w, boots := leftBehind(t, left)
					w.wit.up = witness
					if witness {
						w.wit.reg = arbiter.Boot(w.wit.reg.Record, w.now, term)
					}
					w.powerOn(boots.id)
					if both {
						w.powerOn(1 - boots.id)
					}
					w.pass(15 * time.Second)
					bootsOrSays(t, w)
				})
			}
		}
	}
}

// leftBehind is a pair without power; the returned box is the one with something amiss.
func leftBehind(t *testing.T, left string) (*world, *box) {
	w := newWorld(t)
	if left == "new" {
		w.powerOff(0)
		w.powerOff(1)
		return w, w.nodes[0]
	}
	first := w.healthy(30 * time.Second)
	other := w.nodes[1-first.id]
	if left == "stale" {
		w.powerOff(other.id)
		w.pass(5 * time.Second) // the other one goes on alone
	}
	w.powerOff(first.id)
	w.powerOff(other.id)
	switch left {
	case "incomplete":
		other.replica.DiskWhole = false
	case "outdated by hand":
		other.replica.Outdated = true
	}
	return w, other
}

func bootsOrSays(t *testing.T, w *world) {
	t.Helper()
	if w.serving() != nil {
		return
	}
	for _, b := range w.nodes {
		if !b.up {
			continue
		}
		why := b.m.View().Refusal
		if !strings.Contains(why, "gemel ") && !strings.Contains(why, "bring ") && !strings.Contains(why, "start ") {
			w.fail("%s waits and says %q", w.config(b.id).SelfName, why)
		}
	}
}

// TestPowerCutOfTheRoom: both boxes boot at once, with and without the witness.
func TestPowerCutOfTheRoom(t *testing.T) {
	for _, witness := range []bool{true, false} {
		w, _ := leftBehind(t, "in sync")
		w.wit.up = witness
		w.powerOn(0)
		w.powerOn(1)
		w.healthy(15 * time.Second)
	}
}

func TestPreferredNodeGoesFirst(t *testing.T) {
	for _, want := range []arbiter.NodeID{0, 1} {
		w := newWorld(t)
		w.prefer = &want
		w.restartAgent(0)
		w.restartAgent(1)
		w.healthy(30 * time.Second)
		w.powerOff(0)
		w.powerOff(1)
		w.powerOn(0)
		w.powerOn(1)
		if b := w.healthy(30 * time.Second); b.id != want {
			t.Errorf("node %d serves, node %d is preferred", b.id, want)
		}
	}
}

func TestFailBack(t *testing.T) {
	for _, auto := range []bool{false, true} {
		w := newWorld(t)
		want := arbiter.NodeID(1)
		w.prefer, w.failback = &want, auto
		w.restartAgent(0)
		w.restartAgent(1)
		if b := w.healthy(30 * time.Second); b.id != want {
			w.order(b.id, OrderSwitchover)
			w.pass(5 * time.Second)
			w.healthy(30 * time.Second)
		}
		w.powerOff(want)
		w.pass(10 * time.Second)
		w.powerOn(want)
		w.healthy(30 * time.Second)
		w.pass(returnAfter / 2)
		if b := w.serving(); b == nil || b.id == want {
			t.Fatal("it returned at once, or nobody serves")
		}
		w.pass(returnAfter)
		if b := w.serving(); b == nil || (b.id == want) != auto {
			t.Errorf("failback auto %v: served by %+v", auto, b)
		}
		if !auto {
			continue
		}
		// It comes back from there, and stays until an operator wants otherwise.
		w.feed(want, ServiceFailed{Name: "nfs", Reason: "it ended"})
		w.pass(3 * returnAfter)
		if b := w.serving(); b == nil || b.id == want {
			t.Error("the volume is tossed to and fro")
		}
		w.order(1-want, OrderSwitchover)
		w.pass(10 * time.Second)
		if b := w.serving(); b == nil || b.id != want {
			t.Error("an operator's switchover was not carried out")
		}
	}
}
