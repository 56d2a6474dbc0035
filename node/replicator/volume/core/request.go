package core

import (
	"time"

	"gemel/node/block"
)

type requestKind uint8

const (
	appWrite requestKind = iota
	appRead
	appFlush
	copying // a resync's extent, at the source
	theirWrite
	mending   // a read that the local disk failed
	serving   // a read for the Primary, at the Secondary
	checking  // a verify's piece, at the Primary
	digesting // a piece the Primary asked about, at the Secondary
)

// request is one thing under way.
type request struct {
	id    ID
	kind  requestKind
	op    Op   // of writes
	fua   bool // of writes: answered when stable
	r     block.Range
	index int // in active, or -1
	used  bool

	started   bool // holds its range, local I/O was asked for
	again     bool // appWrite: failed here, the peer has taken it; copying: because of that
	held      bool // came after the disk failed: waits for the peer to take over
	localDone bool
	inLocal   bool // local I/O under way
	err       error
	pending   bool // sent to the peer, not answered
	acked     bool // by the peer
	received  bool // by the peer, perhaps not written
	completed bool // answered to the application, or abandoned
	since     time.Duration

	hot    int32  // extents of the activity log that it uses
	logged uint64 // transaction that made the newest of them hot

	round   uint64 // appFlush: local sync that covers it
	barrier uint64 // appFlush: barrier that covers it, 0: none asked for

	sums   bool // copying, checking: compared with the peer's before it is copied
	asking bool // the peer's sums are not here yet
	bad    bool // the peer could not read its blocks
	repair bool // copying: for a verify, while in sync
	parts  int  // copying: messages that are not answered, when more than one

	remote  uint64 // theirWrite, digesting: the peer's ID
	session uint64 // theirWrite, digesting
	order   uint64 // theirWrite, and requests of the application
	ordered bool   // theirWrite: of the application, not of a resync
	after   bool   // theirWrite: what came before must be written
}

func (c *Core) alloc(kind requestKind, r block.Range) *request {
	var q *request
	if n := len(c.free); n > 0 {
		q = c.free[n-1]
		c.free = c.free[:n-1]
		*q = request{id: q.id + 1<<32}
	} else {
		q = &request{id: ID(len(c.reqs)) + 1<<32}
		c.reqs = append(c.reqs, q)
	}
	q.kind, q.r, q.index, q.used = kind, r, -1, true
	return q
}

// find returns the request of id, nil when it is over.
func (c *Core) find(id ID) *request {
	i := int(uint32(id))
	if i >= len(c.reqs) || c.reqs[i].id != id || !c.reqs[i].used {
		return nil
	}
	return c.reqs[i]
}

func (c *Core) release(q *request) {
	if q.kind != mending && q.kind >= copying {
		c.emit(Action{Kind: Release, ID: q.id})
	}
	q.used = false
	c.free = append(c.free, q)
}

// submit gives q its range once its extents are hot.
func (c *Core) submit(now time.Duration, q *request) {
	if q.kind == copying || c.Remote() || c.heat(now, q) {
		c.place(now, q)
	}
}

// place gives q its range or lets it wait behind what overlaps.
func (c *Core) place(now time.Duration, q *request) {
	if c.blocked(q, c.waiting) {
		c.waiting = append(c.waiting, q)
		return
	}
	c.start(now, q)
}

func (c *Core) blocked(q *request, earlier []*request) bool {
	for _, a := range c.active {
		if a.r.Overlaps(q.r) {
			return true
		}
	}
	for _, w := range earlier {
		if w.r.Overlaps(q.r) {
			return true
		}
	}
	return false
}

// wake starts what does not have to wait any longer.
func (c *Core) wake(now time.Duration) {
	kept := c.waiting[:0]
	for _, q := range c.waiting {
		if c.blocked(q, kept) {
			kept = append(kept, q)
		} else {
			c.start(now, q)
		}
	}
	clear(c.waiting[len(kept):])
	c.waiting = kept
}

func (c *Core) start(now time.Duration, q *request) {
	q.started = true
	q.index = len(c.active)
	c.active = append(c.active, q)
	if q.kind == mending {
		c.ask(now, q)
		return
	}
	if c.Remote() && q.kind == appWrite {
		c.startRemote(now, q)
		return
	}
	q.inLocal, q.since = true, now
	c.local++
	if len(c.verify.checks) > 0 {
		c.verify.disturb(q.r)
	}
	if q.kind == copying {
		c.startCopy(now, q)
		return
	}
	c.appBusy++
	c.overwritten(q.r)
	// A block that is marked anyway is left to the resync, which reads it later.
	if c.phase >= syncing && !c.dirty.All(q.r) && !c.left(q) {
		q.pending = true
		c.count.Sent += q.op.payloadOf(q.r)
		c.flight += q.r.Len
		c.send(Msg{Kind: Data, ID: uint64(q.id), Range: q.r, Op: q.op, FUA: q.fua, After: c.turn,
			Receipt: c.terms.inUse == block.ProtocolB && !q.fua, Payload: q.id})
		c.turn = false
	} else {
		c.setBits(q.r)
	}
	c.emit(Action{Kind: Write, ID: q.id, Range: q.r, Op: q.op, FUA: q.fua})
}

// settle gives q's range back once both sides are done with it.
func (c *Core) settle(now time.Duration, q *request) {
	if q.inLocal || q.pending || q.index < 0 {
		return
	}
	last := len(c.active) - 1
	c.active[q.index] = c.active[last]
	c.active[q.index].index = q.index
	c.active[last] = nil
	c.active = c.active[:last]
	q.index = -1
	if q.kind == appWrite {
		c.appBusy--
	}
	var again *request
	if q.again && q.kind == appWrite {
		again = c.copyAgain(q)
	}
	c.cool(q)
	if len(c.waiting) > 0 {
		c.wake(now)
	}
	if again != nil {
		c.place(now, again)
	}
}

// finish releases q when nobody refers to it any more.
func (c *Core) finish(q *request) {
	if q.used && q.completed && !q.inLocal && !q.pending && q.index < 0 {
		c.release(q)
	}
}
