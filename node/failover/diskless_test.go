package failover

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gemel/node/arbiter"
)

// failDisk breaks the disk of a Primary whose replica can go on through the peer.
func (w *world) failDisk(b *box) {
	b.steps = nil
	b.replica.Usable, b.replica.Problem, b.replica.MayYield = false, "the backing device failed", true
}

// stays makes both nodes keep a volume whose disk failed.
func (w *world) stays() {
	w.stay = true
	w.restartAgent(0)
	w.restartAgent(1)
}

// ends waits until b's peer serves.
func (w *world) ends(b *box) {
	w.t.Helper()
	for end := w.now + 30*time.Second; w.now < end; w.pass(tick) {
		if s := w.serving(); s != nil && s.id != b.id {
			return
		}
	}
	w.fail("the peer does not serve: %+v, %+v", b.m.View(), w.nodes[1-b.id].m.View())
}

func TestAFailedDiskIsServedThroughThePeerAndHandedOver(t *testing.T) {
	w := newWorld(t)
	b := w.healthy(20 * time.Second)
	w.failDisk(b)
	w.ends(b)
	if slices.Contains(b.steps, StepLetGoIO) || !slices.Contains(b.steps, StepUnmount) {
		t.Errorf("it was not handed over cleanly: %v", b.steps)
	}
	if !strings.Contains(strings.Join(w.notes, " "), "goes on through the disk of") {
		t.Error("history does not tell of it")
	}
}

func TestAFailedDiskMayStay(t *testing.T) {
	w := newWorld(t)
	w.stays()
	b := w.healthy(20 * time.Second)
	w.failDisk(b)
	w.pass(2 * time.Minute)
	if s := w.serving(); s != b || b.m.View().Chosen.Set != arbiter.Only(1-b.id) || !strings.Contains(b.m.View().Phase, "through the disk") {
		t.Fatalf("it does not serve through its peer: %+v", b.m.View())
	}
	w.restartAgent(b.id)
	w.pass(10 * time.Second)
	if s := w.serving(); s != b {
		t.Fatalf("it did not outlive its agent: %+v", b.m.View())
	}
	w.order(b.id, OrderSwitchover)
	w.ends(b)
}

func TestWithoutAPeerAFailedDiskServesNothing(t *testing.T) {
	w := newWorld(t)
	w.stays()
	b := w.healthy(20 * time.Second)
	w.failDisk(b)
	w.pass(5 * time.Second)
	w.powerOff(1 - b.id)
	w.pass(20 * time.Second)
	if b.vip || b.replica.Primary {
		t.Fatalf("it goes on without any disk: %+v", b.m.View())
	}
	b.replica.Usable, b.replica.Problem = true, "" // it comes back with what it held
	w.pass(30 * time.Second)
	if b.replica.Primary {
		t.Fatal("a node that had left the set was elected")
	}
	w.powerOn(1 - b.id)
	w.ends(b)
}

func TestAFailedDiskThatCannotYieldLetsGo(t *testing.T) {
	w := newWorld(t)
	b := w.healthy(20 * time.Second)
	w.wit.up = false
	w.failDisk(b)
	w.ends(b)
	if !slices.Contains(b.steps, StepLetGoIO) {
		t.Errorf("the set was never recorded, and yet: %v", b.steps)
	}
}

func TestAPeerThatIsNotFitIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	b := w.healthy(20 * time.Second)
	b.failing[StepUnmount] = "the file system is in use"
	w.failDisk(b)
	w.pass(30 * time.Second)
	if s := w.serving(); s != b {
		t.Fatalf("it does not serve on: %+v", b.m.View())
	}
	delete(b.failing, StepUnmount)
	w.pass(time.Minute)
	w.ends(b)
}
