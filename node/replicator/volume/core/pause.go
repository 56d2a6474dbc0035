package core

import (
	"time"

	"gemel/node/replicator/resync"
)

// PausedByOperator is why a resync waits that an operator paused.
const PausedByOperator = "paused by an operator"

// pauses keep a resync from copying. One that has not begun does not begin: the
// peer stays usable with its old data.
type pauses struct {
	operator bool
	turn     string // it is another volume's turn
}

func (p *pauses) why() string {
	if p.operator {
		return PausedByOperator
	}
	return p.turn
}

// ResyncPause holds the copying of this Primary, or lets it go on. It counts for
// later connections as well.
func (c *Core) ResyncPause(now time.Duration, paused bool) {
	c.pauses.operator = paused
	c.omitted.due = 0 // who lets it go on wants everything tried
	c.unpause(now)
}

// ResyncHold holds the copying with the reason why, because it is another
// volume's turn; an empty reason lets it go on.
func (c *Core) ResyncHold(now time.Duration, why string) {
	if c.pauses.turn != why {
		c.pauses.turn = why
		c.unpause(now)
	}
}

func (c *Core) unpause(now time.Duration) {
	c.changed()
	if c.primary {
		c.begin(now)
		c.pump(now)
	}
}

// ResyncLimits changes the limits of this resync and of later ones; the window
// stays as it is.
func (c *Core) ResyncLimits(now time.Duration, l resync.Limits) {
	l.Window = c.cfg.Resync.Window
	c.cfg.Resync = l
	if c.pace != nil && c.primary {
		c.pace.SetLimits(l)
	}
	c.changed()
	c.pump(now)
}

// Limits returns the limits in force.
func (c *Core) Limits() resync.Limits { return c.cfg.Resync }
