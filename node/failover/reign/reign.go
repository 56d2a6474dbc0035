// Package reign is the proposer's side of the safety core: one node's way to
// become and stay Primary by the votes of two nodes and a witness. A Proposer
// turns replies of the voters into messages to them; a Lease turns grants into
// a deadline. Both are plain comparable values without clock, I/O or
// randomness. The package does not decide when to campaign, shrink or grow:
// node/failover does.
//
// Three rules make it safe (the explicit-state check in package check tries to
// break them):
//
//   - Self first. A set goes to the node's own register before it goes to
//     others, and at most one set is proposed per epoch and version. So whatever
//     another voter knows of this node's reign, its own register knows too, and
//     a restarted agent goes on from there. Promises of others count only when
//     they were asked for after the own register promised.
//   - A voter that lost its memory (Fresh) counts for nothing until a set that
//     was proposed after its loss became known is chosen by the others.
//   - A set is chosen when 2 of 3 recorded it. Until then every set proposed
//     since the last chosen one is in force as well.
//
// Who the third voter is stands in every set, see rule.go: it is changed on a
// living pair, and a pair without one takes a proof that the peer is off.
package reign

import "gemel/node/arbiter"

// State is where a proposer stands.
type State uint8

// States. Campaign and ByHand lead from any state to Preparing; Abandon leads
// from any state to Idle.
const (
	Idle      State = iota
	Preparing       // collects promises
	Accepting       // elected; asks to be recorded as {self}
	Reigning        // {self} was chosen; shrinks and grows from here
)

func (s State) String() string {
	return [...]string{"idle", "preparing", "accepting", "reigning"}[s]
}

// Kind says what a Message asks.
type Kind uint8

// Kinds of messages.
const (
	SendPrepare Kind = iota + 1 // Epoch is set
	SendAccept                  // Proposal is set, and Epoch to its epoch
)

// Message is a request to a voter. It may be lost, repeated and late.
type Message struct {
	Kind     Kind
	Voter    arbiter.NodeID
	Epoch    arbiter.Epoch
	Proposal arbiter.Accepted
	Known    arbiter.Accepted // SendPrepare: the newest set seen so far
}

// Proposer is one node's side of the votes on one volume.
type Proposer struct {
	self  arbiter.NodeID
	third arbiter.Third // that can be asked here

	state State
	epoch arbiter.Epoch

	votes [3]vote

	byHand  bool // an operator's word replaces missing votes
	stale   bool // and allows data that is known not to be current
	missing bool // the word was needed: fewer than a majority promised
	birth   bool

	rule      arbiter.Rule     // of the newest chosen set, or of the one that the campaign rests on
	unsure    bool             // whether the rule of the newest recorded set is chosen
	proved    bool             // the peer is off
	entrusted bool             // elected with the data that this node was assured of
	assured   arbiter.Accepted // newest set that is known to be chosen, while this box was on

	mute bool // the own register is on a disk that failed: asked first, not counted

	chosen  arbiter.Accepted
	pending arbiter.Accepted // Version zero: none
	version uint32           // highest proposed in this epoch
	open    arbiter.Set      // union of the sets proposed since chosen

	highest    arbiter.Epoch
	known      arbiter.Accepted // newest set seen in this campaign, for the voters that were away
	superseded bool
}

// New returns an idle proposer of node self that can ask third as the third
// voter. It does so while the recorded rule names it; of two voters it takes both.
func New(self arbiter.NodeID, third arbiter.Third) Proposer {
	return Proposer{self: self, third: third, rule: arbiter.Rule{Third: third}}
}

// Campaign starts asking for promises. epoch must belong to this node and be
// above Highest; a campaign below only wastes the voters' time. own is the set in
// this node's own register.
func (p *Proposer) Campaign(epoch arbiter.Epoch, own arbiter.Accepted) []Message {
	p.restart(epoch, own)
	return p.Retry()
}

// ByHand starts a campaign in which an operator's word replaces missing votes,
// though not refusals. When the voters had time to answer, Decide ends it. With
// stale the word also covers data that is known not to be current.
func (p *Proposer) ByHand(epoch arbiter.Epoch, own arbiter.Accepted, stale bool) []Message {
	p.restart(epoch, own)
	p.byHand, p.stale = true, stale
	return p.Retry()
}

func (p *Proposer) restart(epoch arbiter.Epoch, own arbiter.Accepted) {
	p.forget()
	p.state, p.epoch, p.highest, p.known = Preparing, epoch, max(p.highest, epoch), own
	p.rule = p.ruleOf(own)
}

// Resume goes on with the reign of an agent that restarted while its replica
// still reigns; record is the replica's own register. Since own acceptance
// always comes first, the newest set ever proposed is in it, and proposing
// exactly that one again is safe whatever became of it. Without a reign of this
// node in record the proposer stays idle and Superseded tells why not.
func (p *Proposer) Resume(record arbiter.Record) []Message {
	held := record.Accepted
	p.forget()
	p.see(record)
	if held.Epoch.Owner() != p.self || held.Version == 0 || record.Promised > held.Epoch {
		p.superseded = true
		return nil
	}
	p.state, p.epoch, p.version = Reigning, held.Epoch, held.Version
	p.pending, p.rule, p.unsure = held, held.Rule, held.Set == arbiter.Both
	p.open = arbiter.Both // what was chosen before is not known: fear the most
	p.votes[p.self].accepted = true
	return p.Retry()
}

// Confirm tells, after Resume, what 2 of 3 recorded as the replica knows it: it
// was told so by the agent before. If that is the resumed set, nothing is
// undecided; the voters are still asked to record it, for some may lag behind.
func (p *Proposer) Confirm(chosen arbiter.Accepted) []Message {
	if p.state != Reigning || !p.hasPending() {
		return nil
	}
	if p.pending != chosen {
		p.unsure = p.unsure && (chosen.Epoch != p.epoch || chosen.Rule != p.rule)
		return nil
	}
	p.choose()
	return p.Retry()
}

