package reign

import (
	"time"

	"gemel/node/arbiter"
)

// vote is what a proposer knows of one voter in this epoch.
type vote struct {
	promised    bool
	accepted    bool // the newest set
	unreachable bool // did not answer the last question
	outdated    bool // refused because its newest set lacks this node
	fresh       bool // lost its memory; see mayJoin
	wait        time.Duration
	record      arbiter.Record // as of its promise or refusal
	joinFrom    uint32         // fresh: the first version that may be its first
}

// Promise takes a voter's answer to SendPrepare.
func (p *Proposer) Promise(voter arbiter.NodeID, epoch arbiter.Epoch, reply arbiter.PrepareReply) []Message {
	p.see(reply.Record)
	if epoch != p.epoch || voter >= p.voters() {
		return nil
	}
	switch p.state {
	case Preparing:
		return p.promised(voter, reply)
	case Accepting, Reigning:
		return p.joined(voter, reply)
	}
	return nil
}

func (p *Proposer) promised(voter arbiter.NodeID, reply arbiter.PrepareReply) []Message {
	v := &p.votes[voter]
	if v.promised {
		return nil // a repeated answer
	}
	v.record, v.wait, v.unreachable = reply.Record, reply.Wait, false
	v.promised, v.fresh = reply.OK, reply.Record.Fresh
	v.outdated = reply.Refusal == arbiter.RefusedOutdated
	if !v.fresh && reply.Record.Accepted.Epoch.Owner() != voter { // its own sets may be undecided
		p.known = newer(p.known, reply.Record.Accepted)
	}
	v.joinFrom = 1
	if !reply.OK {
		// Nothing is repeated at once: a refusal would be answered by a
		// question for ever. Retry does it in its time.
		if voter == p.self && p.ownVote() {
			return p.askOthers()
		}
		return nil
	}
	if voter == p.self {
		asked := p.confirm()
		if !p.byHand && p.elected() { // by a proof that the peer is off
			return p.stand()
		}
		return asked
	}
	if !p.byHand && p.elected() {
		return p.stand()
	}
	if !p.votes[p.self].promised && p.due(p.self) {
		return p.one(p.self)
	}
	return nil
}

// confirm asks the others (again) now that the own register promised. A voter
// that gave its promise before, and lost its memory since, would not know of it;
// it is found out here, and from now on the own register refuses what such a
// voter would need to be taken back by the other node.
func (p *Proposer) confirm() []Message {
	for i := range p.votes[:p.voters()] {
		if arbiter.NodeID(i) != p.self {
			p.votes[i].promised = false
		}
	}
	return p.Retry()
}

func (p *Proposer) askOthers() (out []Message) {
	for _, m := range p.Retry() {
		if m.Voter != p.self {
			out = append(out, m)
		}
	}
	return out
}

// joined takes the promise of a voter that needs one before it can record: a
// fresh one that the others vouch for.
func (p *Proposer) joined(voter arbiter.NodeID, reply arbiter.PrepareReply) []Message {
	v := &p.votes[voter]
	v.unreachable = false
	if reply.OK {
		v.promised = true
		return p.one(voter)
	}
	p.superseded = p.superseded || reply.Record.Promised > p.epoch && p.member(voter, reply.Record)
	return nil
}

func (p *Proposer) one(voter arbiter.NodeID) []Message {
	if m, ok := p.ask(voter); ok {
		return []Message{m}
	}
	return nil
}

// elected reports whether the promises so far make this node the winner: some
// majority with this node's own register in it knows no newer set than one that
// holds this node. Any majority will do, for a chosen set is known in each.
func (p *Proposer) elected() bool {
	if p.born() {
		p.birth = true
		return true
	}
	self := p.votes[p.self]
	if !self.promised || self.fresh {
		return false
	}
	for i, v := range p.votes[:p.voters()] {
		if arbiter.NodeID(i) == p.self || !v.promised || v.fresh || !p.member(arbiter.NodeID(i), v.record) {
			continue
		}
		if newer(self.record.Accepted, v.record.Accepted).Set.Has(p.self) {
			return true
		}
	}
	return p.mayStandForPeer(self.record.Accepted)
}

