package arbiter

import "time"

// MaxTerm is the longest lease a voter grants: a request for more is a mistake
// that would lock the other node out for as long.
const MaxTerm = 5 * time.Minute

// Register is one voter: its durable Record and its volatile lease grant. It is
// a plain comparable value without clock or storage. Times are CLOCK_BOOTTIME
// of the voter's box.
//
// Every method that can change the Record tells so by persist. The caller works
// on a copy, stores the copy's Record, and only then makes the copy the
// register and sends the reply:
//
//	next := register
//	reply, persist := next.Prepare(now, epoch, known)
//	if persist { store(next.Record); on error: drop next, send no reply }
//	register = next
type Register struct {
	Record Record
	// Lease is the grant in force, if any.
	Lease Grant
	// Guard is until when a restarted voter honours the leases it may have
	// granted before and forgot.
	Guard time.Duration
}

// Grant is a lease as its grantor remembers it.
type Grant struct {
	Epoch Epoch         // zero: none
	Until time.Duration // boot time of the grantor
}

// Boot is a voter that just started with what its storage held. For term after
// now it refuses to promise to a node that does not own the promised epoch,
// since a lease granted before the restart may still run.
func Boot(record Record, now, term time.Duration) Register {
	return Register{Record: record, Guard: now + term}
}

// Prepare asks for the promise to refuse every epoch below epoch. A refusal
// with Wait is worth repeating after Wait; nothing was promised.
func (r *Register) Prepare(now time.Duration, epoch Epoch, known Accepted) (reply PrepareReply, persist bool) {
	switch wait := r.honours(now, epoch); {
	case epoch < firstEpoch:
		return PrepareReply{Record: r.Record, Refusal: RefusedMalformed}, false
	case epoch < r.Record.Promised:
		return PrepareReply{Record: r.Record, Refusal: RefusedHigherPromise}, false
	case epoch == r.Record.Promised:
		return PrepareReply{OK: true, Record: r.Record}, false
	case r.excludes(epoch.Owner(), known):
		return PrepareReply{Record: r.Record, Refusal: RefusedOutdated}, false
	case wait > 0:
		return PrepareReply{Record: r.Record, Wait: wait, Refusal: RefusedLeaseHeld}, false
	}
	r.raise(epoch)
	return PrepareReply{OK: true, Record: r.Record}, true
}

// Accept asks the voter to record an in-sync set. A set that is recorded
// already is accepted again. A fresh voter records only a set of the very epoch
// it promised, so that nobody takes it by surprise into a quorum.
func (r *Register) Accept(_ time.Duration, proposal Accepted) (reply AcceptReply, persist bool) {
	if refusal := r.objection(proposal); refusal != "" {
		return AcceptReply{Record: r.Record, Refusal: refusal}, false
	}
	before := r.Record
	r.raise(proposal.Epoch)
	r.Record.Accepted = proposal
	r.Record.Fresh = false
	return AcceptReply{OK: true, Record: r.Record}, r.Record != before
}

// Renew grants the lease of epoch's owner for term from now. The promise for
// epoch must have been given before: a voter that never heard of the reign has
// to be told the in-sync set first.
func (r *Register) Renew(now time.Duration, epoch Epoch, term time.Duration) RenewReply {
	refusal := ""
	switch {
	case epoch < firstEpoch || term <= 0 || term > MaxTerm:
		refusal = RefusedMalformed
	case epoch < r.Record.Promised:
		refusal = RefusedHigherPromise
	case r.Record.Fresh:
		refusal = RefusedFresh
	case epoch > r.Record.Promised:
		refusal = RefusedUnknownEpoch
	}
	if refusal != "" {
		return RenewReply{Record: r.Record, Refusal: refusal}
	}
	r.Lease = Grant{Epoch: epoch, Until: max(now+term, r.Lease.Until)}
	return RenewReply{OK: true, Record: r.Record}
}

// Release gives the lease of epoch back: the owner has let everything go. It
// also ends the guard when epoch is the promised one, because the lease the
// guard protects can only be that owner's.
func (r *Register) Release(epoch Epoch) {
	if r.Lease.Epoch.Owner() == epoch.Owner() && epoch >= r.Lease.Epoch {
		r.Lease = Grant{}
	}
	if epoch == r.Record.Promised {
		r.Guard = 0
	}
}

// Raise promises epoch without a question asked: the replica met a Primary that
// reigns with it, so 2 of 3 elected it already. It tells whether the Record
// changed and must be stored before the replica answers the Primary.
func (r *Register) Raise(epoch Epoch) (persist bool) {
	if epoch <= r.Record.Promised {
		return false
	}
	r.raise(epoch)
	return true
}

// raise moves the promise up. A lease of the other node ends with it; the
// owner's own lease stays, for it protects the node and not one reign of it.
func (r *Register) raise(epoch Epoch) {
	if r.Lease.Epoch.Owner() != epoch.Owner() {
		r.Lease = Grant{}
	}
	r.Record.Promised = max(r.Record.Promised, epoch)
}

// excludes reports that the newest set, as recorded here or known to the
// candidate n, does not hold n. A proposer's own register accepts first, so what
// another voter accepted is recorded by 2 of 3. Hence n cannot win, and a
// promise to it would only disturb whoever reigns.
func (r *Register) excludes(n NodeID, known Accepted) bool {
	newest := r.Record.Accepted
	if known.Newer(newest) {
		newest = known
	}
	return !r.Record.Fresh && newest.Version != 0 && !newest.Set.Has(n)
}

// honours returns how long a lease of the other node, known or feared after a
// restart, still bars epoch.
func (r *Register) honours(now time.Duration, epoch Epoch) time.Duration {
	wait := time.Duration(0)
	if r.Lease.Epoch != 0 && r.Lease.Epoch.Owner() != epoch.Owner() {
		wait = r.Lease.Until - now
	}
	taken := !r.Record.Fresh && r.Record.Promised != 0
	if taken && r.Record.Promised.Owner() != epoch.Owner() {
		wait = max(wait, r.Guard-now)
	}
	return wait
}

// objection names why proposal cannot be recorded; empty when it can.
func (r *Register) objection(proposal Accepted) string {
	held := r.Record.Accepted
	switch {
	case !proposal.Valid():
		return RefusedMalformed
	case proposal.Epoch < r.Record.Promised:
		return RefusedHigherPromise
	case r.Record.Fresh && proposal.Epoch != r.Record.Promised:
		return RefusedFresh
	case held.Newer(proposal):
		return RefusedOlder
	case held.Epoch == proposal.Epoch && held.Version == proposal.Version && held != proposal:
		return RefusedConflict
	}
	return ""
}

// firstEpoch is the smallest epoch in use; see NextFor.
const firstEpoch Epoch = 2

// Valid reports whether a is a set that a Primary may propose: a real epoch, a
// version from 1, and a set of somebody known. It may be without the epoch's
// owner, whose disk failed and who goes on through the other node's.
func (a Accepted) Valid() bool {
	return a.Epoch >= firstEpoch && a.Version >= 1 && a.Set != 0 && a.Set <= Both
}
