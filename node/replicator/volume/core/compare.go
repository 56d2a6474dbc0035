package core

import (
	"time"

	"gemel/node/block"
)

// Both sides read a piece at once, the Secondary's sums travel, and the Primary
// compares them with its own. Two use it: a verify, which holds no range, and a
// resync with checksums, which does.

// asked takes the Primary's question what a piece holds here.
func (c *Core) asked(now time.Duration, m Msg) {
	if c.phase < syncing || !c.inside(m.Range) || m.Range.Len > maxExtent {
		c.disconnect(now, outOfPlace("question", m.Range))
		return
	}
	q := c.alloc(digesting, m.Range)
	q.remote, q.session, q.completed = m.ID, c.session, true
	c.sums = c.sums || c.phase == syncing
	if c.theirsOverlap(q.r) {
		c.asks = append(c.asks, q)
		return
	}
	c.digest(q)
}

// theirsOverlap reports whether a write of the Primary that came earlier is not
// on the disk yet: a question is answered as of its place in the stream.
func (c *Core) theirsOverlap(r block.Range) bool {
	for _, w := range c.theirs {
		if w.r.Overlaps(r) {
			return true
		}
	}
	return false
}

func (c *Core) digest(q *request) {
	q.inLocal = true
	c.local++
	c.emit(Action{Kind: Digest, ID: q.id, Range: q.r})
}

// reask starts the questions that waited for a write.
func (c *Core) reask() {
	kept := c.asks[:0]
	for _, q := range c.asks {
		if c.theirsOverlap(q.r) {
			kept = append(kept, q)
			continue
		}
		c.digest(q)
	}
	clear(c.asks[len(kept):])
	c.asks = kept
}

// digested answers the Primary, if it is still the one that asked. A read error
// takes nothing out of service: the piece may never be read again, and the
// answer lets a repair write it.
func (c *Core) digested(now time.Duration, q *request) {
	if c.phase != off && !c.primary && q.session == c.session && c.peerEpoch >= c.register.Promised {
		m := Msg{Kind: Sums, ID: q.remote, Range: q.r, Bad: q.err != nil}
		if !m.Bad {
			m.Payload = q.id
		}
		c.send(m)
		if m.Bad {
			c.detachOn(q.err)
		}
		if c.phase == syncing {
			c.pace.Delivered(now, q.r.Len)
		}
	}
	c.finish(q)
}

// forgetAsks drops the questions that were not begun, when the connection ends.
func (c *Core) forgetAsks() {
	for _, q := range c.asks {
		c.finish(q)
	}
	clear(c.asks)
	c.asks = c.asks[:0]
}

// summed takes the Secondary's answer and returns under which ID its sums are
// wanted; zero: throw them away.
func (c *Core) summed(now time.Duration, m Msg) ID {
	q := c.find(ID(m.ID))
	if q == nil || !q.sums || !q.asking || m.Range != q.r {
		return 0
	}
	q.asking, q.pending, q.bad = false, false, m.Bad
	c.meetSums(now, q)
	if c.find(ID(m.ID)) != q || q.completed {
		return 0
	}
	return q.id
}

// ownSums takes the end of the own read of a piece that is compared.
func (c *Core) ownSums(now time.Duration, q *request) {
	if q.completed { // the connection is gone
		c.settle(now, q)
		c.finish(q)
		return
	}
	c.meetSums(now, q)
}

// meetSums goes on once both sides have read.
func (c *Core) meetSums(now time.Duration, q *request) {
	switch {
	case q.inLocal || q.asking:
	case q.err != nil || q.bad:
		c.unreadable(now, q)
	default:
		c.emit(Action{Kind: Compare, ID: q.id, Range: q.r})
	}
}

// Compared tells in which blocks of id the two sides differ: the answer to
// Compare.
func (c *Core) Compared(now time.Duration, id ID, differ []block.Range) {
	q := c.find(id)
	if q == nil || q.completed {
		return
	}
	if q.kind == checking {
		c.checked(now, q, differ)
	} else {
		c.copyDiffering(now, q, differ)
	}
	c.pump(now)
}

// unreadable: one side could not read its blocks.
func (c *Core) unreadable(now time.Duration, q *request) {
	if q.kind == checking {
		c.checkFailed(now, q)
		return
	}
	if q.err != nil {
		c.copyFailed(now, q)
		return
	}
	c.copyDiffering(now, q, []block.Range{q.r}) // the target's blocks are written anew
}
