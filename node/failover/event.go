// Package failover decides: who is suspected, who campaigns, when to shrink and
// grow the in-sync set, which course of action runs, and when to let go. It is
// a plain state machine, one Machine per volume: an Event goes in with the time
// it happened, Actions come out. It does no I/O and reads no clock; the agent
// carries its actions out and feeds back what came of them.
package failover

import (
	"time"

	"gemel/node/arbiter"
)

// Event is anything the machine can learn. Times given to Step are nanoseconds
// of CLOCK_BOOTTIME as a time.Duration.
type Event interface{ isEvent() }

type (
	// Tick lets time pass; the agent sends one at least every 50 ms.
	Tick struct{}

	// Beat is a heartbeat received on a link.
	Beat struct {
		Link string
		Peer PeerReport
	}

	// Carrier tells that a link's NIC lost or found its cable on this node.
	Carrier struct {
		Link string
		Up   bool
	}

	// AddressNIC tells whether every interface of the volume's addresses has carrier.
	AddressNIC struct{ Up bool }

	// Replica is the local replicator's state of the volume.
	Replica struct{ State ReplicaReport }

	// ReplicaDown tells that the local replicator does not answer or died.
	ReplicaDown struct {
		Reason string
		Gone   bool // there is no such process; else it may only hang
	}

	// Prepared, AcceptedBy and Renewed carry a voter's answer. Unreachable is
	// set when no answer came.
	Prepared struct {
		Voter       arbiter.NodeID
		Epoch       arbiter.Epoch
		Unreachable bool
		Reply       arbiter.PrepareReply
	}
	AcceptedBy struct {
		Voter       arbiter.NodeID
		Proposal    arbiter.Accepted
		Unreachable bool
		Reply       arbiter.AcceptReply
	}
	Renewed struct {
		Voter       arbiter.NodeID
		Epoch       arbiter.Epoch
		Sent        time.Duration // boot time just before the request left
		Unreachable bool
		Reply       arbiter.RenewReply
	}

	// StepDone reports the end of a step of the course; Err is empty on success.
	StepDone struct {
		Step Step
		Err  string
	}

	// ServiceFailed tells that a service used up its restarts.
	ServiceFailed struct {
		Name   string
		Reason string
	}

	// HandOver is the peer's word that it has let the volume go for us (planned
	// switchover): we may campaign at once.
	HandOver struct{ Epoch arbiter.Epoch }

	// Shot ends a Fence: the peer was proved to be off a moment ago, or Err says why
	// it may be running.
	Shot struct{ Err string }

	// Arbiter tells whether the third voter of the configuration answers.
	Arbiter struct{ Up bool }

	// Order is an operator's command. ID comes back in an Answer action.
	Order struct {
		ID   uint64
		Kind OrderKind
	}
)

// OrderKind is what an operator asks for.
type OrderKind int

// Operator commands.
const (
	OrderSwitchover OrderKind = iota + 1 // give the volume to the peer, cleanly; on the Secondary the agent forwards it to the Primary
	OrderGrab                            // take over by the operator's word: the missing vote is replaced, not the need to be in the in-sync set
	OrderGrabStale                       // as OrderGrab, and also accept data that is known not to be current
	OrderLeave                           // let the volume go cleanly and stay Secondary (agent stops)
	OrderMayGive                         // answer whether a switchover would be carried out, and do nothing
)

func (Tick) isEvent()          {}
func (Beat) isEvent()          {}
func (Carrier) isEvent()       {}
func (AddressNIC) isEvent()    {}
func (Replica) isEvent()       {}
func (ReplicaDown) isEvent()   {}
func (Prepared) isEvent()      {}
func (AcceptedBy) isEvent()    {}
func (Renewed) isEvent()       {}
func (StepDone) isEvent()      {}
func (ServiceFailed) isEvent() {}
func (HandOver) isEvent()      {}
func (Shot) isEvent()          {}
func (Arbiter) isEvent()       {}
func (FenceDevice) isEvent()   {}
func (Order) isEvent()         {}

// PeerReport is the peer's word on this volume, from its heartbeat.
type PeerReport struct {
	Boot       string // changes with every start of the peer's agent
	Primary    bool   // taking over, serving or leaving
	Serving    bool   // Primary with its course complete
	Leaving    bool   // still Primary, but on its way out
	Epoch      arbiter.Epoch
	Chosen     arbiter.Accepted
	Fit        bool // could take over: disk, replicator, course
	AddressNIC bool
	MayLack    string // see ReplicaReport
	Standby    bool   // takes nothing over; see Mode
	// ServicesFailed: services of the volume failed on the peer lately; Impaired: it
	// serves, but not all of them run.
	ServicesFailed, Impaired bool
	// Assures is the start of this node's agent to which the peer, as Primary, says
	// that Chosen is chosen; see View.
	Assures string
	// Third is the third voter in the peer's configuration; Speaks: it told so.
	Third  arbiter.Third
	Speaks bool
	Going  bool // its agent stops, and its vote goes with it
}

// ReplicaReport is the local replica, reduced to what decisions need.
type ReplicaReport struct {
	Usable    bool   // attached to a good disk with metadata
	Problem   string // why not
	Created   bool   // never used in any reign
	Blank     bool   // Created, and so is the connected peer's
	DiskWhole bool   // not Inconsistent, not Diskless
	Primary   bool
	Epoch     arbiter.Epoch // of the reign it serves
	Record    arbiter.Record
	Chosen    arbiter.Accepted
	// MayYield: this Primary's disk failed, and it can go on through the peer's once
	// the peer alone is in the set. Remote: so it does.
	MayYield, Remote bool
	WantShrink       bool
	ReadyToGrow      bool
	CrashedPrimary   bool
	// MayLack is the protocol, A or B, under which the last Primary that this
	// replica followed completed writes that may not be here; empty: none.
	MayLack string
	// Outdated: an operator said that newer data exists elsewhere.
	Outdated   bool
	StandAlone bool
	Connected  bool
	// NewerPromise is the epoch, above the reign's, that the peer's replica says
	// it promised; it refuses this Primary therefore. Zero: none.
	NewerPromise arbiter.Epoch
	// Survives: the Primary's device outlives the replicator, its users wait.
	Survives  bool
	LeaseLeft time.Duration // rest of the lease as the replica holds it
}
