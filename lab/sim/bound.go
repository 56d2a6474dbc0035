package sim

import (
	"time"

	"gemel/node/replicator/activity"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/meta"
	"gemel/node/replicator/volume/core"
)

// After a crash of a Primary whose peer held everything, only what its activity
// log names is resynced. settledAfter is how long that must have been so: bits of
// an earlier resync stay in the saved bitmap for a while.
const settledAfter = 6 * time.Second

// unflushedFor is how long the peer may lose a write with its power, at most:
// until the next barrier is answered.
const unflushedFor = 3 * time.Second

// pagesSaved notes how many blocks a saved page names although nothing is out of
// sync: those that the peer might have lost just then.
func (b *box) pagesSaved() {
	b.marked = blocks
	if !b.sound() {
		return
	}
	b.marked = 0
	for n := range b.size() {
		if list := b.truth.writes[n]; len(list) > 0 {
			if q := list[len(list)-1]; q.acked == 0 || b.w.now-q.submitted < unflushedFor || b.w.now-q.acked < unflushedFor {
				b.marked++
			}
		}
	}
}

// crashBound is as much as the log can name, and the saved pages.
func (b *box) crashBound() int64 { return logSlots*logExtent + b.marked*blockSize }

// watchBound notes since when a Primary's peer holds everything.
func (w *world) watchBound() {
	for _, b := range w.boxes {
		switch {
		case b.repl == nil:
			b.soundSince = 0
		case !b.sound():
			b.soundSince = 0
		case b.soundSince == 0:
			b.soundSince = w.now
		}
	}
}

// sound: b is Primary, and nothing is out of sync.
func (b *box) sound() bool {
	v := b.repl.core.View(0)
	return v.Primary && v.InSync && v.Problem == nil && v.OutOfSync == 0
}

// crashes notes a crash whose resync is bounded.
func (b *box) crashes() {
	b.bounded = b.soundSince != 0 && b.w.now-b.soundSince >= settledAfter && b.sound()
}

// bound looks that no more is marked after such a crash than the log names.
func (b *box) bound(c *core.Core, super *meta.Superblock, set *activity.Set) {
	switch {
	case !b.bounded:
	case !super.Flags.Has(meta.PrimaryActive), !set.Known, len(b.hurts) > 0:
		b.bounded = false
	default:
		b.w.stats.Bounded++
		if n := c.View(0).OutOfSync; n > b.crashBound() {
			b.w.broken("a crash costs a resync of what the activity log names", "%s marks %d bytes, log and saved bitmap name %d at most",
				names[b.id], n, b.crashBound())
		}
	}
}

// resynced looks that its resync is one by bits.
func (b *box) resynced(verdict handshake.Kind) {
	if b.bounded && !b.gaveUp && verdict != handshake.SourceBitmap {
		b.w.broken("a crash costs a resync of what the activity log names", "%s gets everything anew", names[b.id])
	}
	b.bounded = false
}
