package failover

import (
	"math/rand/v2"
	"testing"
	"time"

	"gemel/node/arbiter"
)

// What tests from outside may do with a world: rehearsals are compared with it.

// World is a pair of machines on a toy clock.
type World = world

// StepLength is how long every step of a course takes there.
const StepLength = stepLen

// RandomWorld returns a pair after some random trouble that has come to rest, and
// the source of further chance.
func RandomWorld(t *testing.T, seed uint64) (*World, *rand.Rand) {
	r := rand.New(rand.NewPCG(seed, 11))
	w := newWorld(t)
	w.protocol, w.allowA = []string{"", "", "A", "B"}[seed%4], seed%8 < 4
	w.restartAgent(0)
	w.restartAgent(1)
	w.healthy(30 * time.Second)
	for range r.IntN(6) {
		trouble(w, r)
		w.pass(time.Duration(r.IntN(6000)) * time.Millisecond / tick * tick)
	}
	w.split(0, 1, w.cut[[2]arbiter.NodeID{0, 1}]) // what is cut is cut both ways
	w.pass(15 * time.Second)
	return w, r
}

// Config returns a node's.
func (w *World) Config(id arbiter.NodeID) Config { return w.config(id) }

// Box returns what is known of a node; up: it has power.
func (w *World) Box(id arbiter.NodeID) (standing Standing, replica ReplicaReport, nic, up bool) {
	b := w.nodes[id]
	return b.m.Standing(), b.replica, b.nic, b.up
}

// Third returns the witness' record; nil: it is down.
func (w *World) Third() *arbiter.Record {
	if !w.wit.up {
		return nil
	}
	record := w.wit.reg.Record
	return &record
}

// IsCut reports whether two boxes cannot reach each other.
func (w *World) IsCut(a, b arbiter.NodeID) bool { return w.cut[[2]arbiter.NodeID{a, b}] }

// Serves returns the number of the node that serves, or -1, and every node's refusal.
func (w *World) Serves() (id int, refusals [2]string) {
	id = -1
	for i, b := range w.nodes {
		if b.up {
			refusals[i] = b.m.View().Refusal
		}
		if b == w.serving() {
			id = i
			refusals[i] = ""
		}
	}
	return id, refusals
}

// Kill, StopService, CutAll and LoseWitness make something fail; Pass lets time go by.
func (w *World) Kill(id arbiter.NodeID) { w.powerOff(id) }

// StopService fails a service of the serving node for good.
func (w *World) StopService(name string) {
	if b := w.serving(); b != nil {
		w.feed(b.id, ServiceFailed{Name: name, Reason: "it ended"})
	}
}

// CutAll pulls every cable of a node.
func (w *World) CutAll(id arbiter.NodeID) {
	w.split(0, 1, true)
	w.split(id, arbiter.Witness, true)
	w.nodes[id].nic = false
}

// LoseWitness takes the third voter away.
func (w *World) LoseWitness() { w.wit.up = false }

// Pass lets time go by.
func (w *World) Pass(d time.Duration) { w.pass(d) }
