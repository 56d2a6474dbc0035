package sim

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/failover"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/resync"
	"gemel/node/replicator/volume/core"
)

// Kind is a kind of fault.
type Kind uint8

// Kinds of faults.
const (
	KillReplicator Kind = iota
	KillAgent
	PowerCut     // of one box
	PowerCutAll  // of both boxes at once
	CutMetadata  // of one box, in the middle of a metadata update
	WitnessPower // of the witness
	BreakLink    // the replication connection is reset
	CutCables    // between the boxes, both ways
	CutOneWay    // from one box to the other
	CutOneLink   // the private link only
	CutWitness   // between one box and the witness
	Pause        // nothing runs on one box; its clock goes on
	SlowDisk     // of one box
	SlowNetwork  //
	Switchover   // an operator's order
	ReplayOld    // writes of an old reign arrive on a living connection
	CutInResync  // power cut of one box in the middle of the next resync
	BadReads     // the disk of one box fails at some reads of the application
	BadWrites    // and at writes and syncs, until somebody looks after it
	SetProtocol  // an operator changes the protocol of both nodes
	Verify       // an operator has both disks compared while they are used
	Rot          // blocks of one disk change by themselves
	Misdirect    // one disk writes to another place than it was told
	Unreadable   // blocks of the volume cannot be read until they are written
	HurtMetadata // a block of the metadata changes, or cannot be read
	ReplaceDisk  // the power goes, and comes back with an empty disk
	RestoreDisk  // with an image of an earlier time
	CloneDisk    // with a copy of the other node's disk
	LoseMetadata // with both slots of the superblock damaged
	TendVerify   // an operator pauses, resumes or stops the verify
	TendResync   // an operator pauses the resync, or changes its limits
	Invalidate   // an operator throws the Secondary's data away
	Grab         // an operator makes a box Primary that is cut off
	Enlarge      // the disks become larger, and an operator lets the volume grow
	kinds        = int(Enlarge) + 1
)

var kindNames = [kinds]string{"replicator killed", "agent killed", "power cut", "power cut of both boxes",
	"power cut inside a metadata update", "power cut of the witness", "connection reset", "all cables cut",
	"one direction cut", "private link cut", "box cut off from the witness", "box paused", "slow disk", "slow network",
	"switchover ordered", "writes of an old reign replayed",
	"power cut inside a resync", "reads that fail",
	"writes that fail", "protocol changed", "verify ordered",
	"blocks rot", "writes go astray", "blocks become unreadable", "metadata is damaged", "disk replaced",
	"older image put back", "disk is a copy of the other node's", "both superblocks damaged",
	"verify paused, resumed or stopped", "resync paused or bounded", "replica invalidated",
	"volume grabbed on a box that is cut off", "disks enlarged, and resize ordered"}

func (k Kind) String() string { return kindNames[k] }

// Fault is something that goes wrong.
type Fault struct {
	At   time.Duration // simulated
	Kind Kind
	Node arbiter.NodeID
	For  time.Duration // until it is over; 0: it has no end
	// N: CutMetadata: before which request; SlowDisk: how many times slower;
	// RestoreDisk: age of the image in milliseconds.
	N int
}

func (f Fault) String() string {
	s := fmt.Sprintf("%9.4f  %v", f.At.Seconds(), f.Kind)
	switch f.Kind {
	case PowerCutAll, WitnessPower, BreakLink, CutCables, CutOneLink, SlowNetwork:
	default:
		s += " (" + names[f.Node] + ")"
	}
	if f.For > 0 {
		s += fmt.Sprintf(" for %v", f.For.Round(time.Millisecond))
	}
	return s
}

// Plan is everything that chance decides before a run, and the seed of the rest.
type Plan struct {
	Seed       uint64
	Length     time.Duration // of the part with faults
	Faults     []Fault       // by time
	ResyncRate int64         // bytes per second, 0: no limit
	Extent     int64         // bytes of one piece of a resync
	Checksums  core.Checksums
	// Early has writes complete early: under Protocol at first, then as
	// SetProtocol says. Otherwise it is protocol C all the time.
	Early          bool
	Protocol       block.Protocol
	TakeoverUnderA bool
	// Policy settles a split brain, if it names a loser.
	Policy  handshake.Policy
	OnError core.OnError
	// Begin is how many blocks the volume has at first.
	Begin int
	// Liar is the node whose disk changes blocks by itself.
	Liar arbiter.NodeID
}

