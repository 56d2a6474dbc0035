package core

import (
	"errors"
	"time"
)

// Under protocol A more may be written than the connection carries. What is on
// its way when a write completes is bounded by Config.Fill in any case. With
// PullAhead the application does not wait for long at that bound: the peer is
// dropped, and once its leaving the in-sync set is recorded, as after every
// loss, writes go on alone and are marked. The connection comes back at once
// and the marked blocks are resynced, while whatever does not fit into Fill is
// marked too instead of being sent: the peer follows as fast as it can, and is
// whole again when the application pauses.

// fillDefault is Config.Fill when it is not given.
const fillDefault = 16 << 20

// pullAfter is Config.PullAfter when it is not given: a burst is no congestion.
const pullAfter = 300 * time.Millisecond

var errCongested = errors.New("the connection does not carry what is written (congested): going on without the peer, " +
	"what it lacks is resynced")

// Fill returns in bytes what may be under way when a write completes under A.
func (c *Core) Fill() int64 { return c.cfg.Fill }

// congested reports whether too much is under way for a write to complete, and
// remembers that one waits.
func (c *Core) congested() bool {
	if c.flight <= c.cfg.Fill {
		return false
	}
	c.squeezed = true
	return true
}

// left reports whether a write during a resync stays behind: it is marked, and
// copied by the resync in its turn.
func (c *Core) left(q *request) bool {
	return c.cfg.PullAhead && c.phase == syncing && c.flight+q.r.Len > c.cfg.Fill
}

// eased takes an acknowledged write off what is under way.
func (c *Core) eased(now time.Duration, q *request) {
	c.flight -= q.r.Len
	if c.flight <= c.cfg.Fill/2 {
		c.squeezedSince = 0
	}
	if c.squeezed && c.flight <= c.cfg.Fill {
		c.squeezed = false
		c.review(now)
	}
}

// pullAhead drops a peer that cannot follow.
func (c *Core) pullAhead(now time.Duration) {
	switch {
	case !c.squeezed:
	case c.squeezedSince == 0:
		c.squeezedSince = now
	case c.cfg.PullAhead && c.phase == inSync && now-c.squeezedSince >= c.cfg.PullAfter:
		c.disconnect(now, errCongested)
	}
}
