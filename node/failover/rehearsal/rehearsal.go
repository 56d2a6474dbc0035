// Package rehearsal plays what a pair would do if something failed now: the real
// machines of node/failover, set up as they stand, on a simulated clock with
// simulated voters, links and replicas. It decides nothing itself, it is pure, and
// nothing outside of it changes. How long the steps of a course take it is told.
package rehearsal

import (
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover"
)

const (
	tick    = 10 * time.Millisecond // a message takes as long
	noReply = 300 * time.Millisecond
	warmUp  = 3 * time.Second // from the present state to one in which all have met
	// Horizon is how long the pair is watched after the fault.
	Horizon = time.Minute
	// Never is a time that does not come within the horizon.
	Never = 24 * time.Hour
)

// Node is one data node as it stands.
type Node struct {
	Standing    failover.Standing      `json:"standing"`
	Replica     failover.ReplicaReport `json:"replica"`
	ReplicaDown string                 `json:"replica_down,omitempty"` // why the replicator does not answer; empty: it does
	AddressNIC  bool                   `json:"address_nic"`
	NoWitness   bool                   `json:"no_witness,omitempty"` // the third voter does not answer to this node
	// Fails are steps known to fail, with the reason; Took is how long steps took when
	// they ran last. A step that is in neither takes no time.
	Fails map[failover.Step]string        `json:"fails,omitempty"`
	Took  map[failover.Step]time.Duration `json:"took,omitempty"`
}

// Stage is a volume's pair as it stands.
type Stage struct {
	Config [2]failover.Config
	Nodes  [2]*Node // nil: it is silent
	// Witness is the third voter's register; nil: there is none, or it does not answer.
	Witness *arbiter.Record
	// Silent are links on which no heartbeats arrive; Replication are the links that
	// may carry block data.
	Silent      map[string]bool
	Replication []string
	// Apart: the replicas would not connect although they could: split brain.
	Apart bool
	// Resync is how long the peer needs to be in sync where it is not; see Never.
	Resync time.Duration
}

// Kind is what fails.
type Kind int

// Faults.
const (
	Kill        Kind = iota + 1 // Node loses its power
	StopService                 // Service of the Primary ends too often
	CutLink                     // Link is cut
	CutAll                      // Node loses all its cables
	LoseWitness                 // the third voter is gone
)

// Fault is one thing that fails.
type Fault struct {
	Kind    Kind
	Node    arbiter.NodeID
	Service string
	Link    string
}

// Line is one thing that would happen, at a time after the fault.
type Line struct {
	At                       time.Duration
	Node                     string
	Kind, Text, Reason       string
	Step                     failover.Step // of Kind "step"; else zero
	NamesTime                bool          // the step's time is known
	StepTook, StepAtMostTime time.Duration
}

// Nobody is the Primary of a volume without one.
const Nobody = -1

// Outcome is what a fault would lead to.
type Outcome struct {
	Before, After int // number of the node that serves, or Nobody
	Lines         []Line
	// Refusals say why a node is not Primary at the end; empty: nothing stands in the
	// way, or it is.
	Refusals [2]string
	// Pause is how long nobody served that clients could reach, within the horizon.
	Pause  time.Duration
	InSync arbiter.Set // at the end, as the serving node knows it
	// CutOff: the node that serves in the end is reached by no client.
	CutOff bool
}

// Play returns what would follow on the fault. Errors: the pair is in the middle of
// something, so that what it will do cannot be told yet.
func Play(s Stage, f Fault) (Outcome, error) {
	w := newWorld(s)
	w.pass(warmUp)
	if err := w.settled(); err != nil {
		return Outcome{}, err
	}
	out := Outcome{Before: w.serving()}
	w.begin = w.now
	w.fail(f)
	for w.now < w.begin+Horizon {
		w.pass(tick)
		if !w.reachable(w.serving()) {
			out.Pause += tick
		}
	}
	out.After, out.Lines = w.serving(), w.lines
	out.CutOff = out.After != Nobody && !w.reachable(out.After)
	for i, b := range w.nodes {
		if b != nil && b.up && out.After != i {
			out.Refusals[i] = b.m.View().Refusal
		}
	}
	if out.After != Nobody {
		out.InSync = w.nodes[out.After].m.View().Chosen.Set
	}
	return out, nil
}

// settled refuses a pair in the middle of a course.
func (w *world) settled() error {
	for i, b := range w.nodes {
		if b == nil || !b.up {
			continue
		}
		switch s := w.stage.Nodes[i].Standing; s.Role {
		case failover.RoleTakingOver, failover.RoleLeaving, failover.RoleLettingGo, failover.RoleCampaigning:
			return fmt.Errorf("%s is in the middle of something (%s); ask again when that is over", w.name(i), s.Phase)
		}
	}
	return nil
}
