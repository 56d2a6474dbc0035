package core

import (
	"time"

	"gemel/node/block"
	"gemel/node/replicator/handshake"
)

// Checksums says whether a resync compares before it copies.
type Checksums uint8

// When both disks are likely to hold the same, comparing sends less than
// copying: ChecksumsAuto compares when a node died with writes under way, and
// when a replica that had data gets everything anew.
const (
	ChecksumsAuto Checksums = iota
	ChecksumsOn
	ChecksumsOff
)

// chooseSums decides for the resync that begins. One that goes on after an
// interruption goes on as it was: what is still marked is marked for the same
// reason.
func (c *Core) chooseSums() {
	switch c.cfg.Checksums {
	case ChecksumsOn:
		c.sums = true
	case ChecksumsOff:
		c.sums = false
	default:
		full := c.verdict == handshake.SourceFull && !c.peer.Created
		c.sums = c.sums || full || c.peer.Crashed || c.meta.Crashed
	}
}

// startCopy begins with one piece of a resync, or of a repair.
func (c *Core) startCopy(now time.Duration, q *request) {
	if !c.sums || q.repair {
		c.emit(Action{Kind: Read, ID: q.id, Range: q.r})
		return
	}
	q.sums, q.asking, q.pending, q.since = true, true, true, now
	c.send(Msg{Kind: Ask, ID: uint64(q.id), Range: q.r})
	c.emit(Action{Kind: ReadDigest, ID: q.id, Range: q.r})
}

// copyDiffering sends what differs of a piece that was compared. What is the
// same may be in the target's cache only, like everything it acknowledges.
func (c *Core) copyDiffering(now time.Duration, q *request, differ []block.Range) {
	differs := int64(0)
	for _, r := range differ {
		differs += r.Len
	}
	c.count.Same += q.r.Len - differs
	q.completed = true
	if differs == 0 {
		c.copied(now, q)
		return
	}
	q.pending, q.since, q.parts = true, now, len(differ)
	for _, r := range differ {
		c.send(Msg{Kind: ResyncData, ID: uint64(q.id), Range: r, At: r.Off - q.r.Off, Payload: q.id})
		c.count.Resynced += r.Len
	}
}

// copied: the target holds the piece.
func (c *Core) copied(now time.Duration, q *request) {
	q.acked = true
	c.remember(now, q.r)
	if q.repair {
		c.repaired(q)
	} else {
		c.resyncIn -= q.r.Len
		c.madeGood(q.r)
		c.pace.Delivered(now, q.r.Len)
	}
	c.settle(now, q)
	c.finish(q)
}

// copyFailed: the source cannot read what it should copy.
func (c *Core) copyFailed(now time.Duration, q *request) {
	q.completed = true
	if q.repair {
		c.repairFailed(now, q)
		return
	}
	c.resyncIn -= q.r.Len
	c.leaveOut(now, q.r, here)
	c.settle(now, q)
	c.finish(q)
}
