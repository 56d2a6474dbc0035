package sim

import (
	"gemel/node/block"
	"gemel/node/replicator/resync"
)

// What an operator does with the commands for protocol, verify and resync.

// setProtocol is an operator's order to both replicators, in worlds in which
// writes may complete early.
func (w *world) setProtocol(p block.Protocol) {
	if !w.plan.Early {
		return
	}
	w.protocol = p
	for _, b := range w.boxes {
		if b.repl != nil {
			b.repl.core.SetProtocol(p)
			b.repl.run()
		}
	}
}

// verify is an operator's order to compare from block f.N on.
func (w *world) verify(f Fault) {
	for _, b := range w.boxes {
		if b.repl != nil && b.device { // a disk that lies is nothing to mend the other from
			repair := f.N%2 == 0 && b.id != w.plan.Liar
			_ = b.repl.core.VerifyStart(b.clock(), int64(f.N)*blockSize, w.plan.ResyncRate, repair)
			b.repl.run()
		}
	}
}

// tendVerify is an operator's order to the verify that runs, if one does.
func (w *world) tendVerify(f Fault) {
	for _, b := range w.boxes {
		if b.repl == nil || !b.device {
			continue
		}
		switch core := b.repl.core; f.N {
		case 0:
			_ = core.VerifyPause(b.clock())
		case 1:
			_ = core.VerifyResume(b.clock(), 0)
		default:
			_ = core.VerifyStop(b.clock())
		}
		b.repl.run()
	}
}

// tendResync holds or bounds every resync for a while.
func (w *world) tendResync(f Fault) (over func()) {
	whole := resync.Limits{MaxRate: w.plan.ResyncRate}
	for _, b := range w.boxes {
		switch f.N {
		case 0:
			b.tended(true, whole)
		case 1:
			b.tended(false, resync.Limits{MaxRate: 200 << 10})
		default:
			b.tended(false, resync.Limits{MinRate: 1 << 20, MaxRate: 4 << 20})
		}
	}
	return func() {
		for _, b := range w.boxes {
			b.tended(false, whole)
		}
	}
}

func (b *box) tended(paused bool, l resync.Limits) {
	if b.repl == nil {
		return
	}
	b.repl.core.ResyncPause(b.clock(), paused)
	b.repl.core.ResyncLimits(b.clock(), l)
	b.repl.run()
}

// invalidate has a Secondary filled anew, as package volume lets an operator do
// it: the Primary is connected and whole.
func (w *world) invalidate(b *box) {
	if b.repl == nil || !b.spare() || !w.boxes[1-b.id].on {
		return
	}
	if v := b.repl.core.View(b.clock()); v.Primary || !v.Connected || !v.PeerState.Primary || v.Problem != nil {
		w.tell("(that is refused: it may be the only good copy)")
		return
	}
	_, _ = b.repl.core.Discard(b.clock(), false, true)
	b.repl.run()
}
