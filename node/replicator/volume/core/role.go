package core

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/resync"
)

// Sentinel refusals of Promote.
var (
	ErrNotElected   = errors.New("this node's register has not accepted that reign")
	ErrInconsistent = errors.New("the data here is not whole")
	ErrBusy         = errors.New("requests of the last role are still under way")
	ErrYields       = errors.New("the peer's replica was created with --keep-data, and the volume begins with it")
	ErrDiscarded    = errors.New("the data here was given up; connect the peer, which fills it anew")
)

// Promote makes the replica Primary of the reign in which chosen was recorded,
// or moves a Primary to a newer reign of its own without interruption.
// The device may appear once metadata of the returned version is stable: until
// then a crash would not be seen as one.
func (c *Core) Promote(now time.Duration, chosen arbiter.Accepted, birth bool) (version uint64, err error) {
	if c.primary && c.reign == chosen.Epoch {
		return c.metaVersion, nil
	}
	if err := c.mayPromote(chosen, birth); err != nil {
		return 0, err
	}
	c.disconnect(now, errors.New("this replica became Primary; the handshake is repeated"))
	if c.primary { // a new reign of the same node: nothing else changes, the peer is out of the set
		c.reign, c.chosen, c.grow = chosen.Epoch, chosen, arbiter.Accepted{}
		c.review(now)
		c.changed()
		return c.metaVersion, nil
	}
	c.primary, c.reign, c.chosen, c.grow, c.lease = true, chosen.Epoch, chosen, arbiter.Accepted{}, 0
	c.peerMayHold = c.meta.Gen.Bitmap == 0 || c.meta.Ending
	if c.meta.Created {
		c.bear()
	}
	c.meta.Active, c.meta.MayLack = true, block.ProtocolC
	c.startLog(c.hot.log.Number())
	c.hot.base = c.syncRound + 1
	c.wantSync()
	c.changed()
	return c.persist(), nil
}

// bear makes a new replica the first of its volume.
func (c *Core) bear() {
	if c.meta.Size == 0 {
		c.meta.Size = c.cfg.Usable
	}
	c.dirty = resync.NewBitmap(c.meta.Size, nil)
	c.newPages(false)
	c.setAll() // nobody else holds anything of it
	c.meta.Created, c.meta.Inconsistent, c.meta.Keep = false, false, false
	c.meta.Gen.Current = c.newGeneration()
}

// yields reports whether the volume is to begin with what the peer holds, as of
// their last meeting.
func (c *Core) yields() bool {
	return c.meta.Created && !c.meta.Keep && c.peer.Created && c.peer.Keep
}

func (c *Core) mayPromote(chosen arbiter.Accepted, birth bool) error {
	a := c.register.Accepted
	switch {
	case c.problem != nil:
		return fmt.Errorf("promote: %w", c.problem)
	case c.primary && chosen.Epoch < c.reign:
		return fmt.Errorf("promote in epoch %d: it is Primary of epoch %d already", chosen.Epoch, c.reign)
	case a.Epoch != chosen.Epoch || a != chosen || chosen.Set != arbiter.Only(c.cfg.Self) ||
		c.register.Promised > chosen.Epoch:
		return fmt.Errorf("promote in epoch %d, version %d: %w: it promised epoch %d and accepted epoch %d, version %d; "+
			"campaign again", chosen.Epoch, chosen.Version, ErrNotElected, c.register.Promised, a.Epoch, a.Version)
	case c.meta.Inconsistent && !(birth && c.meta.Created), c.meta.Created && !birth:
		return fmt.Errorf("promote: %w: connect the peer and let the resync finish, or restore a backup", ErrInconsistent)
	case !c.primary && c.meta.Outdated:
		return fmt.Errorf("promote: %w: connect the Primary, or take that back with `gemel volume outdate --undo`", ErrOutdated)
	case birth && c.yields():
		return fmt.Errorf("promote: %w", ErrYields)
	case c.meta.Discard:
		return fmt.Errorf("promote: %w", ErrDiscarded)
	case !c.primary && !c.Quiet():
		return fmt.Errorf("promote: %w; try again", ErrBusy)
	}
	return nil
}

// Busy returns how many requests of the application are not answered.
func (c *Core) Busy() int { return len(c.open) }

// Demote makes the replica Secondary. Requests that are not answered end with
// ErrLetGo and stay marked: demote cleanly only with none of them, after a
// flush. The crash mark goes once the bitmap is stable.
func (c *Core) Demote(now time.Duration) {
	if !c.primary {
		return
	}
	c.leaveLog()
	for len(c.waiting) > 0 {
		q := c.waiting[len(c.waiting)-1]
		c.waiting = c.waiting[:len(c.waiting)-1]
		if q.kind == copying {
			c.dirty.Set(q.r)
			q.completed = true
			c.finish(q)
		}
	}
	for len(c.open) > 0 {
		q := c.open[len(c.open)-1]
		c.dirty.Set(q.r)
		c.complete(q, ErrLetGo)
		c.drop(q)
		c.finish(q)
	}
	if c.phase != off {
		c.disconnect(now, errors.New("this replica became Secondary; the handshake is repeated"))
	}
	if c.peerMayHold && c.meta.Gen.Bitmap != 0 {
		c.rotate() // an End may have arrived there: what we hold is not that any more
	}
	c.primary, c.reign, c.lease = false, 0, 0
	c.grow, c.chosen = arbiter.Accepted{}, arbiter.Accepted{}
	c.terms.leaving = false
	c.saving = savingForDemotion
	c.emit(Action{Kind: SaveBitmap})
	c.changed()
}

// Tick lets time pass; call it about ten times per second.
func (c *Core) Tick(now time.Duration) {
	if c.phase != off && c.pace != nil {
		c.pace.Tick(now)
	}
	c.watchDisk(now)
	if c.verify.pace != nil {
		c.verify.pace.Tick(now)
	}
	if !c.primary {
		return
	}
	c.giveUpReads(now)
	c.pullAhead(now)
	if len(c.unstable) > 0 && now-c.oldest >= c.cfg.BarrierAfter && !c.barrierOut {
		c.barrier()
	}
	c.patience(now)
	c.retryOmitted(now)
	c.pump(now)
	c.sweep(now)
	c.feed(now)
	c.retire(now)
}

// patience drops a peer that does not answer a request.
func (c *Core) patience(now time.Duration) {
	if c.cfg.WriteTimeout == 0 {
		return
	}
	for _, q := range c.active {
		if q.pending && now-q.since > c.cfg.WriteTimeout {
			c.disconnect(now, fmt.Errorf("the peer did not answer a write within %v", c.cfg.WriteTimeout))
			return
		}
	}
	if c.impatient(now) {
		c.disconnect(now, fmt.Errorf("the peer did not answer the verify within %v", c.cfg.WriteTimeout))
	}
}
