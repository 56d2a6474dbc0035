// Package check explores every behaviour, up to a bound, of the safety core:
// three real registers (arbiter.Register), two real proposers (reign.Proposer)
// and a small model of the replicas between them. Messages are lost, late and
// repeated, agents and replicas crash, links break. After every step the
// invariants must hold; when one does not, the shortest way there is told in
// words. Mutants break one rule each in the world around the real code, and
// must be caught: they show that the check can see.
//
// It is a test tool, no part of the product. Time is not in it: the lease has a
// check of its own (Leases).
package check

import (
	"fmt"
	"hash/maphash"
	"strings"
	"time"
)

// Bounds limit what may happen in one run; each is a count per run.
type Bounds struct {
	From          Beginning
	Campaigns     uint8
	Changes       uint8 // shrinks and grows
	Writes        uint8 // at most 8
	Cuts          uint8 // of the replication link
	AgentRestarts uint8
	Crashes       uint8 // of a replica: its volatile state is lost
	WitnessLosses uint8 // the witness comes back as a fresh register
	DiskFailures  uint8 // of a Primary; its replica comes back with the disk as it was
	MaxStates     int   // stop there; zero: no limit

	Arbiter  Arbiters // who is the third voter, and who is to be
	Shots    uint8    // by nodes that could use a proof
	Requests uint8    // by a node to its peer to reboot itself
	PowerCut uint8    // a box loses its power without a shot
	Lies     bool     // a shot proves what is not so: the device lies
}

// Arbiters say who is the third voter at the start, and what the configuration is
// changed to: of node 0 from the start, of node 1 when its agent restarts.
type Arbiters uint8

// Arbiters.
const (
	Kept    Arbiters = iota // the witness, and nothing is changed
	Never                   // there is none
	Dropped                 // the witness, to be given up
	Taken                   // none, a witness is to be taken that never voted
	Retaken                 // none, the witness that was given up before is to be taken again
	Other                   // the witness, another one is to take its place
)

// Beginning is the state a run starts from.
type Beginning uint8

// Beginnings.
const (
	Pair  Beginning = iota // node 0 reigns, both nodes are in the in-sync set
	Alone                  // node 0 reigns alone, the peer is not connected
	Birth                  // three fresh registers, nobody reigns
)

// Mutant is a rule that the world breaks on purpose.
type Mutant uint8

// Mutants. None is the design as it is.
const (
	None             Mutant = iota
	AckBeforeShrink         // a lost peer is not waited for before {self} is recorded
	WitnessForgets          // the witness loses its register and does not say so
	GrowEarly               // the peer is taken back before it holds every write
	BlindVote               // a candidate does not look at the in-sync set
	OthersFirst             // proposals go to the others without waiting for the own register
	GrowUnchecked           // the replica does not look whether it is still ready when its register records a growth
	ForgetOpenGrowth        // the replica waits only for the chosen and the newest proposed set
	ReturnedWitness         // a witness that lost its register is counted again at once
	AckBeforeYield          // without a disk of its own a Primary completes writes while the set holds it
	CountFailedDisk         // a register that cannot keep anything counts
	AckUnentrusted          // without a disk of its own a Primary completes writes that the peer does not have
	ChangeUnasked           // a change of the third voter is taken for chosen before the peer recorded it
	CountGivenUp            // a third voter that was given up counts
	AssuredBefore           // what was assured before the power was cut holds after it
	AssuredOfOlder          // what was assured holds although the own register knows a newer set
	KeepProof               // a proof holds although the peer was heard
	RebootProves            // the peer's word that it reboots itself counts as a proof
)