// born reports a volume's birth: every voter promised and none has any memory.
// A birth that broke off after this node's own register recorded it, and before
// any other did, counts as well; otherwise nobody could ever finish it.
func (p *Proposer) born() bool {
	for i, v := range p.votes[:p.voters()] {
		own := v.record.Accepted
		begun := arbiter.NodeID(i) == p.self && own.Version == 1 &&
			own.Set == arbiter.Only(p.self) && own.Epoch.Owner() == p.self
		if !v.promised || !v.fresh && !begun {
			return false
		}
	}
	return true
}

func newer(a, b arbiter.Accepted) arbiter.Accepted {
	if b.Newer(a) {
		return b
	}
	return a
}

// stand asks to be recorded as the only member.
func (p *Proposer) stand() []Message {
	p.state, p.version, p.rule = Accepting, 0, p.basis()
	p.entrusted = p.standsForPeer(p.votes[p.self].record.Accepted)
	for i := range p.votes { // what was found out is decided on
		p.votes[i].record, p.votes[i].wait, p.votes[i].unreachable = arbiter.Record{}, 0, false
	}
	p.propose(arbiter.Only(p.self))
	return p.Retry()
}

// Decide ends a campaign by hand: the operator's word replaces the votes that
// did not come. It does nothing, and Refusal tells why, when a voter refused,
// when the own register did not promise, or when a voter knows a newer set
// without this node (unless the word covers stale data).
func (p *Proposer) Decide() []Message {
	if p.state != Preparing || !p.byHand || p.Refusal().Kind != None {
		return nil
	}
	p.birth = p.born()
	p.votes[p.self].fresh = p.votes[p.self].fresh && p.birth // the word says that the data is what the volume was
	p.missing = p.promises() < p.majority()
	return p.stand()
}

// promises counts the promises of voters with a memory.
func (p *Proposer) promises() (n int) {
	for _, v := range p.votes[:p.voters()] {
		if v.promised && !v.fresh {
			n++
		}
	}
	return n
}

// Accepted takes a voter's answer to SendAccept.
func (p *Proposer) Accepted(voter arbiter.NodeID, proposal arbiter.Accepted, reply arbiter.AcceptReply) []Message {
	p.see(reply.Record)
	active := p.state == Accepting || p.state == Reigning
	if !active || voter >= p.voters() || proposal.Epoch != p.epoch {
		return nil
	}
	v := &p.votes[voter]
	v.unreachable = false
	switch {
	case reply.Record.Promised > p.epoch:
		p.superseded = p.superseded || p.member(voter, reply.Record)
		return nil
	case !reply.OK && reply.Record.Fresh:
		return p.forgot(voter)
	case !reply.OK && voter == p.self && proposal == p.pending && reply.Record.Accepted.Epoch == p.epoch:
		// A request of this node's former agent came in after Resume looked.
		// Nobody else saw ours, so what the register holds is to be proposed.
		return p.resumeFrom(reply.Record)
	case !reply.OK || proposal != p.newest() || v.accepted:
		return nil
	}
	v.accepted = true
	p.mute = p.mute || reply.Volatile && voter == p.self
	if v.fresh && p.mayJoin(voter) {
		v.fresh = false
	}
	return p.counted(voter)
}

// resumeFrom is Resume in the middle of a reign, whose rule stays known.
func (p *Proposer) resumeFrom(record arbiter.Record) []Message {
	known, rule := !p.unsure, p.rule
	out := p.Resume(record)
	if known && p.rule == rule {
		p.unsure = false
	}
	return out
}

// counted goes on after voter recorded the newest set.
func (p *Proposer) counted(voter arbiter.NodeID) []Message {
	if p.decided() {
		p.choose()
		return p.Retry()
	}
	if voter == p.self {
		return p.Retry() // now the others may be asked
	}
	return nil
}

