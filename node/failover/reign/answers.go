package reign

import (
	"fmt"
	"strings"
	"time"

	"gemel/node/arbiter"
)

// State returns where the proposer stands.
func (p *Proposer) State() State { return p.state }

// Epoch returns the epoch of the campaign or reign; zero when Idle.
func (p *Proposer) Epoch() arbiter.Epoch { return p.epoch }

// Chosen returns the newest set that 2 of 3 are known to have recorded in this
// reign; zero before the first.
func (p *Proposer) Chosen() arbiter.Accepted { return p.chosen }

// Pending returns the newest proposed set while it is undecided.
func (p *Proposer) Pending() (arbiter.Accepted, bool) { return p.pending, p.hasPending() }

// NeedsLease reports whether the peer could be elected without this node's
// help: it is in the chosen set, or in one that was proposed since.
func (p *Proposer) NeedsLease() bool {
	return p.state == Reigning && (p.open | p.chosen.Set).Has(1-p.self)
}

// Birth reports that the election was the volume's first: no voter had any
// memory.
func (p *Proposer) Birth() bool { return p.birth }

// Bears reports whether the promises so far make the campaign a volume's birth.
func (p *Proposer) Bears() bool { return p.born() }

// Highest returns the highest epoch seen anywhere, for the next campaign.
func (p *Proposer) Highest() arbiter.Epoch { return p.highest }

// Superseded reports that a voter answered with a promise above this reign's
// epoch: the reign is lost.
func (p *Proposer) Superseded() bool { return p.superseded }

// Answered reports whether every voter answered the campaign or is known not
// to: then Refusal is final unless it is LeaseHeld.
func (p *Proposer) Answered() bool {
	for i, v := range p.votes[:p.voters()] {
		if !v.promised && p.due(arbiter.NodeID(i)) && !v.outdated && !v.unreachable && v.wait == 0 && v.record.Promised <= p.epoch {
			return false
		}
	}
	return true
}

// RefusalKind names why a campaign has not been won.
type RefusalKind uint8

// Kinds of refusals, in the order in which they are reported.
const (
	None          RefusalKind = iota // not campaigning, or won, or (by hand) nothing stands in the way
	HigherPromise                    // voters promised a higher epoch: campaign again above Epoch
	LeaseHeld                        // ask again after Wait
	Outdated                         // this node is not in Newest
	Amnesia                          // this node's own register is new or lost its memory
	NoMajority                       // Missing did not answer, or have no memory
)

// Refusal says why a campaign has not been won so far.
type Refusal struct {
	Kind    RefusalKind
	Epoch   arbiter.Epoch    // HigherPromise: the highest one promised
	Wait    time.Duration    // LeaseHeld
	Newest  arbiter.Accepted // Outdated: the newest set a voter knows
	Missing [3]bool          // NoMajority, by voter: no answer
	Fresh   [3]bool          // NoMajority, by voter: an answer without memory
}

// Refusal returns why the campaign has not been won so far.
func (p *Proposer) Refusal() Refusal {
	if p.state == Accepting && p.superseded {
		return Refusal{Kind: HigherPromise, Epoch: p.highest} // elected, and overtaken before it was recorded
	}
	if p.state != Preparing {
		return Refusal{}
	}
	if p.byHand {
		return p.refusalByHand()
	}
	higher, wait := p.barred()
	switch newest := p.newestKnown(); {
	case higher && p.superiority():
		return Refusal{Kind: HigherPromise, Epoch: p.highest}
	case wait > 0:
		return Refusal{Kind: LeaseHeld, Wait: wait}
	case p.Answered() && (p.knownOutdated() || p.promises() >= 2 && !newest.Set.Has(p.self)):
		return Refusal{Kind: Outdated, Newest: newest}
	case p.ownAmnesia() && p.promises() > 0 && p.Answered():
		return Refusal{Kind: Amnesia}
	}
	return p.noMajority()
}

func (p *Proposer) refusalByHand() Refusal {
	self, newest := &p.votes[p.self], p.newestKnown()
	higher, wait := p.barred()
	switch {
	case higher:
		return Refusal{Kind: HigherPromise, Epoch: p.highest}
	case wait > 0:
		return Refusal{Kind: LeaseHeld, Wait: wait}
	case !p.ownVote() && !self.outdated:
		return p.noMajority()
	case p.stale || p.born():
		return Refusal{}
	case newest.Version > 0 && !newest.Set.Has(p.self):
		return Refusal{Kind: Outdated, Newest: newest}
	case self.fresh:
		return Refusal{Kind: Amnesia}
	}
	return Refusal{}
}