// Draw makes the plan of a seed.
func Draw(seed uint64) Plan {
	dice := newChances(seed ^ 0x706c616e).misc
	p := Plan{Seed: seed, Begin: blocks, Length: dice.span(8*time.Second, 40*time.Second), Extent: 64 << 10}
	if dice.one(3) {
		p.ResyncRate = 256<<10 + dice.Int64N(1<<20)
	}
	p.Checksums, p.Liar = core.Checksums(dice.IntN(3)), arbiter.NodeID(dice.IntN(2))
	if p.Early = dice.one(3); p.Early {
		p.Protocol, p.TakeoverUnderA = block.Protocol(dice.IntN(3)), dice.one(2)
	}
	at := dice.span(time.Second, 8*time.Second)
	for at < p.Length {
		for range 1 + dice.IntN(3)*dice.IntN(2) { // troubles do not come alone
			f := drawFault(dice, at+dice.span(0, time.Second))
			if f.Kind == Rot || f.Kind == Misdirect {
				f.Node = p.Liar
			}
			p.Faults = append(p.Faults, f)
		}
		at += dice.span(200*time.Millisecond, 9*time.Second)
	}
	p.drawPeople()
	p.drawGrowth()
	p.OnError = core.OnError(max(newChances(seed).errors.IntN(4)-1, 0))
	sort.SliceStable(p.Faults, func(i, j int) bool { return p.Faults[i].At < p.Faults[j].At })
	return p
}

// odds of the kinds.
var odds = [kinds]int{8, 6, 8, 3, 8, 3, 6, 6, 4, 3, 3, 6, 3, 3, 5, 6, 8, 4, 3, 8, 5,
	3, 3, 4, 4, 3, 4, 1, 2, 4, 4, 3, 0, 0}

func drawFault(dice dice, at time.Duration) Fault {
	total := 0
	for _, o := range odds {
		total += o
	}
	n, k := dice.IntN(total), 0
	for n >= odds[k] {
		n -= odds[k]
		k++
	}
	f := Fault{At: at, Kind: Kind(k), Node: arbiter.NodeID(dice.IntN(2))}
	switch f.Kind {
	case KillReplicator, KillAgent:
		f.For = dice.span(50*time.Millisecond, 4*time.Second)
	case RestoreDisk:
		f.For, f.N = dice.span(8*time.Second, 16*time.Second), 3500+dice.IntN(9000)
	case PowerCut, PowerCutAll, WitnessPower, CutInResync, BadWrites, ReplaceDisk, CloneDisk, LoseMetadata:
		f.For = dice.span(200*time.Millisecond, 10*time.Second)
	case CutCables, CutOneWay, CutOneLink, CutWitness, Pause, SlowDisk, SlowNetwork:
		f.For = dice.span(100*time.Millisecond, 9*time.Second)
	}
	switch f.Kind {
	case CutMetadata:
		f.N = 1 + dice.IntN(5)
	case CutInResync:
		f.N = dice.IntN(1000)
	case SetProtocol, TendVerify:
		f.N = dice.IntN(3)
	case TendResync:
		f.N, f.For = dice.IntN(3), dice.span(100*time.Millisecond, 5*time.Second)
	case Verify:
		f.N = dice.IntN(blocks)
	case Rot, Unreadable, HurtMetadata:
		f.N = dice.IntN(1000)
	case BadReads, BadWrites, Misdirect:
		f.N = 1 + dice.IntN(3)
	case SlowDisk:
		f.N = 2 + dice.IntN(40)
	}
	return f
}

