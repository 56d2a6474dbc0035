package failover

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// breakServices keeps the services of a node from starting, and ends them where
// they run.
func (w *world) breakServices(b *box) {
	b.failing[StepServices] = "no such program"
	w.feed(b.id, ServiceFailed{Name: "nfs", Reason: "it ended 4 times"})
}

// count returns how often a node ran a step.
func (b *box) count(s Step) int {
	n := 0
	for _, x := range b.steps {
		if x == s {
			n++
		}
	}
	return n
}

func (w *world) noted(kind string) bool {
	return slices.ContainsFunc(w.notes, func(n string) bool { return strings.Contains(n, " "+kind+":") })
}

func TestServiceThatFailsMovesTheVolume(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.breakServices(first)
	w.pass(5 * time.Second)
	if b := w.serving(); b == nil || b == first {
		w.fail("the volume did not move to the node on which its services run")
	}
	w.pass(2 * time.Minute)
	if b := w.serving(); b == nil || b == first || b.m.View().Impaired != "" {
		w.fail("the volume did not stay there")
	}
	if first.count(StepDemote) != 1 {
		w.fail("the node left %d times", first.count(StepDemote))
	}
}

func TestServicesThatFailOnBothStayMounted(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	second := w.nodes[1-first.id]
	second.failing[StepServices] = "no such program"
	w.breakServices(first)
	w.pass(10 * time.Second)
	if w.serving() != second || second.m.View().Impaired == "" || second.m.View().Phase != phaseWithout || !second.mounted {
		w.fail("the second node does not keep the volume mounted: %+v", second.m.View())
	}
	if !w.noted("services.stay") {
		w.fail("nothing says that it stays")
	}
	first.steps, second.steps = nil, nil
	w.pass(3 * time.Hour) // longer than the first one counts as failed
	if w.serving() != second || first.count(StepPromote) != 0 || second.count(StepUnmount) != 0 {
		w.fail("the volume was tossed about")
	}
	if tries := second.count(StepServices); tries < 10 || tries > 100 {
		w.fail("%d tries to start the services in three hours", tries)
	}
	delete(second.failing, StepServices)
	w.pass(5 * time.Minute)
	if w.serving() != second || second.m.View().Impaired != "" || !w.noted("services.back") {
		w.fail("the services could start, and the node still serves without them: %+v", second.m.View())
	}
}

func TestServicesThatEndLateOnBothDoNotTossTheVolume(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	for range 20 { // each time they start, run a while, and end for good
		b := w.serving()
		if b == nil {
			w.fail("nobody serves")
		}
		w.feed(b.id, ServiceFailed{Name: "nfs", Reason: "it ended 4 times"})
		w.pass(40 * time.Second)
	}
	if moved := w.nodes[0].count(StepDemote) + w.nodes[1].count(StepDemote); moved != 1 || w.serving() == first {
		w.fail("the volume moved %d times", moved)
	}
}

func TestServiceThatFailsAloneWaitsForThePeer(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.powerOff(1 - first.id)
	w.pass(5 * time.Second)
	w.breakServices(first)
	w.pass(time.Minute)
	if w.serving() != first || !first.mounted || first.count(StepStopServices) != 0 {
		w.fail("a node that cannot give the volume away stopped what runs of it")
	}
	w.powerOn(1 - first.id)
	w.pass(20 * time.Second)
	if b := w.serving(); b == nil || b == first || b.m.View().Impaired != "" {
		w.fail("the volume did not move to the peer that came back")
	}
}

// TestFailedServicesDoNotHinderFailOver: a service that failed once is better
// than a box that is dead.
func TestFailedServicesDoNotHinderFailOver(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.breakServices(first)
	delete(first.failing, StepServices)
	w.pass(30 * time.Second)
	second := w.serving()
	if second == nil || second == first {
		w.fail("the volume did not move")
	}
	w.powerOff(second.id)
	w.pass(10 * time.Second)
	if w.serving() != first || first.m.View().Impaired != "" {
		w.fail("nobody took over from a dead node")
	}
}

func TestSwitchoverToFailingServicesIsAnswered(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.nodes[1-first.id].failing[StepServices] = "no such program"
	id := w.order(first.id, OrderSwitchover)
	w.pass(15 * time.Second)
	if answer, ok := first.answers[id]; !ok || answer == "" {
		w.fail("the operator was answered %v %q", ok, answer)
	}
	if w.serving() != first || first.m.View().Impaired != "" {
		w.fail("the volume did not come back to the node on which its services run")
	}
}

// TestAgentRestartsWithoutServices: the next agent finds the same and stays.
func TestAgentRestartsWithoutServices(t *testing.T) {
	w := newWorld(t)
	first := w.healthy(10 * time.Second)
	w.powerOff(1 - first.id)
	w.pass(5 * time.Second)
	w.breakServices(first)
	w.pass(5 * time.Second)
	w.restartAgent(first.id)
	w.pass(5 * time.Second)
	if w.serving() != first || first.m.View().Impaired == "" {
		w.fail("%+v", first.m.View())
	}
}

func TestRandomWalkWithFailingServices(t *testing.T) {
	for seed := range walks() {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			walk(t, uint64(seed), func(w *world, r *rand.Rand) {
				b := w.nodes[r.IntN(2)]
				switch r.IntN(6) {
				case 0:
					w.breakServices(b)
				case 1:
					delete(b.failing, StepServices)
				default:
					trouble(w, r)
				}
			})
		})
	}
}