func (m Mutant) String() string {
	return [...]string{
		"none", "acknowledge before the shrink is recorded", "witness forgets",
		"take the peer back early", "vote without looking at the in-sync set",
		"ask the others before the own register", "record a growth the replica is not ready for any more",
		"forget a growth that is still undecided", "count a witness that lost its memory",
		"complete writes through the peer before it is alone in the set", "count the register of a disk that failed",
		"complete writes that are on no disk",
		"change the third voter without the peer", "count a third voter that was given up",
		"shoot on the strength of what was assured before a power cut",
		"shoot on the strength of an older set than the own register's", "use a proof after the peer was heard",
		"take the peer's word that it reboots itself for a proof",
	}[m]
}

// Result tells what a run found.
type Result struct {
	States    int
	Depth     int
	Exhausted bool // all behaviours within the bounds were seen
	Seconds   float64
	Violation string   // empty: none
	Trace     []string // the shortest way to it, in words
	Dual      int      // states in which both nodes believe to be Primary: harmless for writes, bounded by the lease
}

func (r Result) String() string {
	text := fmt.Sprintf("%d states, depth %d, %.1f s, %d of them with two who believe to be Primary",
		r.States, r.Depth, r.Seconds, r.Dual)
	if r.Violation != "" {
		text += fmt.Sprintf("; VIOLATION after %d steps: %s\n  %s", len(r.Trace), r.Violation, strings.Join(r.Trace, "\n  "))
	}
	return text
}

// search is a breadth-first walk. Of states seen only a hash is kept, and how
// each was reached; a trace is told by walking its steps again.
type search struct {
	mutant Mutant
	bounds Bounds
	seed   maphash.Seed
	seen   map[uint64]struct{}
	parent []uint32
	step   []step
	result Result
}

// node is a state whose successors are still unknown.
type node struct {
	world world
	id    uint32
}

// Run explores all behaviours of the design, or of a mutant of it.
func Run(bounds Bounds, mutant Mutant) Result {
	begin := time.Now()
	s := &search{mutant: mutant, bounds: bounds, seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}}
	s.walk()
	s.result.States = len(s.step)
	s.result.Seconds = time.Since(begin).Seconds()
	return s.result
}

func (s *search) walk() {
	start := s.start()
	level := []node{{world: start, id: s.record(start, 0, step{})}}
	for len(level) > 0 {
		var next []node
		for i := range level {
			for _, st := range level[i].world.steps(s.bounds, s.mutant) {
				if !s.visit(&level[i], st, &next) {
					return
				}
			}
		}
		level = next
		s.result.Depth++
	}
	s.result.Exhausted = true
}

// visit takes one step from n; false ends the walk.
func (s *search) visit(n *node, st step, next *[]node) bool {
	w := n.world
	w.take(st, s.mutant)
	w.tidy()
	hash := maphash.Comparable(s.seed, w)
	if _, known := s.seen[hash]; known {
		return true
	}
	id := s.recordHash(hash, n.id, st)
	if w.reps[0].reign != 0 && w.reps[1].reign != 0 {
		s.result.Dual++
	}
	if violation := w.broken(); violation != "" {
		s.result.Violation, s.result.Trace = violation, s.trace(id)
		return false
	}
	*next = append(*next, node{world: w, id: id})
	return s.bounds.MaxStates == 0 || len(s.step) < s.bounds.MaxStates
}

func (s *search) record(w world, parent uint32, st step) uint32 {
	return s.recordHash(maphash.Comparable(s.seed, w), parent, st)
}

func (s *search) recordHash(hash uint64, parent uint32, st step) uint32 {
	s.seen[hash] = struct{}{}
	s.parent, s.step = append(s.parent, parent), append(s.step, st)
	return uint32(len(s.step) - 1)
}

func (s *search) trace(id uint32) []string {
	var back []step
	for ; id != 0; id = s.parent[id] {
		back = append(back, s.step[id])
	}
	w, words := s.start(), make([]string, 0, len(back))
	for i := len(back) - 1; i >= 0; i-- {
		words = append(words, w.words(back[i]))
		w.take(back[i], s.mutant)
		w.tidy()
	}
	return words
}