func (p *Proposer) choose() {
	if p.pending.Rule != p.rule {
		p.votes[arbiter.Witness] = vote{} // asked next, if it is one that counts
	}
	p.chosen, p.pending = p.pending, arbiter.Accepted{}
	p.rule, p.unsure = p.chosen.Rule, false
	p.Assure(p.chosen)
	p.open = 0
	p.state = Reigning
	p.missing = false
	if p.birth {
		for i := range p.votes {
			p.votes[i].fresh = p.votes[i].fresh && !p.votes[i].accepted
		}
	}
	if p.someoneWaitsToJoin() {
		p.propose(p.chosen.Set)
	}
}

// acceptances counts the voters that recorded the pending set and whose word
// counts: all at a birth, those with a memory later, the own one unless it is mute.
func (p *Proposer) acceptances() (n int) {
	for i, v := range p.votes[:p.voters()] {
		if v.accepted && (!v.fresh || p.atBirth()) && !(p.mute && arbiter.NodeID(i) == p.self) {
			n++
		}
	}
	return n
}

func (p *Proposer) atBirth() bool { return p.birth && p.state == Accepting }

// need is how many acceptances make the pending set chosen.
func (p *Proposer) need() int {
	if p.missing {
		return max(1, p.promises()) // the operator's word stands for the rest
	}
	return p.majority()
}

// majority is 2 of 3, or 2 of 2. Of two voters of which the other lost its
// memory, one is enough: nothing was ever chosen without this node.
func (p *Proposer) majority() int {
	if p.rule.Alone() && p.votes[1-p.self].fresh && !p.atBirth() {
		return 1
	}
	return 2
}

// forgot notes that voter has no memory although it had one before. It may
// still have promised to the peer what it forgot, so it is taken back only with
// a set proposed from now on: if the peer had such a promise, its own register
// would have given one too, and would refuse that set.
func (p *Proposer) forgot(voter arbiter.NodeID) []Message {
	v := &p.votes[voter]
	if v.fresh || voter == p.self {
		return nil
	}
	v.fresh, v.promised, v.accepted, v.joinFrom = true, false, false, p.version+1
	if p.state == Reigning && !p.hasPending() && !p.superseded {
		p.propose(p.chosen.Set)
		return p.Retry()
	}
	return nil
}

// mayJoin reports whether a fresh voter may be given the newest set: it is
// chosen by the others, and was proposed after the voter's loss became known.
func (p *Proposer) mayJoin(voter arbiter.NodeID) bool {
	return !p.hasPending() && p.chosen.Version >= p.votes[voter].joinFrom
}

func (p *Proposer) someoneWaitsToJoin() bool {
	for _, v := range p.votes[:p.voters()] {
		if v.fresh && v.joinFrom > p.chosen.Version {
			return true
		}
	}
	return false
}

// Heard takes a voter's record from any other answer, such as a lease renewal:
// it shows a higher promise, a lost memory, or a set that lags behind.
func (p *Proposer) Heard(voter arbiter.NodeID, record arbiter.Record) []Message {
	p.see(record)
	active := p.state == Accepting || p.state == Reigning
	if !active || voter >= p.voters() {
		return nil
	}
	v := &p.votes[voter]
	switch {
	case record.Promised > p.epoch:
		p.superseded = p.superseded || p.member(voter, record)
	case record.Fresh && !p.atBirth():
		return p.forgot(voter)
	}
	v.unreachable = false
	return nil
}

// SawRecord takes a record of an unnamed voter; it shows a higher promise only.
func (p *Proposer) SawRecord(record arbiter.Record) {
	p.see(record)
	active := p.state == Accepting || p.state == Reigning
	p.superseded = p.superseded || active && record.Promised > p.epoch
}

// Unreachable notes that voter did not answer a question of epoch.
func (p *Proposer) Unreachable(voter arbiter.NodeID, epoch arbiter.Epoch) {
	if epoch == p.epoch && voter < p.voters() {
		p.votes[voter].unreachable = true
	}
}

func (p *Proposer) see(record arbiter.Record) {
	p.highest = max(p.highest, record.Promised, record.Accepted.Epoch)
}
