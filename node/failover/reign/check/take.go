package check

import (
	"gemel/node/arbiter"
	"gemel/node/failover/reign"
)

// take changes the world by one step.
func (w *world) take(st step, mutant Mutant) {
	switch {
	case st.kind <= letGo:
		w.takeAgent(st, mutant)
	case st.kind <= deliverRecorded:
		w.takeMessage(st, mutant)
	default:
		w.takeReplica(st, mutant)
	}
	w.judge()
}

func (w *world) takeAgent(st step, mutant Mutant) {
	n, p := arbiter.NodeID(st.n), &w.props[st.n]
	switch st.kind {
	case campaign:
		w.spent.campaigns++
		w.send(n, p.Campaign(w.nextEpoch(st.n), w.regs[st.n].Record.Accepted), mutant)
	case again:
		w.send(n, p.Retry(), mutant)
	case shrink:
		w.spent.changes++
		w.send(n, p.Shrink(), mutant)
	case grow:
		w.spent.changes++
		w.send(n, p.Grow(), mutant)
	case hearFresh:
		if w.spare(st.n) {
			w.send(n, p.Heard(arbiter.Witness, w.regs[2].Record), mutant)
		}
	case restartAgent:
		w.spent.restarts++
		*p = reign.New(n, true)
		if own := w.regs[n].Record; w.reps[n].reign != 0 && own.Promised <= w.reps[n].reign {
			w.send(n, p.Resume(own), mutant)
			if w.reps[n].dead && mutant != CountFailedDisk {
				p.Mute()
			}
			w.send(n, p.Confirm(w.reps[n].chosen), mutant)
		}
	case yield:
		w.spent.changes++
		w.send(n, p.Yield(), mutant)
	case letGo:
		p.Abandon()
		w.demote(st.n)
	}
}

// demote loses what a replica does not keep on its disk.
func (w *world) demote(n uint8) {
	if w.reps[n].dead { // as it comes back
		w.regs[n] = w.kept[n]
		w.kept[n] = arbiter.Register{}
	}
	w.reps[n] = replica{data: w.reps[n].data}
	if w.feeds(n) {
		w.link = link{}
	}
}

func (w *world) takeMessage(st step, mutant Mutant) {
	epoch := arbiter.Epoch(st.a + firstEpoch)
	switch st.kind {
	case deliverPrepare:
		if w.reps[min(st.n, 1)].dead && st.n < 2 { // a promise that is not kept is not given
			return
		}
		reply := w.vote(st.n, epoch, mutant)
		w.promises[epoch.Owner()][st.n] = promise{epoch: epoch, ok: reply.OK, record: reply.Record}
		if arbiter.NodeID(st.n) == epoch.Owner() { // on one box the answer comes at once, or the agent dies
			w.takeMessage(step{deliverPromise, st.n, st.n, 0}, mutant)
		}
	case deliverAccept:
		w.record(st.n, proposalOf(epoch, st.b), mutant)
		if arbiter.NodeID(st.n) == epoch.Owner() {
			w.takeMessage(step{deliverRecorded, st.n, st.n, 0}, mutant)
		}
	case deliverPromise:
		m := w.promises[st.n][st.a]
		w.promises[st.n][st.a] = promise{}
		reply := arbiter.PrepareReply{OK: m.ok, Record: m.record}
		w.send(arbiter.NodeID(st.n), w.props[st.n].Promise(arbiter.NodeID(st.a), m.epoch, reply), mutant)
	case deliverRecorded:
		m := w.recorded[st.n][st.a]
		w.recorded[st.n][st.a] = recorded{}
		reply := arbiter.AcceptReply{OK: m.ok, Record: m.record, Volatile: m.volatile}
		w.send(arbiter.NodeID(st.n), w.props[st.n].Accepted(arbiter.NodeID(st.a), m.proposal, reply), mutant)
	}
}

// vote asks voter to promise epoch; the blind one does not see its own set.
func (w *world) vote(voter uint8, epoch arbiter.Epoch, mutant Mutant) arbiter.PrepareReply {
	reg := &w.regs[voter]
	held := reg.Record.Accepted
	if mutant == BlindVote && held.Version != 0 {
		reg.Record.Accepted.Set = arbiter.Both
	}
	reply, _ := reg.Prepare(0, epoch, w.known[epoch-firstEpoch])
	reg.Record.Accepted = held
	return reply
}

