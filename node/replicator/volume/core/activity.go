package core

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/block"
	"gemel/node/replicator/activity"
)

// This file is the Primary's use of the activity log. The rule: at every moment
// while it is Primary, the bitmap on stable storage joined with the extents in
// the log on stable storage names every block in which the peer may differ from
// this node, whichever of the two loses its power, or both. So
//
//   - a write starts when every extent it touches is in the log, stable;
//   - an extent leaves when nothing in it is under way, what was written to it
//     is stable here and at the peer, and each bit that was set in it since is
//     in a page of the bitmap on stable storage;
//   - no resync begins before what this node took as Secondary is stable here;
//   - a page on stable storage has the bits of what a resync has under way, until
//     it is stable at the peer.

// spanMost is how many extents one request may touch; fewer than the least log
// has slots, or it could wait for ever.
const spanMost = 32

// starve is how long a cold write waits for a slot before hot ones wait with it.
const starve = 100 * time.Millisecond

// hot is the activity log of a Core.
type hot struct {
	log    *activity.Log
	extent int64      // bytes of one
	marks  []mark     // of each slot
	cold   []*request // wait for the log, in order
	under  bool       // a transaction is under way
	next   *activity.Transaction
	stuck  bool   // the first cold request found no slot
	freed  bool   // something changed for it since
	base   uint64 // local sync round that covers what came before the reign
	synced uint64 // newest local sync round that ended well
	agreed uint64 // newest barrier that the peer answered
	may    func(slot int) bool

	era      uint64 // counts cfg.LogIdle, as far as Ticks saw it
	eraEnd   time.Duration
	retiring bool // idle extents wait for their bits to be saved
	idle     [activity.UpdatesMost]int
}

// mark is what the extent in a slot waits for before it may leave.
type mark struct {
	sync uint64 // local sync round that covers what was written to it
	peer uint64 // barrier that covers it
	bits uint64 // snapshot of the bitmap that covers its bits
	era  uint64 // in which it was used last
}

// startLog begins with an empty log, whose transactions follow the one of number.
func (c *Core) startLog(number uint64) {
	h := &c.hot
	h.extent = c.cfg.LogExtent
	slots := c.cfg.LogSlots
	if slots == 0 {
		slots = activity.SlotsDefault
	}
	extents := int((c.size() + h.extent - 1) / h.extent)
	h.log = activity.New(slots, extents, number)
	h.marks = make([]mark, h.log.Slots())
	h.cold, h.stuck, h.freed, h.retiring = nil, false, false, false
	h.may = c.mayLeave
}

// recoverLog marks what the log says may be out of sync after a crash, or
// everything when the log cannot tell. It reports whether the log could.
func (c *Core) recoverLog(s *activity.Set) bool {
	if !s.Known {
		return false
	}
	for _, e := range s.Extents {
		c.dirty.Set(block.Range{Off: int64(e) * c.hot.extent, Len: c.hot.extent})
	}
	return true
}

// span returns the first and the last extent that r touches.
func (h *hot) span(r block.Range) (first, last uint32) {
	return uint32(r.Off / h.extent), uint32((r.End() - 1) / h.extent)
}

// heat lets a write pass whose extents are hot, and holds them; another waits
// for the log.
func (c *Core) heat(now time.Duration, q *request) bool {
	if q.r.Empty() {
		return true
	}
	h := &c.hot
	first, last := h.span(q.r)
	if (len(h.cold) == 0 || now-h.cold[0].since < starve && !overlaps(h.cold, q.r)) && h.log.AllHot(first, last) {
		for e := first; e <= last; e++ {
			slot := h.log.Slot(e)
			h.log.Use(slot)
			h.marks[slot].era = h.era
		}
		q.hot = int32(last - first + 1)
		return true
	}
	q.since = now
	h.cold = append(h.cold, q)
	c.feed(now)
	return false
}

// cool gives back the extents of a write that is done on both sides.
func (c *Core) cool(q *request) {
	if q.hot == 0 {
		return
	}
	h := &c.hot
	first, _ := h.span(q.r)
	for e := first; e < first+uint32(q.hot); e++ {
		slot := h.log.Slot(e)
		m := &h.marks[slot]
		m.sync = c.syncRound + 1
		if q.acked && c.phase >= syncing { // else it is marked already
			m.peer = c.barrierSeq + 1
		}
		if h.log.Leave(slot) == 0 {
			h.freed = true
		}
	}
	q.hot = 0
}

// setBits marks r as out of sync, and its extents as having bits that are not
// on stable storage.
func (c *Core) setBits(r block.Range) {
	c.dirty.Set(r)
	if r.Empty() || !c.primary {
		return
	}
	h := &c.hot
	first, last := h.span(r)
	for e := first; e <= last; e++ {
		if slot := h.log.Slot(e); slot >= 0 {
			h.marks[slot].bits = c.pages.taken + 1
		} else {
			c.pages.need(c.extentRange(e))
		}
	}
}

