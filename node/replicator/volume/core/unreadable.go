package core

import (
	"fmt"
	"slices"
	"time"

	"gemel/node/block"
)

// What the source of a resync cannot read, it cannot send; what the target
// cannot write, it refuses where its disk is kept (PassOn). A piece that failed
// is tried again in smaller ones, down to the block; a block that
// fails alone is left out, and everything else is copied. Such blocks stay out
// of sync like a piece under way: they are in every image of the bitmap, and
// marked again when the connection ends. While there is one the resync does not
// end, so the target stays Inconsistent and outside of R: its own content of the
// block is older than what was acknowledged, and nothing there says so. A block
// is tried again now and then, and a write of the application over it mends both
// sides: it is sent as any other.

const (
	retryUnreadable = time.Minute // between tries of the same blocks
	unreadableMost  = 4096        // ranges left out; more, and the resync waits
	unreadableShown = 16
)

// side is whose disk failed.
type side uint8

const (
	here  side = iota // the source could not read
	there             // the target could not write
)

// omitted is what a resync left out. Its ranges are neither marked nor under way.
type omitted struct {
	again  []block.Range // parts of pieces that failed, the next one last
	blocks []block.Range // failed alone, in order, apart from each other
	bytes  int64         // of both
	// known are the blocks that failed here and there, and were not copied or
	// written since, also while they are tried.
	known [2][]block.Range
	due   time.Duration // next try of blocks
}

// leaveOut takes the end of a copy that failed at r.
func (c *Core) leaveOut(now time.Duration, r block.Range, where side) {
	u := &c.omitted
	var tried, failed int64 // a write over it that failed as well marked it anew
	u.again, tried = without(u.again, r)
	u.blocks, failed = without(u.blocks, r)
	u.bytes += r.Len - tried - failed
	if r.Len > block.Size {
		half := (r.Len/2 + block.Size - 1) / block.Size * block.Size
		u.again = append(u.again, block.Range{Off: r.Off + half, Len: r.Len - half}, block.Range{Off: r.Off, Len: half})
		return
	}
	if len(u.blocks) == 0 {
		u.due = now + retryUnreadable
	}
	u.known[1-where], _ = without(u.known[1-where], r)
	u.blocks, u.known[where] = insert(u.blocks, r), insert(u.known[where], r)
	c.changed()
}

// insert adds r to list, which is in order, joined with its neighbours.
func insert(list []block.Range, r block.Range) []block.Range {
	i := 0
	for i < len(list) && list[i].End() < r.Off {
		i++
	}
	j := i
	for ; j < len(list) && list[j].Off <= r.End(); j++ {
		off := min(r.Off, list[j].Off)
		r = block.Range{Off: off, Len: max(r.End(), list[j].End()) - off}
	}
	return slices.Replace(list, i, j, r)
}

// without cuts r out of list and returns how many bytes that were.
func without(list []block.Range, r block.Range) (rest []block.Range, n int64) {
	for i := 0; i < len(list); i++ {
		l := list[i]
		if !l.Overlaps(r) {
			continue
		}
		var left []block.Range
		if l.Off < r.Off {
			left = append(left, block.Range{Off: l.Off, Len: r.Off - l.Off})
		}
		if r.End() < l.End() {
			left = append(left, block.Range{Off: r.End(), Len: l.End() - r.End()})
		}
		n += min(l.End(), r.End()) - max(l.Off, r.Off)
		list = slices.Replace(list, i, i+1, left...)
		i += len(left) - 1
	}
	return list, n
}

// next returns at most limit bytes of what is to be tried again.
func (u *omitted) next(limit int64) (block.Range, bool) {
	n := len(u.again)
	if n == 0 {
		return block.Range{}, false
	}
	r := u.again[n-1]
	u.again = u.again[:n-1]
	if limit = limit / block.Size * block.Size; r.Len > limit {
		u.again = append(u.again, block.Range{Off: r.Off + limit, Len: r.Len - limit})
		r.Len = limit
	}
	u.bytes -= r.Len
	return r, true
}

// overwritten forgets what a write is going to make good.
func (c *Core) overwritten(r block.Range) {
	u := &c.omitted
	if u.bytes == 0 {
		return
	}
	var tried, failed int64
	u.again, tried = without(u.again, r)
	u.blocks, failed = without(u.blocks, r)
	u.bytes -= tried + failed
	c.madeGood(r)
}

// madeGood: r is or will be good on both sides.
func (c *Core) madeGood(r block.Range) {
	for where := range c.omitted.known {
		if len(c.omitted.known[where]) == 0 {
			continue
		}
		var n int64
		if c.omitted.known[where], n = without(c.omitted.known[where], r); n > 0 {
			c.changed()
		}
	}
}

// each calls f with every range.
func (u *omitted) each(f func(block.Range)) {
	for _, r := range u.again {
		f(r)
	}
	for _, r := range u.blocks {
		f(r)
	}
}

// retryOmitted tries the blocks again that were left out, once it is time.
func (c *Core) retryOmitted(now time.Duration) {
	u := &c.omitted
	if len(u.blocks) > 0 && now >= u.due {
		u.due = now + retryUnreadable
		u.again = append(u.again, u.blocks...)
		u.blocks = u.blocks[:0]
	}
}

// markOmitted turns what was left out into bits, when the connection ends.
func (c *Core) markOmitted() {
	c.omitted.each(c.setBits)
	c.omitted = omitted{}
}

// viewOmitted shows what a resync left out.
func (c *Core) viewOmitted(r *Resync) {
	u := &c.omitted
	r.Unreadable, r.UnreadableRanges = shown(u.known[here])
	r.Unwritable, r.UnwritableRanges = shown(u.known[there])
	switch {
	case r.Waiting != "" || len(u.blocks) == 0:
	case len(u.blocks) >= unreadableMost:
		r.Stuck = true
		r.Waiting = fmt.Sprintf("%d blocks or more cannot be copied; replace the disk that fails", u.bytes/block.Size)
	case c.dirty.Bytes() == 0 && c.resyncIn == 0 && len(u.again) == 0:
		r.Stuck = true
		r.Waiting = "everything else is copied; a write over the blocks that are left makes both sides good, if the disks take it"
	}
}

func shown(list []block.Range) (bytes int64, first []block.Range) {
	for _, r := range list {
		bytes += r.Len
	}
	return bytes, slices.Clone(list[:min(len(list), unreadableShown)])
}