// Shrink proposes {self}, also over a growth that is still undecided. It does
// nothing when {self} is chosen or proposed already.
func (p *Proposer) Shrink() []Message {
	return p.change(arbiter.Only(p.self), p.hasPending() && p.pending.Set == arbiter.Only(p.self))
}

// Grow proposes both nodes. It does nothing unless {self} is chosen and nothing
// is undecided. The replica must be ready: from now on every write waits for
// the peer, and every earlier one is on it.
func (p *Proposer) Grow() []Message {
	return p.change(arbiter.Both, p.hasPending())
}

// Yield proposes the peer alone: the disk here failed, and this node goes on
// through the peer's. It does nothing unless both are chosen and nothing else is
// undecided. An own register that cannot keep it says so and does not count, so
// the peer and the witness must record it.
func (p *Proposer) Yield() []Message {
	if p.chosen.Set != arbiter.Both {
		return nil
	}
	return p.change(arbiter.Only(1-p.self), p.hasPending())
}

// Mute says that the own register cannot keep anything any more. It is still
// asked first, for an agent that restarts goes on from it, but what it records
// counts for nothing: its disk may come back one day with what it held before.
func (p *Proposer) Mute() { p.mute = true }

func (p *Proposer) change(set arbiter.Set, busy bool) []Message {
	settled := !p.hasPending() && p.chosen.Set == set
	if p.state != Reigning || p.superseded || p.unsure || busy || settled || p.yielded() {
		return nil
	}
	p.propose(set)
	return p.Retry()
}

// yielded reports whether this node left the set in this reign. It is not taken
// back in it: whatever its disk holds, nothing that was acknowledged since is on it.
func (p *Proposer) yielded() bool {
	newest := p.newest()
	return newest.Version != 0 && !newest.Set.Has(p.self)
}

// propose makes set the pending one under the next version.
func (p *Proposer) propose(set arbiter.Set) {
	p.version++
	p.pending = arbiter.Accepted{Epoch: p.epoch, Version: p.version, Set: set, Rule: p.rule}
	p.open |= set
	for i := range p.votes {
		p.votes[i].accepted = false
	}
}

// Abandon stops: the reign or the campaign is lost, over, or given up. What was
// learned about epochs stays.
func (p *Proposer) Abandon() {
	superseded := p.superseded
	p.forget()
	p.superseded = superseded
}

// forget leaves an idle proposer that knows what holds beyond a reign.
func (p *Proposer) forget() {
	*p = Proposer{self: p.self, third: p.third, rule: p.rule, highest: p.highest, proved: p.proved, assured: p.assured}
}

// Retry repeats what still waits for an answer. Everything may be repeated at
// any time.
func (p *Proposer) Retry() []Message {
	var out []Message
	for i := range p.voters() {
		voter := (p.self + i) % p.voters()
		if m, ok := p.ask(voter); ok {
			out = append(out, m)
		}
	}
	return out
}

// ask returns what voter has to be asked now, if anything.
func (p *Proposer) ask(voter arbiter.NodeID) (Message, bool) {
	switch p.state {
	case Preparing:
		return p.prepare(voter), !p.votes[voter].promised && p.due(voter)
	case Accepting, Reigning:
		return p.askAccept(voter)
	}
	return Message{}, false
}

// due reports whether voter's turn to promise has come. By hand the own
// register is asked first. Else the others are: only when one of them is won is
// the own register asked, and then the others once more (see promised). A node
// that cannot win thus never raises its own promise, which would shut out the
// node that does reign.
func (p *Proposer) due(voter arbiter.NodeID) bool {
	switch {
	case p.byHand:
		return voter == p.self || p.ownVote()
	case voter != p.self:
		return true
	}
	if p.mayStandForPeer(p.known) {
		return true
	}
	fresh := 0
	for i, v := range p.votes[:p.voters()] {
		if arbiter.NodeID(i) != p.self && v.promised {
			if !v.fresh {
				return true
			}
			fresh++
		}
	}
	return fresh == int(p.voters())-1
}

// ownVote reports whether this node's own register is won: it promised, or an
// operator's word overrides that it knows a newer set without this node.
func (p *Proposer) ownVote() bool {
	self := &p.votes[p.self]
	return self.promised || p.stale && self.outdated
}

func (p *Proposer) askAccept(voter arbiter.NodeID) (Message, bool) {
	v, set := &p.votes[voter], p.newest()
	switch {
	case p.superseded || v.accepted:
		return Message{}, false
	case voter == arbiter.Witness && p.changing():
		return Message{}, false // the nodes first: what it holds shows what both of them hold
	case voter != p.self && !p.votes[p.self].accepted:
		return Message{}, false // self first
	case v.fresh && !p.birth && !p.mayJoin(voter):
		return Message{}, false
	case v.fresh && !v.promised:
		return p.prepare(voter), true
	}
	return Message{Kind: SendAccept, Voter: voter, Epoch: p.epoch, Proposal: set}, true
}

func (p *Proposer) prepare(voter arbiter.NodeID) Message {
	return Message{Kind: SendPrepare, Voter: voter, Epoch: p.epoch, Known: p.known}
}

// newest is the set that every voter should record: the pending one, else the
// chosen one, for voters that lag behind.
func (p *Proposer) newest() arbiter.Accepted {
	if p.hasPending() {
		return p.pending
	}
	return p.chosen
}

func (p *Proposer) hasPending() bool { return p.pending.Version != 0 }