// mayLeave reports whether stable storage names everything in which the peer
// may differ also without the extent in slot, which nobody uses.
func (c *Core) mayLeave(slot int) bool {
	m := &c.hot.marks[slot]
	if m.sync > c.hot.synced || m.peer > c.hot.agreed {
		return false
	}
	extent, _ := c.hot.log.Extent(slot)
	return c.pages.covered(c.extentRange(extent), m.bits)
}

func (c *Core) extentRange(extent uint32) block.Range {
	off := int64(extent) * c.hot.extent
	return block.Range{Off: off, Len: min(c.hot.extent, c.size()-off)}
}

// feed starts cold requests that have all their extents, and puts the extents
// of the next ones into a transaction.
func (c *Core) feed(now time.Duration) {
	h := &c.hot
	if len(h.cold) == 0 || h.under || h.stuck && !h.freed {
		return
	}
	h.stuck, h.freed = false, false
	if c.problem != nil {
		c.giveUpCold(now)
		return
	}
	kept, full := h.cold[:0], false
	for _, q := range h.cold {
		switch {
		case !full && !c.warm(q):
			full = true
			kept = append(kept, q)
		case full || !h.log.Stable(q.logged) || overlaps(kept, q.r):
			kept = append(kept, q)
		default:
			c.place(now, q)
		}
	}
	clear(h.cold[len(kept):])
	h.cold = kept
	if h.log.Pending() > 0 {
		h.next, h.under = h.log.Make(), true
		c.emit(Action{Kind: Log})
	} else if h.stuck {
		c.relieve()
	}
}

func overlaps(list []*request, r block.Range) bool {
	for _, q := range list {
		if q.r.Overlaps(r) {
			return true
		}
	}
	return false
}

// giveUpCold leaves requests that the failed disk cannot take to the peer, or
// ends them.
func (c *Core) giveUpCold(now time.Duration) {
	c.dropCold()
	c.review(now)
}

// warm holds the extents of q in order; false: not all of them could get a slot
// just now.
func (c *Core) warm(q *request) bool {
	h := &c.hot
	first, last := h.span(q.r)
	for e := first + uint32(q.hot); e <= last; e++ {
		slot := h.log.Slot(e)
		if slot < 0 {
			var o activity.Outcome
			if slot, o = h.log.Admit(e, h.may); o != activity.Admitted {
				h.stuck = o == activity.NoRoom
				return false
			}
			h.marks[slot] = mark{}
		}
		h.log.Use(slot)
		h.marks[slot].era = h.era
		q.hot++
		_, number := h.log.Extent(slot)
		q.logged = max(q.logged, number)
	}
	return true
}

// relieve sees to it that extents may leave.
func (c *Core) relieve() {
	h := &c.hot
	looked, local, peer, bits := 0, false, false, false
	h.log.EachIdle(func(slot int, extent uint32) bool {
		m := &h.marks[slot]
		local = local || m.sync > c.syncRound
		peer = peer || m.peer > c.barrierSeq
		bits = bits || !c.pages.covered(c.extentRange(extent), m.bits)
		looked++
		return looked < 2*activity.UpdatesMost
	})
	if local {
		c.wantSync()
	}
	if peer {
		c.barrier()
	}
	if bits {
		c.savePages()
	}
}

// Transaction returns what to write when Log was asked for; it stays as it is
// until Logged.
func (c *Core) Transaction() *activity.Transaction { return c.hot.next }

// Logged tells that the transaction is on stable storage.
func (c *Core) Logged(now time.Duration, err error) {
	h := &c.hot
	h.under = false
	if err != nil {
		c.metadataFailed(now, err)
		return
	}
	h.log.Done()
	h.freed = true
	c.feed(now)
	c.pump(now)
}

// leaveLog forgets the log's users: the role ends, and what is under way is marked.
func (c *Core) leaveLog() {
	h := &c.hot
	h.cold, h.stuck = nil, false
	for _, q := range c.active {
		q.hot = 0
	}
	for _, q := range c.waiting {
		q.hot = 0
	}
}

// errSpan refuses a request that touches too many extents.
var errSpan = errors.New("the request is too long")

// maySpan returns why r is too long for one request.
func (c *Core) maySpan(r block.Range) error {
	if r.Len > (spanMost-1)*c.hot.extent {
		return fmt.Errorf("%w: %d bytes, at most %d can be taken at once", errSpan, r.Len, (spanMost-1)*c.hot.extent)
	}
	return nil
}
