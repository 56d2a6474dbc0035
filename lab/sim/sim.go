// Package sim plays a whole pair in one process from one seed: two boxes with a
// replicator and an agent each, a witness, disks that lose power, a network that
// breaks, clocks that drift, an application, and oracles that watch. What
// decides is the shipping code: volume/core, meta on crashdisk, wire, handshake,
// the registers, the failover machine. What only moves data (sockets,
// goroutines, files) is replaced by a queue of events, so that one seed plays
// the same every time; Result.Trace is equal for equal plans.
//
// It is not a test of the shells: what volume, link and agent do with sockets,
// threads and the kernel is for their own tests and for the scenarios. It does
// not speak of speed either.
//
// A Plan is a list of faults drawn from a seed. Run plays it, lets everything
// heal, and demands a whole and equal pair. A Plan that fails can be shrunk: the
// faults that are not needed are taken out and the rest is told in words.
package sim

import (
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
)

// Options of Run.
type Options struct {
	// Story keeps what happened in words; without it a run is faster.
	Story bool
	// script, if set, replaces the plan's faults; it is called once, before the
	// first event.
	script func(w *world)
}

// Violation is a promise that was broken.
type Violation struct {
	At   time.Duration // simulated
	What string
	// Promise is short and stable: two runs that break the same one count as
	// the same failure.
	Promise string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("after %v: %s: %s", v.At.Round(time.Millisecond), v.Promise, v.What)
}

// Result is what a run came to.
type Result struct {
	Plan      Plan
	Trace     uint64 // equal for equal runs
	Violation *Violation
	Story     []string
	Stats     Stats
}

// Stats count what a run, or many, did.
type Stats struct {
	Seeds     int
	Simulated time.Duration
	Events    uint64
	Writes    int // acknowledged
	Reads     int // checked
	Flushes   int // completed
	Reigns    int
	Resyncs   int
	Compared  int     // both disks, byte by byte
	Placed    int     // acknowledged blocks looked for on a disk
	Forgotten int     // unflushed writes that a power cut took, as it may
	Remote    int     // reads of a Primary without a disk
	Held      int     // reads held because the lease was out
	Late      int     // messages of dead connections, all refused
	Logged    int     // transactions of the activity log
	Torn      int     // metadata updates cut in the middle
	Lost      int     // votes, orders and heartbeats between boxes that never arrived
	Overtaken int     // that came so late that later ones overtook them
	Doubled   int     // that arrived twice
	Drift     float64 // widest difference of the two clocks' rates, percent

	Damaged     int // blocks that a disk changed by itself
	Found       int // of them, by a verify at the end
	Repaired    int // and made right
	Forgiven    int // sectors of them that were read, and that nobody could know
	MendedSlots int // slots of the superblock that were written anew at a start
	Refused     int // disks that were refused, and made anew
	Restored    int // disks that were put back from an image
	Noticed     int // of them, as seen in a handshake

	Grabbed  int // reigns by an operator's word
	GivenUp  int // acknowledged writes that such a reign lacked, as was said
	Apart    int // times that both sides saw that they had gone apart
	Resolved int // of them, by an operator
	ByPolicy int // and by a policy
	Kept     int // blocks in undo files
	Undone   int // of them, brought back onto the volume

	Grown   int // times that a replica became larger
	Passed  int // errors of a disk that the application was told of
	Bounded int // crashes of a Primary whose peer held everything
	Faults  [kinds]int
}

// Add adds what o counted.
func (s *Stats) Add(o *Stats) {
	s.Seeds += o.Seeds
	s.Simulated += o.Simulated
	s.Events += o.Events
	s.Writes += o.Writes
	s.Reads += o.Reads
	s.Flushes += o.Flushes
	s.Reigns += o.Reigns
	s.Resyncs += o.Resyncs
	s.Compared += o.Compared
	s.Placed += o.Placed
	s.Forgotten += o.Forgotten
	s.Held += o.Held
	s.Remote += o.Remote
	s.Late += o.Late
	s.Torn += o.Torn
	s.Logged += o.Logged
	s.Lost += o.Lost
	s.Overtaken += o.Overtaken
	s.Doubled += o.Doubled
	s.Drift = max(s.Drift, o.Drift)
	s.Damaged += o.Damaged
	s.Forgiven += o.Forgiven
	s.Found += o.Found
	s.Repaired += o.Repaired
	s.MendedSlots += o.MendedSlots
	s.Refused += o.Refused
	s.Restored += o.Restored
	s.Noticed += o.Noticed
	s.Grabbed += o.Grabbed
	s.GivenUp += o.GivenUp
	s.Apart += o.Apart
	s.Resolved += o.Resolved
	s.ByPolicy += o.ByPolicy
	s.Kept += o.Kept
	s.Undone += o.Undone
	s.Grown += o.Grown
	s.Bounded += o.Bounded
	s.Passed += o.Passed
	for i, n := range o.Faults {
		s.Faults[i] += n
	}
}

