package sim

import (
	"gemel/node/block"
	"gemel/node/replicator/volume/core"
)

// sicken lets a disk do what disks do; false: it would cost the only copy.
func (w *world) sicken(b *box, f Fault) bool {
	switch f.Kind {
	case Rot:
		for range 1 + f.N%3 {
			b.rot(int64(b.crowded(f.N)))
		}
	case Misdirect:
		b.misses = f.N
	case Unreadable:
		return b.spoil(f.N)
	case HurtMetadata:
		return b.on && b.truth.chosen.Epoch != 0 && b.expect == nil && b.hurtMetadata(f.N%2 == 0)
	default:
		return b.swap(f)
	}
	return true
}

// failsAt reports whether a write fails because its blocks are worn out.
func (b *box) failsAt(at block.Range) bool { return !at.Empty() && b.worn.Overlaps(at) }

// crowded draws a block, mostly one of those that the application likes.
func (b *box) crowded(n int) int {
	if n%2 == 0 {
		return b.dice.IntN(10)
	}
	return b.dice.IntN(blocks)
}

// spoil makes blocks unreadable that the peer has.
func (b *box) spoil(n int) bool {
	if b.w.whole() == nil {
		return false
	}
	for range 1 + n%3 {
		at := int64(b.crowded(n)) * blockSize
		if !b.w.boxes[1-b.id].disk.Bad(at, blockSize) {
			b.disk.Spoil(at, blockSize)
		}
	}
	return true
}

// cure ends what only the other disk can mend, when that does not have it, or
// when the first look at it would take the replica out of service.
func (w *world) cure() {
	for _, b := range w.boxes {
		b.misses = 0
		if w.whole() == nil || w.plan.OnError == core.Detach {
			b.disk.Mend(0, blocks*blockSize)
		}
	}
}
