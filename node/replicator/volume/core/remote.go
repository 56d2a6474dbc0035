package core

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
)

// A Primary whose disk failed can go on through the peer's, which holds
// everything that was acknowledged. Before the first request is answered that
// way, two things are on stable storage, in this order:
//
//  1. The peer alone is in R: 2 of 3 voters without this node's own register
//     recorded it. The disk may come back one day with what it held before; from
//     then on this node cannot be elected with it.
//  2. The peer carries a new generation, whose ancestor is what this disk holds
//     and from which no bits count. So this disk, or one in its place, gets
//     everything anew.
//
// Then writes complete when the peer has written them, whatever the protocol,
// and reads are the peer's. The log and the bitmap here are not used any more.
// It ends with the connection: what the peer acknowledged and had not flushed
// may be gone with its power, and a file system that lived through that would
// not know. Then requests are held again, until the reign ends and the peer is
// elected. A disk that keeps requests without an answer is not left that way,
// since these requests could not be ended.

// remote is how far a Primary without a disk of its own is.
type remote uint8

const (
	notRemote remote = iota
	entrusting
	isRemote
)

// mayYield reports whether this Primary can go on through the peer.
func (c *Core) mayYield() bool {
	return c.primary && c.problem != nil && !errors.Is(c.problem, ErrStuck) && c.phase == inSync && c.setHasPeer() &&
		c.terms.inUse == block.ProtocolC
}

// Remote reports whether requests are served by the peer's disk: then nothing is
// read from the one here.
func (c *Core) Remote() bool { return c.remote == isRemote }

// entrust makes the peer carry a new generation, once it alone is in R.
func (c *Core) entrust() {
	if c.remote != notRemote || !c.mayYield() || c.chosen.Set != arbiter.Only(c.peerID()) || c.grow.Newer(c.chosen) {
		return
	}
	c.remote = entrusting
	c.send(Msg{Kind: Entrust, Gen: c.newGeneration()})
}

// entrusted, at the Secondary: what it holds is the only copy from now on.
func (c *Core) entrusted(m Msg) {
	if c.phase != inSync || m.Gen == 0 {
		return
	}
	if c.meta.Gen.Current != m.Gen {
		c.meta.Gen.Push(c.meta.Gen.Current)
		c.meta.Gen.Current, c.meta.Gen.Bitmap = m.Gen, 0
	}
	c.entrustVersion = c.persist()
	c.changed()
}

// onlyCopy reports whether the other node recorded, as Primary, that this one
// alone holds every acknowledged write.
func (c *Core) onlyCopy() bool {
	a := c.register.Accepted
	return a.Set == arbiter.Only(c.cfg.Self) && a.Epoch.Owner() == c.peerID()
}

// entrustDurable answers once that is on stable storage.
func (c *Core) entrustDurable() {
	if c.entrustVersion != 0 && c.metaDurable >= c.entrustVersion {
		c.entrustVersion = 0
		c.send(Msg{Kind: EntrustAck})
	}
}

// goRemote lets everything that waits go on through the peer.
func (c *Core) goRemote(now time.Duration) {
	if c.remote != entrusting || !c.mayYield() {
		return
	}
	c.remote = isRemote
	c.dropCold()
	c.changed()
	open := slices.Clone(c.open)
	slices.SortFunc(open, func(a, b *request) int { return cmp.Compare(a.order, b.order) })
	for _, q := range open {
		c.continueRemote(now, q)
	}
	c.wake(now)
	c.review(now)
}

// continueRemote takes up a request of before.
func (c *Core) continueRemote(now time.Duration, q *request) {
	if q.completed || !q.used {
		return
	}
	held := q.held
	q.held = false
	switch {
	case q.kind == appFlush:
		q.localDone, q.err = true, nil
		if !q.acked && q.barrier == 0 {
			c.wantBarrier(q)
		}
	case q.kind == appRead: // what it has was read while every completed write was here
	case q.kind == mending && q.localDone && q.received:
		q.err = nil // the peer's data, which could not be written here
	case held:
		c.place(now, q)
	case q.kind == mending && q.started && !q.pending && !q.inLocal && !q.localDone:
		c.ask(now, q)
	case q.kind == appWrite && !q.inLocal:
		q.err = nil
	}
}

// dropCold takes requests that wait for the log, which is not used any more.
func (c *Core) dropCold() {
	for _, q := range c.hot.cold {
		c.cool(q)
		q.held = true
	}
	c.hot.cold = nil
}

// stale ends a copy to the peer: the disk here may hold less than that.
func (c *Core) stale(now time.Duration, q *request) bool {
	if q.completed || !q.repair || c.problem == nil {
		return false
	}
	q.completed, q.err = true, c.problem
	c.repairFailed(now, q)
	return true
}

// startRemote starts a write that only the peer gets.
func (c *Core) startRemote(now time.Duration, q *request) {
	q.localDone, q.pending, q.since = true, true, now
	c.appBusy++
	c.flight += q.r.Len
	c.count.Sent += q.op.payloadOf(q.r)
	c.send(Msg{Kind: Data, ID: uint64(q.id), Range: q.r, Op: q.op, FUA: q.fua, After: c.turn, Payload: q.id})
	c.turn = false
}
