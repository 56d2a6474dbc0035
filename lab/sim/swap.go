package sim

import (
	"errors"
	"slices"
	"time"

	"gemel/node/arbiter"
	"gemel/node/replicator/disk/crashdisk"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/meta"
)

// Another disk than before is in a box when its power comes back: a new one, an
// image of an earlier time, a copy of the other node's, or one whose metadata
// is gone. Each time the peer holds everything that was acknowledged.

// spare reports whether b's disk is not needed: the peer is recorded to hold
// everything.
func (b *box) spare() bool {
	set := b.truth.chosen.Set
	other := b.w.boxes[1-b.id]
	return b.truth == other.truth && set.Has(other.id) && !other.blank && other.expect == nil && !other.restored && other.intact()
}

// intact reports whether b's disk is not a mixture, nor failed, and its vote counts.
func (b *box) intact() bool {
	if b.repl != nil && (b.repl.core.Problem() != nil || b.repl.core.Hello().Discard) || b.badWrites > 0 || !b.worn.Empty() {
		return false
	}
	s, err := meta.Open(b.disk.Clone(), b.params())
	if err != nil {
		return false
	}
	super := s.Super()
	return super.Flags&(meta.Inconsistent|meta.Discard) == 0 && !super.Register.Fresh
}

// swap cuts b's power and lets it come back with another disk.
func (b *box) swap(f Fault) bool {
	if !b.spare() || b.expect != nil || f.Kind == RestoreDisk && b.image == nil {
		return false
	}
	b.powerOff()
	b.bounded = false
	other := b.w.boxes[1-b.id]
	switch f.Kind {
	case ReplaceDisk:
		b.disk, b.expect = crashdisk.New(deviceSize), meta.ErrNoMetadata
	case CloneDisk:
		b.disk, b.expect = other.disk.Clone().CrashWith(everything), meta.ErrForeign
	case LoseMetadata:
		b.loseMetadata()
	case RestoreDisk:
		b.w.after(f.For/2, func() { b.restore() })
		return true
	}
	b.hurts = nil
	b.truth.diskLost(b.id)
	return true
}

func everything(int) bool { return true }

// loseMetadata damages both slots of the superblock.
func (b *box) loseMetadata() {
	b.expect = meta.ErrDamaged
	for _, off := range []int64{slot0, slot1} {
		h := hurt{off: off, before: make([]byte, 4096)}
		b.disk.Peek(h.before, off)
		if b.dice.one(2) {
			h.after = append([]byte(nil), h.before...)
			h.after[b.dice.IntN(400)] ^= 4
		}
		h.apply(b)
	}
}

// remember keeps the disk as it is for a restoration later.
func (b *box) remember() {
	if b.on && b.expect == nil && !b.blank && b.truth.chosen.Epoch != 0 {
		b.image, b.imageHurts = b.disk.Clone().CrashWith(everything), slices.Clone(b.hurts)
	}
}

// restore puts the image back. Nobody can see that while the only voter that
// knows better is away, so it happens once the peer and the witness have
// recorded that this node's disk is not needed.
func (b *box) restore() {
	t := b.truth
	if b.image == nil || !b.noticeable() {
		return
	}
	known := t.chosen.Set == arbiter.Only(1-b.id) && t.records[t.chosen] == arbiter.Only(1-b.id)|arbiter.Only(arbiter.Witness)
	if b.on || !known || !b.spare() || b.expect != nil || b.blank {
		return
	}
	b.w.tell("an earlier image is put back on the disk of %s", names[b.id])
	b.w.stats.Restored++
	b.disk, b.image, b.restored, b.hurts = b.image, nil, true, b.imageHurts
	t.diskLost(b.id)
}

// noticeable reports whether the two met since the image was made: or renewed
// their meeting.
func (b *box) noticeable() bool {
	image, err := meta.Open(b.image.Clone(), b.params())
	other, err2 := meta.Open(b.w.boxes[1-b.id].disk.Clone(), b.w.boxes[1-b.id].params())
	return err == nil && err2 == nil && image.Super().Past.PeerSequence < other.Super().Past.Said
}

// cannotOpen takes a refusal of the metadata: the volume does not run until an
// operator has made the replica anew.
func (b *box) cannotOpen(err error) {
	switch {
	case b.expect != nil && errors.Is(err, b.expect):
	case errors.Is(err, meta.ErrDamaged) && b.twice():
		b.w.tell("%s: %v; without the first damage:", names[b.id], err)
		b.startReplicator()
		return
	default:
		b.w.broken("metadata opens after any crash", "%s: %v", names[b.id], err)
	}
	b.w.tell("%s: %v", names[b.id], err)
	b.w.stats.Refused++
	b.problem = err.Error()
	b.after(b.dice.span(200*time.Millisecond, 5*time.Second), b.create)
}

// create is the operator's `gemel volume create`, with --force where it is
// asked for.
func (b *box) create() {
	if b.problem == "" {
		return
	}
	b.lives++
	if b.expect != meta.ErrNoMetadata { //nolint:errorlint // it is one of three
		if _, err := meta.Create(b.disk, b.params(), false); !errors.Is(err, meta.ErrOccupied) {
			b.w.broken("what may be somebody's data is not overwritten without a word", "%s: %v", names[b.id], err)
		}
	}
	if _, err := meta.Create(b.disk, b.params(), true); err != nil {
		b.w.broken("a replica can be made anew", "%s: %v", names[b.id], err)
	}
	b.w.tell("an operator creates the replica of %s anew", names[b.id])
	b.problem, b.expect, b.blank, b.restored = "", nil, true, false
	b.startReplicator()
}

// older takes the refusal of a replica that is older than when the two last met:
// an operator throws the data of the restored one away.
func (e *end) older(d handshake.Verdict) bool {
	var old *box
	for _, b := range e.r.w.boxes {
		if b.restored {
			old = b
		}
	}
	if d.Name != handshake.OlderRestored || old == nil {
		return false
	}
	r := old.repl
	if r == nil || r.invalidating || r.core.View(0).Primary {
		return true
	}
	old.w.tell("the handshake refuses: %s", d)
	old.w.stats.Noticed++
	r.invalidating = true
	r.after(old.dice.span(200*time.Millisecond, 3*time.Second), func() {
		r.invalidating = false
		if !r.core.View(0).Primary {
			old.w.tell("an operator invalidates the replica of %s", names[old.id])
			_, _ = r.core.Discard(old.clock(), false, true)
			r.run()
		}
	})
	return true
}