// schedule lets the plan's faults happen, and everything heal at its end.
func (w *world) schedule() {
	for _, f := range w.plan.Faults {
		if f.Kind == RestoreDisk {
			w.after(f.At-time.Duration(f.N)*time.Millisecond-w.now, w.boxes[f.Node].remember)
		}
		w.after(f.At-w.now, func() { w.inject(f) })
	}
	w.after(w.plan.Length-w.now, w.heal)
}

func (w *world) inject(f Fault) {
	if w.calm {
		return
	}
	w.stats.Faults[f.Kind]++
	if f.Kind != PowerCut && f.Kind != KillReplicator && f.Kind != KillAgent && f.Kind != WitnessPower {
		w.tell("FAULT: %v", f.String()[11:])
	}
	b := w.boxes[f.Node]
	if f.Kind >= Rot && f.Kind <= LoseMetadata && !w.sicken(b, f) {
		w.tell("(that is left out: it would cost the only copy)")
		w.stats.Faults[f.Kind]--
		return
	}
	if f.Kind == CutInResync {
		w.cutResync = append(w.cutResync, f)
		return
	}
	over, known := w.unplug(b, f)
	if !known {
		over = w.upset(b, f)
	}
	if f.For > 0 {
		w.after(f.For, func() {
			if !w.calm {
				over()
			}
		})
	}
}

// unplug takes power or a process away; it returns how it comes back.
func (w *world) unplug(b *box, f Fault) (over func(), known bool) {
	over = func() {}
	switch f.Kind {
	case KillReplicator:
		b.killReplicator(f.For)
	case KillAgent:
		b.killAgent(f.For)
	case PowerCut:
		b.powerOff()
		over = b.powerOn
	case PowerCutAll:
		w.boxes[0].powerOff()
		w.boxes[1].powerOff()
		over = func() { w.boxes[f.Node].powerOn(); w.boxes[1-f.Node].powerOn() }
	case CutMetadata:
		b.cutMeta = f.N
	case WitnessPower:
		w.witness.powerOff()
		over = w.witness.start
	default:
		return nil, false
	}
	return over, true
}

// upset does to disks, cables and by orders what f says; it returns how it ends.
func (w *world) upset(b *box, f Fault) (over func()) {
	over = func() {}
	switch f.Kind {
	case BadReads, BadWrites, SlowDisk:
		over = b.ail(f)
	case Switchover, SetProtocol, Verify, TendVerify, Invalidate:
		w.order(b, f)
	case TendResync:
		over = w.tendResync(f)
	case Pause:
		b.paused = max(b.paused, w.now+f.For)
	case ReplayOld:
		b.replayOld()
	case ReplaceDisk, RestoreDisk, CloneDisk, LoseMetadata:
		over = b.powerOn
	case Rot, Misdirect, Unreadable, HurtMetadata:
	case Grab:
		over = w.grab(f)
	case Enlarge:
		w.enlarge(f)
	default:
		over = w.cut(f)
	}
	return over
}

// ail makes the disk sick; it returns the cure.
func (b *box) ail(f Fault) (cure func()) {
	switch f.Kind {
	case BadReads:
		b.badReads = f.N
		return func() {}
	case BadWrites:
		if f.N == 3 {
			b.worn = blockAt(int64(f.At/time.Millisecond) % (b.size() - 4))
			b.worn.Len *= 4
		} else {
			b.badWrites = f.N
		}
		return b.repair
	}
	b.slow = f.N
	return func() { b.slow = 1 }
}

// order is an operator's.
func (w *world) order(b *box, f Fault) {
	switch f.Kind {
	case Switchover:
		if b.agent != nil {
			b.agent.feed(failover.Order{ID: uint64(w.now), Kind: failover.OrderSwitchover})
		}
	case SetProtocol:
		w.setProtocol(block.Protocol(f.N))
	case Verify:
		w.verify(f)
	case TendVerify:
		w.tendVerify(f)
	case Invalidate:
		w.invalidate(b)
	}
}

