package core

import (
	"time"

	"gemel/node/replicator/activity"
)

// Extents that nobody wrote for a while leave the activity log by themselves, in
// transactions of their own, so that a crash costs a resync of what was written
// lately and not of everything that was written once, such as by a discard of the
// whole device. They obey the same rule as those that make room for others.

// idleAfter is how long an extent stays in the log unused, at least; at most twice
// that, and until what it waits for is on stable storage.
const idleAfter = 15 * time.Second

// retire lets idle extents leave, a transaction's worth at a time. It never stands
// in the way of a write: that has the log first.
func (c *Core) retire(now time.Duration) {
	h := &c.hot
	if now >= h.eraEnd {
		h.era, h.eraEnd = h.era+1, now+c.cfg.LogIdle
	}
	if h.under || len(h.cold) > 0 || c.problem != nil {
		return
	}
	n, local, bits := 0, false, false
	h.log.EachIdle(func(slot int, extent uint32) bool {
		m := &h.marks[slot]
		if m.era+2 > h.era { // and so are all that follow
			return false
		}
		if c.mayLeave(slot) {
			h.idle[n] = slot
			n++
		} else {
			local = local || m.sync > c.syncRound
			bits = bits || !c.pages.covered(c.extentRange(extent), m.bits)
		}
		return n < activity.UpdatesMost
	})
	for _, slot := range h.idle[:n] {
		h.log.Drop(slot)
	}
	if n > 0 {
		h.next, h.under = h.log.Make(), true
		c.emit(Action{Kind: Log})
	}
	if local {
		c.wantSync()
	}
	if h.retiring = bits; bits && !c.pages.under {
		c.savePages()
	}
}
