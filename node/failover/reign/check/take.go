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
		own := w.regs[st.n].Record.Accepted
		if mutant == AssuredOfOlder && p.Assured().Version != 0 {
			own = p.Assured()
		}
		w.send(n, p.Campaign(w.nextEpoch(st.n), own), mutant)
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
			w.send(n, p.Heard(arbiter.Witness, w.regs[w.third[st.n]].Record), mutant)
		}
	case restartAgent:
		w.restartAgent(st.n, mutant)
	case yield:
		w.spent.changes++
		w.send(n, p.Yield(), mutant)
	case changeRule:
		w.send(n, p.Change(w.identity(int(n))), mutant)
	case assure:
		w.assure(st.n, mutant)
	case shoot:
		w.shoot(st.n, mutant)
	case askReboot:
		w.askReboot(st, mutant)
	case letGo:
		p.Abandon()
		w.demote(st.n)
	}
}

// restartAgent starts n's agent again, with its new configuration if it has one.
func (w *world) restartAgent(n uint8, mutant Mutant) {
	node, p := arbiter.NodeID(n), &w.props[n]
	if w.later && n == 1 {
		w.later, w.third[1] = false, w.third[0]
	} else {
		w.spent.restarts++
	}
	*p = reign.New(node, w.identity(int(n)))
	if own := w.regs[n].Record; w.reps[n].reign != 0 && own.Promised <= w.reps[n].reign {
		w.send(node, p.Resume(own), mutant)
		if w.reps[n].dead && mutant != CountFailedDisk {
			p.Mute()
		}
		w.send(node, p.Confirm(w.reps[n].chosen), mutant)
	}
}

// assure lets n's agent tell its peer's what is chosen; both hear each other.
func (w *world) assure(n uint8, mutant Mutant) {
	if mutant != KeepProof {
		w.props[0].PeerOff(false)
		w.props[1].PeerOff(false)
	}
	w.props[1-n].Assure(w.props[n].Chosen())
}

// shoot has the peer's power cut, and gives n the proof.
func (w *world) shoot(n uint8, mutant Mutant) {
	w.spent.shots++
	if !w.lies && !w.off[1-n] {
		w.cutPower(1 - n)
	}
	w.send(arbiter.NodeID(n), w.props[n].PeerOff(true), mutant)
}

// askReboot has the peer reboot itself, or say so. It is up again before anybody looks, and who asked knows no more than
// before.
func (w *world) askReboot(st step, mutant Mutant) {
	w.spent.requests++
	if st.a == 0 {
		w.cutPower(1 - st.n)
		w.off[1-st.n] = false
	}
	if mutant == RebootProves {
		w.send(arbiter.NodeID(st.n), w.props[st.n].PeerOff(true), mutant)
	}
}

// cutPower ends everything of a box that is not on its disk.
func (w *world) cutPower(n uint8) {
	if w.link.up {
		w.reps[w.link.source].ready, w.link = false, link{}
	}
	w.demote(n)
	w.off[n], w.props[n] = true, reign.New(arbiter.NodeID(n), w.identity(int(n)))
	w.promises[n], w.recorded[n] = [3]promise{}, [3]recorded{}
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
		if w.deaf(st.n, epoch) {
			return
		}
		w.promises[epoch.Owner()][min(st.n, witness)] = promise{epoch: epoch, ok: reply.OK, record: reply.Record}
		if arbiter.NodeID(st.n) == epoch.Owner() { // on one box the answer comes at once, or the agent dies
			w.takeMessage(step{deliverPromise, st.n, st.n, 0}, mutant)
		}
	case deliverAccept:
		w.record(st.n, w.proposalOf(epoch, st.b), mutant)
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

// deaf reports that nobody hears voter's answer: the owner is off, or asks another
// third voter now.
func (w *world) deaf(voter uint8, epoch arbiter.Epoch) bool {
	owner := epoch.Owner()
	return w.off[owner] || voter >= witness && voter != w.third[owner]
}

// vote asks voter to promise epoch; the blind one does not see its own set.
func (w *world) vote(voter uint8, epoch arbiter.Epoch, mutant Mutant) arbiter.PrepareReply {
	reg := &w.regs[voter]
	held := reg.Record.Accepted
	if mutant == BlindVote && held.Version != 0 {
		reg.Record.Accepted.Set = arbiter.Both
	}
	if own := w.props[epoch.Owner()].Assured(); mutant == AssuredOfOlder && voter == uint8(epoch.Owner()) && own.Version != 0 {
		reg.Record.Accepted = own
	}
	reply, _ := reg.Prepare(0, epoch, w.known[epoch-firstEpoch])
	reg.Record.Accepted = held
	if mutant == CountGivenUp && voter >= witness {
		reply.Record.Accepted.Rule = w.regs[epoch.Owner()].Record.Accepted.Rule
	}
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
	if w.deaf(voter, p.Epoch) {
		return
	}
	if mutant == ChangeUnasked && voter == owner && reply.OK && w.props[owner].Rule() != p.Rule {
		w.recorded[owner][1-owner] = recorded{proposal: p, ok: true, record: reply.Record}
	}
	w.recorded[owner][min(voter, witness)] = recorded{proposal: p, ok: reply.OK, record: reply.Record, volatile: voter == owner && rep.dead && mutant != CountFailedDisk}
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
	case cutPower:
		w.spent.powers++
		w.cutPower(st.n)
	case switchOn:
		w.off[st.n] = false
		if mutant == AssuredBefore {
			w.props[st.n].Assure(w.regs[st.n].Record.Accepted)
		}
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