// resyncBegins lets the faults happen that wait for a resync.
func (w *world) resyncBegins(source *box) {
	armed := w.cutResync
	w.cutResync = nil
	span := time.Duration(source.repl.core.View(0).OutOfSync) * 15 // about 70 MB/s
	if rate := w.plan.ResyncRate; rate > 0 {
		span += time.Duration(source.repl.core.View(0).OutOfSync) * time.Second / time.Duration(rate)
	}
	for _, f := range armed {
		b := w.boxes[f.Node]
		w.after(span*time.Duration(f.N)/1000, func() {
			if !w.calm {
				b.powerOff()
				w.after(f.For, b.powerOn)
			}
		})
	}
}

// cut is a fault of the network; it returns the mending.
func (w *world) cut(f Fault) (mend func()) {
	n := &w.net
	switch f.Kind {
	case BreakLink:
		n.breakAll()
	case CutCables:
		n.cut = [links][2]bool{{true, true}, {true, true}}
		return func() { n.cut = [links][2]bool{} }
	case CutOneWay:
		n.cut[0][f.Node], n.cut[1][f.Node] = true, true
		return func() { n.cut[0][f.Node], n.cut[1][f.Node] = false, false }
	case CutOneLink:
		n.cut[0] = [2]bool{true, true}
		return func() { n.cut[0] = [2]bool{} }
	case CutWitness:
		n.third[f.Node] = [2]bool{true, true}
		return func() { n.third[f.Node] = [2]bool{} }
	case SlowNetwork:
		n.slow = f.For / 50
		return func() { n.slow = 0 }
	}
	return func() {}
}

// heal ends every fault.
func (w *world) heal() {
	w.calm = true
	w.tell("every fault is over")
	w.cure()
	w.net.cut, w.net.third, w.net.slow = [links][2]bool{}, [2][2]bool{}, 0
	w.witness.start()
	for _, b := range w.boxes {
		b.slow, b.cutMeta, b.replayArmed = 1, 0, false
		b.repair()
		b.tended(false, resync.Limits{MaxRate: w.plan.ResyncRate})
		b.powerOn()
		b.paused = min(b.paused, w.now)
		b.after(5*time.Second, b.startReplicator)
		b.after(5*time.Second, b.startAgent)
	}
}

// drawPeople draws, in one plan of five, operators who override the voters. It
// has chances of its own, so that other plans stay what they were. Disks do not
// go bad by themselves then: what is on them must be known on both sides.
func (p *Plan) drawPeople() {
	dice := newChances(p.Seed).people
	p.Policy = handshake.Policy{Zero: handshake.DiscardZeroChanges, One: handshake.OnePrimary(dice.IntN(3))}
	if zero := dice.IntN(9); zero < 7 {
		p.Policy.Zero = handshake.ZeroPrimaries(zero)
	}
	if dice.one(4) {
		p.Policy = handshake.Policy{}
	}
	if !dice.one(5) {
		return
	}
	p.Faults = slices.DeleteFunc(p.Faults, func(f Fault) bool { return f.Kind >= Rot && f.Kind <= LoseMetadata })
	for range 1 + dice.IntN(2) {
		f := Fault{At: dice.span(4*time.Second, p.Length), Kind: Grab, Node: arbiter.NodeID(dice.IntN(2)), N: dice.IntN(8)}
		f.For = dice.span(6*time.Second, 15*time.Second)
		p.Length = max(p.Length, f.At+f.For+2*time.Second)
		p.Faults = append(p.Faults, f)
	}
}

// drawGrowth draws, in one plan of six, a volume that begins with half of its
// blocks, and disks that become larger. They do not go bad by themselves then.
func (p *Plan) drawGrowth() {
	dice := newChances(p.Seed).growth
	if !dice.one(6) {
		return
	}
	p.Begin = blocks / 2
	p.Faults = slices.DeleteFunc(p.Faults, func(f Fault) bool { return f.Kind >= Rot && f.Kind <= LoseMetadata })
	for range 1 + dice.IntN(2) {
		p.Faults = append(p.Faults, Fault{At: dice.span(4*time.Second, p.Length), Kind: Enlarge, Node: arbiter.NodeID(dice.IntN(2)), N: dice.IntN(6)})
	}
}