// barred reports whether a voter promised a higher epoch, and how long leases
// bar the way. By hand every lease counts; else the shortest of the others'
// and the own one.
func (p *Proposer) barred() (higher bool, wait time.Duration) {
	other := time.Duration(0)
	for i, v := range p.votes[:p.voters()] {
		higher = higher || v.record.Promised > p.epoch
		switch {
		case v.wait == 0:
		case arbiter.NodeID(i) == p.self || p.byHand:
			wait = max(wait, v.wait)
		case other == 0 || v.wait < other:
			other = v.wait
		}
	}
	return higher, max(wait, other)
}

// superiority reports whether the higher promises leave no majority. A voter
// without memory is none of a majority, and counts only at a birth, which needs
// them all.
func (p *Proposer) superiority() bool {
	left := 0
	for _, v := range p.votes[:p.voters()] {
		if v.record.Promised <= p.epoch && !(v.promised && v.fresh) {
			left++
		}
	}
	return left < 2 || p.votes[p.self].record.Promised > p.epoch
}

func (p *Proposer) ownAmnesia() bool {
	self := &p.votes[p.self]
	return self.promised && self.fresh
}

func (p *Proposer) noMajority() Refusal {
	r := Refusal{Kind: NoMajority}
	for i, v := range p.votes[:p.voters()] {
		r.Missing[i] = !v.promised && p.due(arbiter.NodeID(i))
		r.Fresh[i] = v.promised && v.fresh
	}
	return r
}

// newestKnown returns the newest set among the promises of voters with a memory.
func (p *Proposer) newestKnown() (newest arbiter.Accepted) {
	for _, v := range p.votes[:p.voters()] {
		if (v.promised || v.outdated) && !v.fresh {
			newest = newer(newest, v.record.Accepted)
		}
	}
	return newest
}

// knownOutdated reports that a voter refused because its newest set lacks this
// node. One such voter does not decide: if it is the other node, the set may be
// its own proposal that nobody else ever recorded.
func (p *Proposer) knownOutdated() bool {
	for _, v := range p.votes[:p.voters()] {
		if v.outdated {
			return true
		}
	}
	return false
}

// Wait is how long a lease still bars the campaign; zero when none does.
func (p *Proposer) Wait() time.Duration { return p.Refusal().Wait }

// Words says the refusal in a sentence with the next step, a command that does it
// included; names are the voters' names by number.
func (r Refusal) Words(volume string, names [3]string) string {
	switch r.Kind {
	case HigherPromise:
		return fmt.Sprintf("a voter has promised the higher epoch %d; this node tries again with a later one", r.Epoch)
	case LeaseHeld:
		return fmt.Sprintf("the other node may hold its lease for another %.1f s; this node asks again then",
			r.Wait.Seconds())
	case Outdated:
		return fmt.Sprintf("the data here is not current: epoch %d recorded %s alone as holding every acknowledged write; "+
			"start %s, or take over with older data by `gemel grab %s --stale` on this node",
			r.Newest.Epoch, members(r.Newest.Set, names), members(r.Newest.Set, names), volume)
	case Amnesia:
		return "this node's own record is new, so its data proves nothing; " +
			"let the other node become Primary and bring this one up to date"
	case NoMajority:
		return r.majorityWords(volume, names)
	}
	return ""
}

func (r Refusal) majorityWords(volume string, names [3]string) string {
	var why []string
	for i, name := range names {
		switch {
		case r.Missing[i]:
			why = append(why, name+" does not answer")
		case r.Fresh[i]:
			why = append(why, name+" has no memory of this volume")
		}
	}
	return "fewer than 2 voters agree: " + strings.Join(why, ", ") +
		"; bring one of them back, or take over with `gemel grab " + volume + "` on this node when the other one is certainly off"
}

func members(set arbiter.Set, names [3]string) string {
	var in []string
	for i := range arbiter.NodeID(2) {
		if set.Has(i) {
			in = append(in, names[i])
		}
	}
	return strings.Join(in, " and ")
}