// unable reports that voter does not record p: its disk is dead, or it is the proposer's own register, which lies in
// its replica and records a growth of its own reign only while that is ready for it.
func (w *world) unable(voter uint8, p arbiter.Accepted, mutant Mutant) bool {
	owner := uint8(p.Epoch.Owner())
	rep := &w.reps[owner]
	if voter != owner {
		return voter < 2 && w.reps[voter].dead
	}
	careless := mutant == GrowEarly || mutant == GrowUnchecked
	known := w.regs[voter].Record.Accepted == p
	return p.Set == arbiter.Both && !known && !careless && (rep.reign != p.Epoch || !rep.ready)
}

// record asks voter to record p.
func (w *world) record(voter uint8, p arbiter.Accepted, mutant Mutant) {
	owner := uint8(p.Epoch.Owner())
	rep, reg := &w.reps[owner], &w.regs[voter]
	if w.unable(voter, p, mutant) {
		return
	}
	reply, _ := reg.Accept(0, p)
	if reply.Refusal == arbiter.RefusedConflict && voter != owner { // own: an agent restarted under its own request
		w.violation = 1
	}
	if voter == owner && reply.OK && rep.reign == p.Epoch {
		if mutant == ForgetOpenGrowth {
			rep.open = 0
		}
		rep.open |= p.Set
	}
	if reply.OK && p.Set == arbiter.Both && p.Newer(w.offered) {
		w.offered = p
	}
	w.recorded[owner][voter] = recorded{proposal: p, ok: reply.OK, record: reply.Record, volatile: voter == owner && rep.dead && mutant != CountFailedDisk}
}

func (w *world) takeReplica(st step, mutant Mutant) {
	r := &w.reps[st.n]
	switch st.kind {
	case promote:
		w.demote(st.n)
		c := w.props[st.n].Chosen()
		r.reign, r.chosen = c.Epoch, c
	case tell:
		r.chosen = w.props[st.n].Chosen()
		if w.regs[st.n].Record.Accepted == r.chosen {
			r.open = 0
		}
	case write:
		w.issue(st.n)
	case complete:
		r.flying &^= 1 << st.a
		w.acked |= 1 << st.a
	case becomeReady:
		r.ready = true
	case crash:
		w.spent.crashes++
		w.link = link{}
		w.demote(st.n)
	case failDisk:
		w.spent.disks++
		r.dead, r.ready, w.kept[st.n] = true, false, w.regs[st.n]
	case loseWitness:
		w.spent.losses++
		fresh := mutant != WitnessForgets && mutant != ReturnedWitness
		w.regs[2] = arbiter.Register{Record: arbiter.Record{Fresh: fresh}}
	default:
		w.takeLink(st, mutant)
	}
}

func (w *world) issue(n uint8) {
	bit := uint8(1) << w.writes
	w.writes++
	if !w.reps[n].dead {
		w.reps[n].data |= bit
	}
	w.reps[n].flying |= bit
	if w.feeds(n) {
		w.link.sent |= bit
	}
}

func (w *world) takeLink(st step, mutant Mutant) {
	l, source, peer := &w.link, &w.reps[w.link.source], &w.reps[1-w.link.source]
	switch st.kind {
	case connect:
		w.hello(st.n)
	case resync:
		peer.data = source.data
		l.resynced, l.sent, l.acks = true, 0, l.acks|source.data
	case deliverWrite:
		peer.data |= 1 << st.a
		l.sent &^= 1 << st.a
		l.acks |= 1 << st.a
	case deliverAck:
		l.acks &^= 1 << st.a
		source.onPeer |= 1 << st.a
	case cut:
		w.spent.cuts++
		source.ready = false
		if mutant == AckBeforeShrink {
			source.chosen.Set, source.open = arbiter.Only(l.source), 0
		}
		*l = link{}
	}
}

// hello connects Primary n to its peer, which promises n's epoch first and is
// Secondary from then on.
func (w *world) hello(n uint8) {
	epoch := w.reps[n].reign
	w.regs[1-n].Raise(epoch)
	if w.reps[1-n].reign != 0 {
		w.demote(1 - n)
	}
	w.reps[n].onPeer = 0
	w.link = link{up: true, source: arbiter.NodeID(n), epoch: epoch}
}

// judge keeps the newest set a proposer knows to be chosen, and looks at how it
// came about. A growth that some voter recorded is in force although it is not
// chosen: the peer may be elected by it.
func (w *world) judge() {
	for n := range w.props {
		c := w.props[n].Chosen()
		switch {
		case c.Version == 0 || c == w.best:
		case c.Newer(w.best):
			if c.Epoch > w.best.Epoch && w.best.Version != 0 && !w.best.Set.Has(arbiter.NodeID(n)) &&
				!w.offered.Newer(w.best) {
				w.violation = 2
			}
			w.best = c
		case c.Epoch < w.best.Epoch && !c.Set.Has(w.best.Epoch.Owner()) && !w.offered.Newer(c):
			w.violation = 3
		}
	}
}
