package sim

import (
	"gemel/node/replicator/activity"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/meta"
)

// Where the metadata of the simulated device lies; see package meta.
const (
	tailAt   = deviceSize - 1<<20
	slot0    = tailAt
	slot1    = deviceSize - meta.SlotSize
	ringAt   = slot0 + meta.SlotSize
	ringSize = slot1 - ringAt
)

// hurt is a block of metadata that went bad, and what it held.
type hurt struct {
	off    int64
	before []byte
	after  []byte // nil: unreadable
	what   string
}

// place draws a block of the metadata. It never draws the newest transaction of
// the log: one that was damaged afterwards cannot be told from one that was torn
// by a power cut, and a crash would then cost what only a verify finds.
func (b *box) place() (off int64, what string) {
	switch b.dice.IntN(5) {
	case 0:
		return slot0, "slot 0 of the superblock"
	case 1:
		return slot1, "slot 1 of the superblock"
	case 2:
		return b.bitmapAt(), "a page of the bitmap"
	}
	ring := buffer.Aligned(ringSize)
	b.disk.Peek(ring, ringAt)
	blocks := ringSize / activity.BlockSize
	newest := activity.Position(activity.Recover(ring, b.params().ID).Number, blocks)
	n := (newest + blocks - 1 - b.dice.IntN(6)) % blocks
	return ringAt + int64(n)*activity.BlockSize, "a block of the activity log"
}

// bitmapAt is where the only page of the bitmap lies.
func (b *box) bitmapAt() int64 { return tailAt - 4096 }

// hurtMetadata damages a block of the metadata, unless nothing would be left of
// the superblock.
func (b *box) hurtMetadata(unreadable bool) bool {
	off, what := b.place()
	h := hurt{off: off, what: what, before: make([]byte, 4096)}
	b.disk.Peek(h.before, off)
	if !unreadable {
		h.after = append([]byte(nil), h.before...)
		for i := range 1 + b.dice.IntN(3) { // half of them where something is
			h.after[b.dice.IntN([2]int{512, 4096}[i%2])] ^= 1 << i
		}
	}
	return b.hurtWith(h)
}

// missMetadata lets a block of data go to a place of the metadata.
func (b *box) missMetadata(data []byte) bool {
	off, what := b.place()
	h := hurt{off: off, what: what, before: make([]byte, 4096), after: data}
	b.disk.Peek(h.before, off)
	return b.hurtWith(h)
}

func (b *box) hurtWith(h hurt) bool {
	h.apply(b)
	if _, err := meta.Open(b.disk.Clone(), b.params()); err != nil {
		h.undo(b)
		return false
	}
	b.hurts = append(b.hurts, h)
	b.w.tell("%s of %s is damaged", h.what, names[b.id])
	b.w.stats.Damaged++
	return true
}

func (h *hurt) apply(b *box) {
	if h.after == nil {
		b.disk.Spoil(h.off, 4096)
	} else {
		b.disk.Rot(h.after, h.off)
	}
}

func (h *hurt) undo(b *box) {
	if h.after == nil {
		b.disk.Mend(h.off, 4096)
		return
	}
	now := make([]byte, 4096)
	b.disk.Peek(now, h.off)
	if string(now) == string(h.after) {
		b.disk.Rot(h.before, h.off)
	}
}

// twice: one slot was damaged, and the power failed while the other one was
// written. That is more than metadata can survive; when nobody else has the
// data, the world is one in which the first did not happen.
func (b *box) twice() bool {
	if len(b.hurts) == 0 {
		return false
	}
	for _, h := range b.hurts {
		h.undo(b)
	}
	b.hurts = nil
	return true
}
