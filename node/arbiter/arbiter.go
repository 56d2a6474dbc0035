// Package arbiter is the durable register that decides who is current: what a
// voter promised, and which in-sync set it accepted. Node A, node B and the
// witness keep one register per volume. The package is pure; storing a Record
// is its caller's duty, and a reply may leave the voter only after the Record
// it rests on is on stable storage.
package arbiter

import (
	"hash/fnv"
	"time"
)

// NodeID numbers the two data nodes: 0 and 1, in the order of the configuration.
type NodeID uint8

// Witness is the voter number of the third voter; it is never a data node.
const Witness NodeID = 2

// Epoch numbers a reign. Epochs are unique per node: Epoch%2 is the NodeID of
// the only node that may use it. Zero means "none".
type Epoch uint64

// Owner returns the data node that may campaign with e.
func (e Epoch) Owner() NodeID { return NodeID(e % 2) }

// NextFor returns the smallest epoch above e that belongs to n.
func (e Epoch) NextFor(n NodeID) Epoch {
	next := e + 1
	if next.Owner() != n {
		next++
	}
	if next < 2 {
		next += 2 // epoch 0 means none, 1 is skipped so that both nodes start at 2 and 3
	}
	return next
}

// Set is an in-sync set: bit 0 for node 0, bit 1 for node 1.
type Set uint8

// Only returns the set that holds n alone.
func Only(n NodeID) Set { return 1 << n }

// Both is the set of both data nodes.
const Both Set = 3

// Has reports whether n is in s.
func (s Set) Has(n NodeID) bool { return s&(1<<n) != 0 }

// Third is the identity of a third voter, made of its name. Zero is one that
// has no identity: whoever is asked as the third voter is it.
type Third uint32

// ThirdNamed returns the identity of the third voter that a configuration
// describes; what it is made of must differ between any two, and be the same on both
// nodes. It is neither 0 nor NoThird.
func ThirdNamed(what string) Third {
	h := fnv.New32a()
	_, _ = h.Write([]byte(what)) // never fails
	return Third(min(max(h.Sum32(), 1), uint32(NoThird)-1))
}

// NoThird says that there is no third voter: the two nodes decide alone, and
// proof that one of them is off stands for its vote.
const NoThird Third = 1<<32 - 1

// Rule says who decides besides the two nodes. It is part of every recorded set,
// so that nobody counts a third voter that the others gave up, and a change of
// it is decided like a change of the set.
type Rule struct {
	Change uint32 `json:"change"` // counts the changes since the volume's birth
	Third  Third  `json:"third"`
}

// Next is the rule after r, with third.
func (r Rule) Next(third Third) Rule { return Rule{Change: r.Change + 1, Third: third} }

// Alone reports that there is no third voter.
func (r Rule) Alone() bool { return r.Third == NoThird }

// Accepted is an in-sync set as a voter accepted it. Order: Epoch, then Version.
type Accepted struct {
	Epoch   Epoch  `json:"epoch"`
	Version uint32 `json:"version"`
	Set     Set    `json:"set"`
	Rule    Rule   `json:"rule,omitzero"`
}

// Newer reports whether a is a later decision than b.
func (a Accepted) Newer(b Accepted) bool {
	return a.Epoch > b.Epoch || a.Epoch == b.Epoch && a.Version > b.Version
}

// Record is what a voter keeps on stable storage.
type Record struct {
	Promised Epoch    `json:"promised"`
	Accepted Accepted `json:"accepted"`
	// Fresh marks a register that never took part: newly created, or its
	// storage was lost. A fresh voter's promise does not count towards 2 of 3;
	// three fresh voters together are a cluster's birth.
	Fresh bool `json:"fresh"`
}

// PrepareRequest asks for the promise to refuse every epoch below Epoch.
type PrepareRequest struct {
	Volume string `json:"volume"`
	Epoch  Epoch  `json:"epoch"`
	// Known is the newest set the candidate has seen: a voter that was away
	// must not refuse on older knowledge than that.
	Known Accepted `json:"known"`
}

// PrepareReply carries the voter's promise or its named refusal.
type PrepareReply struct {
	OK     bool   `json:"ok"`
	Record Record `json:"record"`
	// Wait is how long the voter still honours another node's lease.
	Wait    time.Duration `json:"wait_ns,omitempty"`
	Refusal string        `json:"refusal,omitempty"`
}

// AcceptRequest asks the voter to record the in-sync set.
type AcceptRequest struct {
	Volume   string   `json:"volume"`
	Accepted Accepted `json:"accepted"`
}

// AcceptReply tells whether the set is recorded.
type AcceptReply struct {
	OK bool `json:"ok"`
	// Volatile: recorded in memory only, since the disk of this voter failed. It
	// is a proposer's own register that says so: it knows the set from now on,
	// and its word does not count.
	Volatile bool   `json:"volatile,omitempty"`
	Record   Record `json:"record"`
	Refusal  string `json:"refusal,omitempty"`
}

// RenewRequest asks the voter to honour the lease of Epoch's owner for Term
// from the receipt of this request.
type RenewRequest struct {
	Volume string        `json:"volume"`
	Epoch  Epoch         `json:"epoch"`
	Term   time.Duration `json:"term_ns"`
}

// RenewReply tells whether the lease is granted.
type RenewReply struct {
	OK      bool   `json:"ok"`
	Record  Record `json:"record"`
	Refusal string `json:"refusal,omitempty"`
}

// ReleaseRequest gives the lease of Epoch back before its end.
type ReleaseRequest struct {
	Volume string `json:"volume"`
	Epoch  Epoch  `json:"epoch"`
}
