package failover

import (
	"time"

	"gemel/node/arbiter"
)

// Action is one thing the agent must do. Actions of one Step are started in
// order; those that wait for an answer do not hold up the next.
type Action interface{ isAction() }

type (
	// SendPrepare, SendAccept, SendRenew and SendRelease go to a voter; the
	// local replica's register is the voter with this node's own number.
	// Answers come back as Prepared, AcceptedBy, Renewed; a release is not answered.
	SendPrepare struct {
		Voter arbiter.NodeID
		Epoch arbiter.Epoch
		Known arbiter.Accepted
	}
	SendAccept struct {
		Voter    arbiter.NodeID
		Proposal arbiter.Accepted
	}
	SendRenew struct {
		Voter arbiter.NodeID
		Epoch arbiter.Epoch
		Term  time.Duration
	}
	SendRelease struct {
		Voter arbiter.NodeID
		Epoch arbiter.Epoch
	}

	// TellChosen gives the local replica a set that 2 of 3 recorded.
	TellChosen struct{ Chosen arbiter.Accepted }

	// TellLease moves the lease's end in the local replica.
	TellLease struct {
		Epoch arbiter.Epoch
		Until time.Duration // boot time
	}

	// Run starts a step of the course; exactly one StepDone follows, with an
	// error after Timeout at the latest.
	Run struct {
		Step    Step
		Timeout time.Duration
		// PeerAlive, for StepFence: the peer is heard. It was not in the way of the votes, so it lets go by itself.
		PeerAlive bool
		// Epoch, for StepFence: of the reign that this node was elected to.
		Epoch arbiter.Epoch
		// For StepPromote only.
		Chosen arbiter.Accepted
		Birth  bool // the volume's first reign
		Forced bool // by an operator's word
		// Before is the newest epoch in which any set was recorded before this reign,
		// as the voters that elected it know; no other reign came between. For a
		// reign that is resumed it is its own.
		Before arbiter.Epoch
		// Stay, for StepServices: the volume stays here even if some of them fail.
		Stay bool
	}

	// TellHandOver tells the peer's agent that the volume is free for it.
	TellHandOver struct{ Epoch arbiter.Epoch }

	// Answer ends an operator's order; Err is empty on success.
	Answer struct {
		ID  uint64
		Err string
	}

	// Fence has the peer's power cut; exactly one Shot follows. The machine has its
	// reasons why this node may do that.
	Fence struct{}

	// Note is an event for the history: Kind is a stable dotted name, Text a
	// full sentence, Reason why (and the next step, for refusals).
	Note struct {
		Kind   string
		Text   string
		Reason string
		Inputs Inputs // what a decision rests on; nil: the words say all
	}
)

func (SendPrepare) isAction()  {}
func (SendAccept) isAction()   {}
func (SendRenew) isAction()    {}
func (SendRelease) isAction()  {}
func (TellChosen) isAction()   {}
func (TellLease) isAction()    {}
func (Run) isAction()          {}
func (TellHandOver) isAction() {}
func (Answer) isAction()       {}
func (Fence) isAction()        {}
func (Note) isAction()         {}

// Step is one step of the course of action.
type Step int

// The course on taking over, in order; then the course on leaving cleanly, in
// order; then the course of letting go, in order. A step with nothing to do
// (no fencing configured, no mount) succeeds at once.
const (
	StepFence   Step = iota + 1 // power the peer off, verified; nothing when no driver is configured
	StepPromote                 // replica becomes Primary, device appears
	StepFsck                    // check the file system if it is dirty; make the volume's first one
	StepMount
	StepAddress  // claim and announce the addresses
	StepServices // start the services in order and wait until each is ready

	StepDropAddress  // remove the addresses
	StepStopServices // SIGTERM, then SIGKILL, in reverse order
	StepUnmount
	StepDemote // clean: all written, flushed, device detached

	StepLetGoAddress  // remove the addresses, at once
	StepLetGoServices // SIGKILL
	StepLetGoUnmount  // lazily
	StepLetGoIO       // held I/O ends with an error, device detached, replica Secondary
)
