package control

import "time"

// What a VerifyRequest or ResyncRequest may ask for.
const (
	ActionStart  = "start"
	ActionPause  = "pause"
	ActionResume = "resume"
	ActionStop   = "stop"
)

// States of a verify.
const (
	VerifyRunning  = "running"
	VerifyPaused   = "paused"   // by an operator
	VerifyWaiting  = "waiting"  // for the nodes to be in sync again
	VerifyStopped  = "stopped"  // before its end, by an operator
	VerifyFinished = "finished" // the whole volume was looked at
)

// VerifyRequest asks the Primary's replica to compare both nodes' blocks while
// the volume is in use.
type VerifyRequest struct {
	Volume string `json:"volume"`
	Action string `json:"action"`
	// For ActionStart: copy what differs from the Primary to the Secondary; the
	// first byte to look at.
	Repair bool  `json:"repair,omitempty"`
	From   int64 `json:"from,omitempty"`
	// MaxRate in bytes per second. 0: no limit for ActionStart, the limit of
	// before for ActionResume; below 0: no limit.
	MaxRate int64 `json:"max_rate,omitempty"`
}

// Verify is the last verify. Sizes are bytes.
type Verify struct {
	// Run counts the verifies that were started since the replicator started.
	Run     int    `json:"run"`
	State   string `json:"state"`
	Waiting string `json:"waiting,omitempty"` // why it does not go on
	Repair  bool   `json:"repair"`
	// Pos: what lies in front of it was looked at.
	Pos     int64         `json:"pos"`
	Total   int64         `json:"total"`
	Rate    int64         `json:"rate"` // per second, over the last seconds
	ETA     time.Duration `json:"eta_ns"`
	MaxRate int64         `json:"max_rate,omitempty"` // per second; 0: no limit
	// Found differed and was not being written; Repaired of it was copied to
	// the Secondary and acknowledged.
	Found    int64 `json:"found"`
	Repaired int64 `json:"repaired"`
	// Skipped was written by the application at every try.
	Skipped int64 `json:"skipped"`
	// Unreadable could not be read on one side; Problem says where.
	Unreadable int64  `json:"unreadable"`
	Problem    string `json:"problem,omitempty"`
	// Ranges that were found, in order; known to the Primary's replicator until
	// it ends. More: there are others.
	Ranges []Range `json:"ranges,omitempty"`
	More   bool    `json:"more_ranges,omitempty"`
}

// Range is a part of the volume in bytes.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}
