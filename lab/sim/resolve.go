package sim

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/failover"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/volume/core"
)

// What an operator does who overrides the voters, and afterwards has to decide
// which side to keep.

// Ways of a Grab, bits of its N.
const (
	grabStale      = 1 << iota // with --stale
	grabNoWitness              // the box is cut off from the witness as well
	grabOtherAlone             // and the other one at first, so that it cannot be told
)

// grab cuts the boxes off from each other, and has an operator make the one
// Primary that does not serve.
func (w *world) grab(f Fault) (over func()) {
	b := w.boxes[f.Node]
	if b.device {
		b = w.boxes[1-b.id]
	}
	w.net.cut = [links][2]bool{{true, true}, {true, true}}
	if f.N&grabNoWitness != 0 {
		w.net.third[b.id] = [2]bool{true, true}
	}
	if f.N&grabOtherAlone != 0 {
		w.after(4*time.Second, func() {
			if !w.calm && w.net.cut[0][0] {
				w.net.third[1-b.id] = [2]bool{true, true}
			}
		})
	}
	kind := failover.OrderGrab
	if f.N&grabStale != 0 {
		kind = failover.OrderGrabStale
	}
	w.after(major+time.Second, func() { w.insist(b, kind, w.now+5*time.Second) })
	return func() {
		w.net.cut, w.net.third = [links][2]bool{}, [2][2]bool{}
	}
}

// insist repeats an order until the volume is served or until end.
func (w *world) insist(b *box, kind failover.OrderKind, end time.Duration) {
	if w.calm || w.now > end || b.device {
		return
	}
	b.order(kind)
	w.after(time.Second, func() { w.insist(b, kind, end) })
}

// order gives the box's agent an order, unless one of the kind is under way.
func (b *box) order(kind failover.OrderKind) {
	if b.agent == nil || b.agent.ordered != 0 {
		return
	}
	b.w.tell("an operator orders %v on %s", orderNames[kind], names[b.id])
	b.agent.ordered, b.agent.grabs = uint64(b.w.now), kind != failover.OrderLeave
	b.agent.feed(failover.Order{ID: uint64(b.w.now), Kind: kind})
}

var orderNames = map[failover.OrderKind]string{failover.OrderGrab: "grab", failover.OrderGrabStale: "grab --stale",
	failover.OrderLeave: "the agent to stop"}

// answered takes the answer to an order.
func (a *agent) answered(x failover.Answer) {
	if x.ID != a.ordered {
		return
	}
	a.ordered, a.grabs = 0, false
	if x.Err != "" {
		a.w.tell("(that is refused: %s)", x.Err)
	}
}

// refused takes a refusal of the handshake that a person or a policy has to
// settle, as package volume does; false: nobody gave a reason for it.
func (e *end) refused(d handshake.Verdict) bool {
	r := e.r
	known := d.Name == handshake.SplitBrain || d.Name == handshake.PrimaryStale
	if !known || r.b.truth == r.w.boxes[1-r.b.id].truth {
		return false
	}
	switch {
	case r.core.Hello().Discard != e.mine.Discard:
	case d.Discards && d.Loser == r.b.id:
		r.w.stats.ByPolicy++
		r.w.tell("the handshake refuses: %s", d)
		r.w.mayLose(r.b, d)
		_ = r.giveUp(true)
	case d.Discards:
	default:
		if r.clash == nil {
			r.w.tell("%s stands alone: %s", names[r.b.id], d)
		}
		r.clash, r.alone = &d, true
	}
	return true
}

// mayLose demands that a policy gives up what it says.
func (w *world) mayLose(loser *box, d handshake.Verdict) {
	if loser.device && loser.repl.core.View(0).Primary {
		w.broken("a policy gives no Primary up", "%s: %s", names[loser.id], d)
	}
	if w.plan.Policy.Zero != handshake.DiscardZeroChanges || w.plan.Policy.One == handshake.DiscardSecondary {
		return
	}
	if q := loser.extra(); q != nil {
		w.broken("a policy gives up what it says", "%s, but write %d is only there: %s", names[loser.id], q.number, d)
	}
}