// Times of the product as its configuration has them by default.
const (
	heartbeat   = 250 * time.Millisecond
	major       = 2 * time.Second
	leaseTerm   = 3 * time.Second
	renewEvery  = 500 * time.Millisecond
	bootWait    = 5 * time.Second
	stepTimeout = 30 * time.Second
	peerTimeout = time.Second
	connectWait = 500 * time.Millisecond
	diskTimeout = 20 * time.Second
	renewEach   = time.Second // volume.RenewEvery, made short
)

// healLimit is how long the pair may take to be whole once all faults are over.
const healLimit = 90 * time.Second

// world is everything of one run.
type world struct {
	plan     Plan
	now      time.Duration // true time
	queue    queue
	events   uint64
	trace    uint64
	boxes    [2]*box
	witness  *witness
	net      network
	stats    Stats
	chance   chances
	calm     bool           // no faults any more
	protocol block.Protocol // as configured on both nodes
	damage   *damage
	writes   uint64 // numbers of all writes, whoever took them
	resting  bool   // the application pauses so that disks can be compared
	settling settling
	// cutResync are faults that wait for the next resync.
	cutResync []Fault
	done      bool
	audit     audit
	updated   [updateKinds]int // metadata, by what changed
	served    time.Duration    // when somebody was last seen to serve
	keep      bool             // the story
	story     []string
	failed    *Violation
}

// Run plays a plan to its end or to the first broken promise.
func Run(p Plan, o Options) (r Result) {
	w := newWorld(p, o)
	defer func() {
		r = Result{Plan: p, Trace: w.trace, Violation: w.failed, Story: w.story, Stats: w.stats}
		r.Stats.Seeds, r.Stats.Simulated, r.Stats.Events = 1, w.now, w.events
	}()
	defer w.catch()
	if o.script != nil {
		o.script(w)
	} else {
		w.schedule()
	}
	for !w.done {
		w.step()
	}
	return r
}

// catch turns the panic of a broken promise, or of the code under test, into
// the run's violation.
func (w *world) catch() {
	switch p := recover().(type) {
	case nil:
	case *Violation:
		w.failed = p
	default:
		w.failed = &Violation{At: w.now, Promise: "nothing panics", What: fmt.Sprintf("%v\n%s", p, debug.Stack())}
	}
}

func newWorld(p Plan, o Options) *world {
	w := &world{plan: p, keep: o.Story, chance: newChances(p.Seed), now: time.Second, protocol: p.Protocol}
	w.damage = newDamage()
	t := newTruth(w)
	w.audit.w = w
	w.witness = &witness{w: w}
	w.witness.stable.Fresh = true
	for i := range w.boxes {
		w.boxes[i] = newBox(w, arbiter.NodeID(i))
		w.boxes[i].truth = t
	}
	w.stats.Drift = math.Abs(w.boxes[0].rate-w.boxes[1].rate) * 100
	w.witness.start()
	for _, b := range w.boxes {
		b.powerOn()
	}
	w.after(time.Second, w.look)
	return w
}

// break ends the run: promise was broken.
func (w *world) broken(promise, format string, args ...any) {
	panic(&Violation{At: w.now, Promise: promise, What: fmt.Sprintf(format, args...)})
}

// tell keeps a sentence of the story.
func (w *world) tell(format string, args ...any) {
	if w.keep {
		w.story = append(w.story, fmt.Sprintf("%9.4f  ", w.now.Seconds())+fmt.Sprintf(format, args...))
	}
}

// mark folds what happened into the trace.
func (w *world) mark(kind uint64, values ...uint64) {
	h := w.trace*0x9e3779b97f4a7c15 + kind + uint64(w.now)
	for _, v := range values {
		h = (h ^ v) * 0xff51afd7ed558ccd
		h ^= h >> 29
	}
	w.trace = h
}
