package reign

import "gemel/node/arbiter"

// Every set carries the rule by which it and the next one are chosen: which third
// voter counts, or that there is none.
//
//   - A change of rule is a set of both nodes that both of them recorded; nothing
//     else makes it chosen. So it is chosen by the old rule and by the new one,
//     and afterwards no node's own register knows an older rule. A third voter is
//     asked only after that.
//   - A third voter counts in a campaign only if its newest set is of the very rule
//     that the candidate's own register holds: then it was asked, hence both nodes
//     hold that rule. One that was given up, and remembers what was then, does not
//     count.
//   - From one third voter to another the way leads over none, so that the old one
//     is needed no more.
//   - Without a third voter a proof that the peer is off stands for the peer's vote.
//     A reigning node may use it at once. A candidate may only if, while its box was
//     on, it was assured that the set its own register holds was chosen: a peer that
//     went on without this node could do so only after this box was off, or with
//     this node's vote. That holds for both of its questions. A proof is void as soon as the peer is heard, and before
//     this node assures the peer of anything.

// voters is how many may be asked: 3, or 2.
func (p *Proposer) voters() arbiter.NodeID {
	if p.CountsThird() {
		return 3
	}
	return 2
}

// CountsThird reports whether the third voter that can be asked here is the one on
// record.
func (p *Proposer) CountsThird() bool {
	return p.third != arbiter.NoThird && p.rule.Third == p.third
}

// Rule returns the rule of the newest chosen set, or of the one that a campaign
// rests on.
func (p *Proposer) Rule() arbiter.Rule { return p.rule }

// ruleOf returns the rule of a set; where nothing was ever recorded, it is to be
// what is configured.
func (p *Proposer) ruleOf(a arbiter.Accepted) arbiter.Rule {
	if a.Version == 0 {
		return arbiter.Rule{Third: p.third}
	}
	return a.Rule
}

// Change proposes third, which must be the one that can be asked here or NoThird,
// as the third voter from now on; from another one it first leads to none. It does nothing
// unless both nodes are chosen, nothing is undecided, and it is another rule. The
// peer must have been asked whether it wants the same.
func (p *Proposer) Change(third arbiter.Third) []Message {
	if p.state != Reigning || p.superseded || p.hasPending() || p.unsure || p.chosen.Set != arbiter.Both || p.mute {
		return nil
	}
	if p.rule.Third == third || third != arbiter.NoThird && third != p.third {
		return nil
	}
	if !p.rule.Alone() {
		third = arbiter.NoThird
	}
	p.propose(arbiter.Both)
	p.pending.Rule = p.rule.Next(third)
	return p.Retry()
}

// changing reports whether only both nodes can make the pending set chosen.
func (p *Proposer) changing() bool {
	return p.hasPending() && (p.unsure || p.pending.Rule != p.rule)
}

// Assure tells that chosen was said to be chosen by the peer, which reigned then
// and knew this start of this box's agent.
func (p *Proposer) Assure(chosen arbiter.Accepted) {
	if chosen.Rule.Alone() {
		p.assured = newer(p.assured, chosen)
	}
}

// Assured returns the newest set that is known to be chosen while this box was on.
func (p *Proposer) Assured() arbiter.Accepted { return p.assured }

// PeerOff tells that the peer was proved to be off, or (false) that the proof is
// void: the peer was heard, or it is too old.
func (p *Proposer) PeerOff(proved bool) []Message {
	p.proved = proved
	if !proved {
		return nil
	}
	switch p.state {
	case Preparing:
		if !p.byHand && p.elected() {
			return p.stand()
		}
		return p.Retry()
	case Accepting, Reigning:
		return p.counted(arbiter.Witness)
	}
	return nil
}

// Proves reports whether a proof that the peer is off would help now.
func (p *Proposer) Proves() bool {
	switch p.state {
	case Preparing:
		return p.standsForPeer(p.known)
	case Accepting, Reigning:
		return p.hasPending() && !p.changing() && !p.votes[1-p.self].accepted && p.mayLeaveOut()
	}
	return false
}

// mayStandForPeer reports whether the peer's vote may be taken for given in a
// campaign of a node whose register holds own.
func (p *Proposer) mayStandForPeer(own arbiter.Accepted) bool {
	return p.proved && p.standsForPeer(own)
}

// standsForPeer: own is the very set that is known to be chosen, or what this node
// itself proposed after it; nothing else can have been proposed since.
func (p *Proposer) standsForPeer(own arbiter.Accepted) bool {
	mine := own.Epoch == p.assured.Epoch && own.Epoch.Owner() == p.self && own.Rule == p.assured.Rule
	return own.Rule.Alone() && own.Version != 0 && (own == p.assured || mine) && own.Set.Has(p.self) && p.assured.Set.Has(p.self)
}

// mayLeaveOut reports whether a proof may stand for the peer's record of a set. One
// that was elected by the peer's promise alone needs that record: since the promise
// the peer may have gone on by a proof of a time before this box was on.
func (p *Proposer) mayLeaveOut() bool {
	return p.rule.Alone() && (p.state == Reigning || p.entrusted)
}

// decided reports whether the pending set is chosen.
func (p *Proposer) decided() bool {
	self, peer := &p.votes[p.self], &p.votes[1-p.self]
	switch {
	case !p.hasPending() || !self.accepted:
		return false
	case p.changing():
		return peer.accepted && !peer.fresh && !p.mute
	}
	n := p.acceptances()
	if p.proved && !peer.accepted && p.mayLeaveOut() {
		n++
	}
	return n >= p.need()
}

// member reports whether a record of the third voter was made under the rule in
// force; otherwise what it promised is of no account.
func (p *Proposer) member(voter arbiter.NodeID, record arbiter.Record) bool {
	return voter != arbiter.Witness || record.Fresh || record.Accepted.Rule == p.rule
}

// basis is the rule of a reign that begins: of the newest set in the promises.
func (p *Proposer) basis() arbiter.Rule {
	newest := newer(p.newestKnown(), p.votes[p.self].record.Accepted)
	if p.votes[p.self].fresh {
		newest = p.newestKnown()
	}
	return p.ruleOf(newest)
}
