package rehearsal

import (
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover"
)

// act carries an action of a machine out.
func (w *world) act(b *box, a failover.Action) {
	switch a := a.(type) {
	case failover.SendPrepare:
		w.ask(b, a.Voter, func(v *voter) failover.Event {
			reply, _ := v.reg.Prepare(w.now, a.Epoch, a.Known)
			return failover.Prepared{Voter: a.Voter, Epoch: a.Epoch, Reply: reply}
		}, failover.Prepared{Voter: a.Voter, Epoch: a.Epoch, Unreachable: true})
	case failover.SendAccept:
		w.ask(b, a.Voter, func(v *voter) failover.Event {
			reply, _ := v.reg.Accept(w.now, a.Proposal)
			reply.Volatile = a.Voter == b.id && !b.replica.Usable
			return failover.AcceptedBy{Voter: a.Voter, Proposal: a.Proposal, Reply: reply}
		}, failover.AcceptedBy{Voter: a.Voter, Proposal: a.Proposal, Unreachable: true})
	case failover.SendRenew:
		sent := w.now
		w.ask(b, a.Voter, func(v *voter) failover.Event {
			return failover.Renewed{Voter: a.Voter, Epoch: a.Epoch, Sent: sent, Reply: v.reg.Renew(w.now, a.Epoch, a.Term)}
		}, failover.Renewed{Voter: a.Voter, Epoch: a.Epoch, Unreachable: true})
	case failover.SendRelease:
		if w.isUp(a.Voter) {
			w.later(tick, b.id, a.Voter, func() { w.voter(a.Voter).reg.Release(a.Epoch) })
		}
	case failover.TellChosen:
		if b.replica.Primary && b.replica.Epoch == a.Chosen.Epoch {
			b.replica.Chosen, b.replica.WantShrink = a.Chosen, false
		}
	case failover.TellLease:
		b.lease = a.Until
	case failover.TellHandOver:
		if peer := 1 - b.id; w.isUp(peer) {
			w.later(2*tick, b.id, peer, func() { w.feed(w.nodes[peer], failover.HandOver(a)) })
		}
	case failover.Run:
		w.run(b, a)
	case failover.Fence:
		w.shoot(b)
	case failover.Note:
		w.note(b, Line{Kind: a.Kind, Text: a.Text, Reason: a.Reason})
	}
}

// shoot cuts the peer's power, unless the device is known to fail.
func (w *world) shoot(b *box) {
	why := b.fails[failover.StepFence]
	w.later(max(b.took[failover.StepFence], tick), b.id, b.id, func() {
		if why == "" {
			w.fail(Fault{Kind: Kill, Node: 1 - b.id})
		}
		w.feed(b, failover.Shot{Err: why})
	})
}

func (w *world) note(b *box, l Line) {
	if w.begin != 0 {
		l.At, l.Node = w.now-w.begin, w.name(int(b.id))
		w.lines = append(w.lines, l)
	}
}

// ask delivers a question and its answer, or tells that none will come.
func (w *world) ask(b *box, to arbiter.NodeID, answer func(*voter) failover.Event, none failover.Event) {
	if !w.isUp(to) || !w.reaches(b.id, to) || to != arbiter.Witness && w.nodes[to].down != "" {
		w.later(noReply, b.id, b.id, func() { w.feed(b, none) })
		return
	}
	w.later(tick, b.id, to, func() {
		ev := answer(w.voter(to))
		w.later(tick, to, b.id, func() { w.feed(b, ev) })
	})
}

// run carries a step of a course out, in the time that it took last.
func (w *world) run(b *box, a failover.Run) {
	took, known := b.took[a.Step]
	if a.Step == failover.StepFence && a.PeerAlive {
		took, known = 0, true // a peer that is heard is not fenced
	}
	failed := b.fails[a.Step]
	if a.Step == failover.StepFence && a.PeerAlive {
		failed = ""
	}
	w.note(b, Line{Kind: "step", Text: a.Step.String(), Step: a.Step, NamesTime: known, StepTook: took, StepAtMostTime: a.Timeout})
	w.later(max(took, tick), b.id, b.id, func() {
		if failed == "" {
			failed = b.perform(a, w)
		}
		w.feed(b, failover.StepDone{Step: a.Step, Err: failed})
	})
}

// perform does to the toy replica what the step does to the real one.
func (b *box) perform(a failover.Run, w *world) string {
	r := &b.replica
	switch a.Step {
	case failover.StepPromote:
		if b.down != "" {
			return "the replicator is not running"
		}
		r.Primary, r.Epoch, r.Created, r.DiskWhole, r.MayLack = true, a.Chosen.Epoch, false, true, ""
		if a.Chosen.Newer(r.Chosen) {
			r.Chosen = a.Chosen
		}
	case failover.StepAddress:
		b.address = true
	case failover.StepDropAddress, failover.StepLetGoAddress:
		b.address = false
	case failover.StepDemote, failover.StepLetGoIO:
		if p := w.nodes[1-b.id]; a.Step == failover.StepDemote && b.linked != 0 && p != nil {
			p.replica.MayLack = "" // all is flushed, and the peer is told
		}
		r.Primary, r.Epoch, r.Chosen, b.linked = false, 0, arbiter.Accepted{}, 0
		r.WantShrink, r.ReadyToGrow, r.MayYield, r.Remote, r.Connected = false, false, false, false, false
	}
	return ""
}

// TakeOverSteps is how long the steps of a take-over took, in all.
func TakeOverSteps(took map[failover.Step]time.Duration) time.Duration {
	sum := time.Duration(0)
	for s := failover.StepFence; s <= failover.StepServices; s++ {
		sum += took[s]
	}
	return sum
}
