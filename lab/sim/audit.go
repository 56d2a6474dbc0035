package sim

import (
	"slices"

	"gemel/node/block"
	"gemel/node/failover"
)

// audit is what people do at the end, when a disk was ill: read everything
// through the Primary, compare both disks, move the volume to the side that is
// right, and repair. The verify must find exactly what differs, and afterwards
// both disks are the same and right.
type audit struct {
	w      *world
	stage  int
	differ []int64
	reads  int
	kept   map[int64][]byte // of the undo file that is brought back
}

// Stages of an audit.
const (
	auditGrows = iota
	auditReads
	auditReading
	auditVerifies
	auditVerifying
	auditMoves
	auditRepairs
	auditRepairing
	auditUndo
	auditUndoing
)

// goOn does the next step once p serves a whole pair and nothing is under way;
// it reports whether the audit is over.
func (a *audit) goOn(p *box) (over bool) {
	switch a.stage {
	case auditGrows:
		if a.grown(p) {
			a.stage = auditReads
		}
	case auditReads:
		a.readAll(p)
	case auditReading:
		a.stage = auditReads
		if a.reads > 0 && !p.bad() {
			a.stage = auditVerifies
		}
	case auditVerifies:
		if a.differ = a.w.differing(); len(a.differ) == 0 && !a.w.boxes[1-p.id].bad() {
			a.stage = auditUndo
			return false
		}
		a.w.tell("an operator has both disks compared; %d blocks differ", len(a.differ))
		a.start(p, false, auditVerifying)
	case auditVerifying:
		if !a.running(p) {
			a.found(p)
			a.stage = auditMoves
		}
	case auditMoves:
		if a.right(p) || !a.right(a.w.boxes[1-p.id]) {
			a.stage = auditRepairs
		} else if p.agent != nil {
			p.agent.feed(failover.Order{ID: uint64(a.w.now), Kind: failover.OrderSwitchover})
		}
	case auditRepairs:
		a.w.tell("an operator has what differs repaired")
		a.start(p, true, auditRepairing)
	case auditRepairing:
		if a.running(p) {
			return false
		}
		a.repaired(p)
		a.stage = auditUndo
	default:
		return a.end(p)
	}
	return false
}

// end brings an undo file back, if there is one; then all is over.
func (a *audit) end(p *box) (over bool) {
	if a.stage == auditUndo {
		a.stage = auditUndoing
		return !a.undone(p)
	}
	a.broughtBack()
	return true
}

// bad reports whether a block of the volume cannot be read on b.
func (b *box) bad() bool { return b.disk.Bad(0, blocks*blockSize) }

// readAll reads the volume; what the Primary cannot read the peer answers.
func (a *audit) readAll(p *box) {
	const piece = 16 * blockSize
	a.stage, a.reads = auditReading, a.reads+1
	for off := int64(0); off < p.size()*blockSize; off += piece {
		p.app.read(p.repl, block.Range{Off: off, Len: piece})
	}
	p.repl.run()
}

func (a *audit) start(p *box, repair bool, next int) {
	core := p.repl.core
	if core.VerifyStart(p.clock(), 0, 0, repair) != nil {
		_ = core.VerifyStop(p.clock()) // one of before is still paused or under way
	} else {
		a.stage = next
	}
	p.repl.run()
}

func (a *audit) running(p *box) bool {
	m, _ := p.repl.core.Meta()
	return m.Verify.Running
}

// right reports whether b's disk holds what was written in every block that
// differs.
func (a *audit) right(b *box) bool {
	return !slices.ContainsFunc(a.differ, func(n int64) bool { return !b.truth.good(b, n) })
}

// found demands that the verify named exactly the blocks that differ. A piece
// that one side cannot read is not compared but told apart.
func (a *audit) found(p *box) {
	v, _ := p.repl.core.Verification(p.clock())
	differ := map[int64]bool{}
	for _, n := range a.differ {
		differ[n] = true
	}
	for _, r := range v.Ranges {
		p.truth.each(r, func(n int64) {
			if !differ[n] {
				a.w.broken("a verify finds nothing where nothing was damaged", "block %d is the same on both", n)
			}
			delete(differ, n)
			a.w.stats.Found++
		})
	}
	other := a.w.boxes[1-p.id]
	for n := range differ {
		piece := n * blockSize / a.w.plan.Extent * a.w.plan.Extent
		if !other.disk.Bad(piece, a.w.plan.Extent) {
			a.w.broken("a verify finds what differs", "block %d", n)
		}
	}
	if other.bad() != (v.Unreadable > 0) {
		a.w.broken("a verify tells what cannot be read", "%d bytes", v.Unreadable)
	}
}

// repaired demands equal disks that can be read.
func (a *audit) repaired(p *box) {
	other := a.w.boxes[1-p.id]
	if left := a.w.differing(); len(left) > 0 || other.bad() {
		a.w.broken("a repair makes both disks the same", "blocks %v differ after it; unreadable: %v", left, other.bad())
	}
	if !a.right(p) && a.right(other) {
		a.w.broken("a repair copies what is right", "blocks %v", a.differ)
	}
	a.w.stats.Repaired += len(a.differ)
}