// giveUp lets the replica's data be overwritten, once that is stable.
func (r *replicator) giveUp(undo bool) error {
	version, err := r.core.Discard(r.b.clock(), undo, false)
	if err != nil {
		return err
	}
	r.b.gaveUp = true
	r.when(10*time.Second, func() bool { return r.core.Durable(version) || r.core.Problem() != nil }, func(bool) { r.reconnect() })
	r.run()
	return nil
}

// reconnect ends that the replica stands alone.
func (r *replicator) reconnect() {
	r.clash, r.alone = nil, false
	r.hurry()
}

// settling is what an operator does about sides that went apart.
type settling struct {
	since  time.Duration // when both had seen it; zero: they have not
	keep   *box
	paused time.Duration // until then the operator looks on
}

// settle lets an operator decide, once both sides stand alone: the one that
// stays is made Primary if it is not, the other one gives its data up.
func (w *world) settle() {
	s := &w.settling
	a, b := w.boxes[0].repl, w.boxes[1].repl
	if a == nil || b == nil || a.clash == nil && b.clash == nil {
		if a != nil && b != nil && w.boxes[0].truth == w.boxes[1].truth {
			*s = settling{}
		}
		return
	}
	if s.since == 0 && a.clash != nil && b.clash != nil {
		w.stats.Apart++
		dice := w.chance.people
		s.since, s.paused = w.now, w.now+dice.span(0, 3*time.Second)
		s.keep = w.boxes[dice.IntN(2)]
		if primary := w.primary(); primary != nil && !dice.one(3) {
			s.keep = primary
		}
		w.tell("both sides see that they went apart")
		for _, box := range w.boxes {
			box.truth.intact(box)
		}
	}
	if s.since != 0 && w.now >= s.paused && w.boxes[0].agent != nil && w.boxes[1].agent != nil {
		w.decide(s.keep, w.boxes[1-s.keep.id])
	}
}

// primary is the box that reigns, the newest if both do.
func (w *world) primary() (found *box) {
	reign := arbiter.Epoch(0)
	for _, b := range w.boxes {
		if b.repl == nil {
			continue
		}
		if v := b.repl.core.View(0); v.Primary && v.Reign > reign {
			found, reign = b, v.Reign
		}
	}
	return found
}

// decide takes the next step towards keeping one side.
func (w *world) decide(keep, lose *box) {
	switch {
	case lose.repl.core.View(0).Primary:
		lose.order(failover.OrderLeave)
		lose.stopped = true
	case !keep.repl.core.View(0).Primary:
		keep.order(failover.OrderGrabStale)
	case lose.gaveUp:
		keep.repl.reconnect()
	case lose.repl.clash != nil:
		if lose.stopped {
			lose.stopped = false
			lose.killAgent(time.Second)
		}
		w.tell("an operator keeps the data of %s", names[keep.id])
		w.stats.Resolved++
		if err := lose.repl.giveUp(true); err != nil {
			w.tell("(that is refused: %v)", err)
			return
		}
		keep.repl.reconnect()
	}
}

// blockAt is block n of the volume.
func blockAt(n int64) block.Range { return block.Range{Off: n * blockSize, Len: blockSize} }

// errNoRoom: the undo file's directory is full.
var errNoRoom = errors.New("no room for the undo file")

// saveUndo writes what is going to be overwritten into a file.
func (r *replicator) saveUndo(a *core.Action) {
	session := a.Version
	r.after(r.w.chance.people.span(time.Millisecond, 400*time.Millisecond), func() {
		err := r.keepUndo()
		if err != nil {
			r.w.tell("%s: %v", names[r.b.id], err)
			r.alone = true
			r.after(2*time.Second, r.reconnect) // an operator makes room
			err = fmt.Errorf("stands alone: %w", err)
		}
		r.core.UndoSaved(r.b.clock(), session, err)
		r.run()
	})
}
