package core

import (
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
)

// Write takes a write of the application and returns its ID, or an error when
// it cannot be taken.
func (c *Core) Write(now time.Duration, r block.Range) (ID, error) {
	return c.write(now, r, OpBytes, false)
}

// Read takes a read that the local disk has answered; it completes when the
// lease says that nobody else can have written meanwhile.
func (c *Core) Read(now time.Duration) (ID, error) {
	q, err := c.take(appRead, block.Range{})
	if err != nil {
		return 0, err
	}
	c.tryComplete(now, q)
	return q.id, nil
}

// MayRead reports whether a read that ended now may be answered at once.
func (c *Core) MayRead(now time.Duration) bool { return c.primary && c.problem == nil && c.leased(now) }

// Flush takes a flush of the application.
func (c *Core) Flush(now time.Duration) (ID, error) {
	q, err := c.take(appFlush, block.Range{})
	if err != nil {
		return 0, err
	}
	if c.hold(q) {
		return q.id, nil
	}
	if c.Remote() {
		q.localDone = true
		c.wantBarrier(q)
		return q.id, nil
	}
	q.round = c.syncRound + 1 // one that runs already may be too early
	c.wantSync()
	if c.phase >= finishing {
		c.wantBarrier(q)
	}
	return q.id, nil
}

func (c *Core) take(kind requestKind, r block.Range) (*request, error) {
	if !c.primary {
		return nil, ErrNotPrimary
	}
	if c.problem != nil && !c.held() && !c.Remote() {
		return nil, c.problem
	}
	if r.Off < 0 || !r.Aligned() || r.End() > c.sizeNow() {
		return nil, fmt.Errorf("request at %d+%d is outside the volume of %d bytes or not aligned", r.Off, r.Len, c.sizeNow())
	}
	if err := c.maySpan(r); err != nil {
		return nil, err
	}
	q := c.alloc(kind, r)
	c.taken++
	q.order = c.taken
	c.open = append(c.open, q)
	return q, nil
}

// LocalDone tells that the local disk is done with the write or read of id.
func (c *Core) LocalDone(now time.Duration, id ID, err error) {
	q := c.find(id)
	if q == nil || !q.inLocal {
		return
	}
	c.local--
	q.inLocal, q.localDone, q.err = false, true, err
	if err != nil && (q.kind == checking || q.kind == copying) {
		c.detachOn(err)
	}
	switch q.kind {
	case copying:
		if q.sums {
			c.ownSums(now, q)
		} else {
			c.copyRead(now, q)
		}
	case checking:
		c.ownSums(now, q)
	case digesting:
		c.digested(now, q)
	case theirWrite:
		c.theirsDone(now, q)
	case serving:
		c.servedRead(q)
	case mending:
		c.mended(now, q, err)
	default:
		if err != nil {
			c.writeFailed(q, err)
		}
		if c.Remote() {
			q.err = nil // the peer's word counts
		}
		c.settle(now, q)
		c.tryComplete(now, q)
	}
	c.pump(now)
	c.feed(now)
	c.tellQuiet()
}

// tryComplete answers the application if nothing stands against it.
func (c *Core) tryComplete(now time.Duration, q *request) {
	if !q.completed && c.completable(now, q) {
		c.complete(q, q.err)
		c.drop(q)
	}
	c.finish(q)
}

func (c *Core) complete(q *request, err error) {
	q.completed = true
	if err == nil && q.pending && c.needPeer() {
		c.turn = true
	}
	c.emit(Action{Kind: Complete, ID: q.id, Err: err})
}

// drop takes q off the list of open requests.
func (c *Core) drop(q *request) {
	for i, o := range c.open {
		if o == q {
			c.open[i] = c.open[len(c.open)-1]
			c.open[len(c.open)-1] = nil
			c.open = c.open[:len(c.open)-1]
			return
		}
	}
}

func (c *Core) completable(now time.Duration, q *request) bool {
	if c.held() {
		return false
	}
	if q.held {
		q.err = c.problem
		return true
	}
	if q.err != nil && q.localDone {
		return true
	}
	if !c.leased(now) {
		return false
	}
	switch q.kind {
	case appRead:
		return true
	case mending:
		return q.localDone
	case appFlush:
		return q.localDone && (q.acked || !c.needPeer() && (c.dirty.Bytes() == 0 || c.rotated()))
	}
	if !q.localDone {
		return false
	}
	if c.needPeer() {
		return c.peerDone(q)
	}
	return q.acked || c.rotated()
}

// rotated reports whether the generation on stable storage tells that the peer
// may lack writes, and sees to it otherwise.
func (c *Core) rotated() bool {
	if c.meta.Gen.Bitmap == 0 || c.peerMayHold {
		c.rotate()
	}
	return c.metaDurable >= c.rotateVersion
}

// needPeer reports whether acknowledgements need the peer.
func (c *Core) needPeer() bool { return c.waitPeer || c.setHasPeer() }

// setHasPeer reports whether the peer belongs to R.
func (c *Core) setHasPeer() bool {
	return c.chosen.Set.Has(c.peerID()) || c.grow.Newer(c.chosen)
}

// LeaseOver reports whether this node is Primary, and may not act as one: the lease ran out, and the peer could have
// been elected since.
func (c *Core) LeaseOver(now time.Duration) bool { return c.primary && !c.leased(now) }

// leased reports whether nobody else can have become Primary: alone in the
// recorded set nobody can, otherwise the lease says so.
func (c *Core) leased(now time.Duration) bool { return !c.setHasPeer() || now < c.lease }

// review looks at every open request again, after something changed for all.
func (c *Core) review(now time.Duration) {
	for i := 0; i < len(c.open); {
		q := c.open[i]
		c.tryComplete(now, q)
		if i < len(c.open) && c.open[i] == q {
			i++
		}
	}
}

// wantSync starts a local sync unless one runs; that one may be too early.
func (c *Core) wantSync() {
	if c.syncRunning {
		c.syncWanted = true
		return
	}
	c.syncRunning, c.syncWanted, c.syncSince = true, false, 0
	c.syncRound++
	c.emit(Action{Kind: Sync})
}

// SyncDone tells that the local disk is synced.
func (c *Core) SyncDone(now time.Duration, err error) {
	c.syncRunning = false
	if err != nil {
		c.fail(fmt.Errorf("%w: %w", ErrDisk, err))
	} else {
		c.hot.synced, c.hot.freed = c.syncRound, true
	}
	for i := 0; i < len(c.open); {
		q := c.open[i]
		if q.kind == appFlush && q.round <= c.syncRound {
			q.localDone = true
			if err != nil {
				q.err = c.problem
			}
			c.tryComplete(now, q)
		}
		if i < len(c.open) && c.open[i] == q {
			i++
		}
	}
	c.tasksSynced(err)
	if c.syncWanted {
		c.wantSync()
	}
	if c.primary {
		c.begin(now)
	}
	c.feed(now)
	c.tellQuiet()
}

// Accepted tells that this node's register was changed; call it before the
// record is stored, so that R is never smaller than what others may learn.
func (c *Core) Accepted(now time.Duration, r arbiter.Record) {
	c.register = r
	if c.primary && r.Accepted.Epoch == c.reign && r.Accepted.Set.Has(c.peerID()) && r.Accepted.Newer(c.chosen) {
		c.grow = r.Accepted
	}
	if !c.primary && c.phase != off && c.peer.Primary && c.peerEpoch < r.Promised {
		c.disconnect(now, fmt.Errorf("epoch %d was promised to node %d; the Primary of epoch %d is refused",
			r.Promised, r.Promised.Owner(), c.peerEpoch))
	}
	c.changed()
}

// MayAccept reports whether this node's register may record a: a set with the
// peer in it only while the peer holds everything that was acknowledged.
func (c *Core) MayAccept(a arbiter.Accepted) bool {
	if a.Epoch.Owner() != c.cfg.Self || !a.Set.Has(c.peerID()) || a == c.register.Accepted {
		return true
	}
	if a.Set == arbiter.Only(c.peerID()) {
		return c.primary && a.Epoch == c.reign && c.mayYield()
	}
	return c.primary && c.problem == nil && a.Epoch == c.reign && (c.ready || c.setHasPeer() && c.phase == inSync)
}

// Chosen tells that 2 of 3 voters recorded a set of this reign.
func (c *Core) Chosen(now time.Duration, a arbiter.Accepted) error {
	if !c.primary || a.Epoch != c.reign {
		return fmt.Errorf("set of epoch %d: %w of it", a.Epoch, ErrNotPrimary)
	}
	if !a.Newer(c.chosen) {
		return nil
	}
	c.chosen = a
	if c.phase == inSync && !c.setHasPeer() && !c.ready {
		c.waitPeer, c.ready = true, true
	}
	c.changed()
	c.entrust()
	c.begin(now)
	c.review(now)
	return nil
}

// Lease moves the end of the lease of epoch to until, boot time.
func (c *Core) Lease(now time.Duration, epoch arbiter.Epoch, until time.Duration) error {
	if !c.primary || epoch != c.reign {
		return fmt.Errorf("lease of epoch %d: %w of it", epoch, ErrNotPrimary)
	}
	held := !c.leased(now)
	c.lease = until
	if held && c.leased(now) {
		c.changed()
		c.review(now)
	}
	return nil
}
