package sim

import (
	"maps"

	"gemel/node/arbiter"
	"gemel/node/replicator/disk/crashdisk"
	"gemel/node/replicator/handshake"
)

// A reign by an operator's word forks what was promised: from then on each side
// has a truth of its own, and the other's reads and writes mean nothing to it.
// They are one again when one side is overwritten with the other, which must not
// happen without a word while it holds what was acknowledged and the other lacks.

// eachTruth calls f for the truth, or for both.
func (w *world) eachTruth(f func(t *truth)) {
	f(w.boxes[0].truth)
	if w.boxes[1].truth != w.boxes[0].truth {
		f(w.boxes[1].truth)
	}
}

// newest is the newest set that is chosen on any side.
func (w *world) newest() arbiter.Accepted {
	a, b := w.boxes[0].truth.chosen, w.boxes[1].truth.chosen
	if b.Newer(a) {
		return b
	}
	return a
}

// recorded tells the side whose reign it is that a voter has a on stable storage.
func (w *world) recorded(voter arbiter.NodeID, a arbiter.Accepted) {
	if a.Epoch != 0 {
		w.boxes[a.Epoch.Owner()].truth.recorded(voter, a)
	}
}

// fork is a copy of t that goes its own way.
func (t *truth) fork() *truth {
	c := *t
	c.byHand, c.records = true, maps.Clone(t.records)
	copies := map[*request]*request{}
	all := func(list []*request) (out []*request) {
		for _, q := range list {
			if copies[q] == nil {
				twin := *q
				copies[q] = &twin
			}
			out = append(out, copies[q])
		}
		return out
	}
	for n := range t.writes {
		c.writes[n] = all(t.writes[n])
	}
	c.open = all(t.open)
	return &c
}

// byWord: b is about to be Primary because an operator said so.
func (t *truth) byWord(b *box) {
	other := b.w.boxes[1-b.id]
	if b.truth == other.truth {
		b.truth = t.fork()
	}
	b.w.stats.Grabbed++
	b.w.tell("an operator's word makes %s Primary", names[b.id])
	one := arbiter.Only(b.id)
	for _, q := range b.truth.open {
		if q.forgotten || q.held&one != 0 {
			continue
		}
		if n, _ := b.truth.missing(b, q); n >= 0 && q.left&one == 0 {
			q.forgotten, q.excused = true, (q.lost|q.gone)&one != 0
			b.w.stats.GivenUp++
		}
		q.held |= one
	}
}

// leave notes which nodes held q when they left the set.
func (q *request) leave(gone arbiter.Set) {
	q.left |= q.held & gone
	q.leftStable |= q.held & q.stable & gone
	q.gone |= q.lost & gone
}

// extra returns the newest write that was acknowledged on b's side, is there,
// and is unknown to the other side; nil: none.
func (b *box) extra() *request {
	other := map[uint64]*request{}
	for _, list := range b.w.boxes[1-b.id].truth.writes {
		for _, q := range list {
			other[q.number] = q
		}
	}
	for _, list := range b.truth.writes {
		for i := len(list) - 1; i >= 0; i-- {
			q, there := list[i], other[list[i].number]
			if q.acked == 0 || q.forgotten {
				continue
			}
			known := there != nil && there.acked != 0 && !there.forgotten
			excused := there != nil && there.excused && q.stable&arbiter.Only(b.id) == 0
			if known || excused {
				continue
			}
			if n, _ := b.truth.missing(b, q); n < 0 {
				return q
			}
		}
	}
	return nil
}

// reigns: b becomes Primary, elected or by an operator's word.
func (b *box) reigns(e arbiter.Epoch) {
	if b.word {
		b.word = false
		b.truth.byWord(b)
	}
	b.truth.promoted(b, e)
}

// meet is a handshake after which nothing has to be copied.
func (w *world) meet(mine, peer handshake.State) {
	if mine.Primary != peer.Primary {
		source := mine.Node
		if peer.Primary {
			source = peer.Node
		}
		w.joins(w.boxes[1-source], w.boxes[source])
	}
}

// joins: target follows source from now on, and is overwritten with it.
func (w *world) joins(target, source *box) {
	if target.truth == source.truth {
		return
	}
	if q := target.extra(); q != nil && !target.gaveUp {
		w.broken("what only one side acknowledged is not overwritten without a word",
			"write %d at %d+%d of %s is unknown to %s, which overwrites it", q.number, q.at.Off, q.at.Len,
			names[target.id], names[source.id])
	}
	w.tell("%s follows %s from now on", names[target.id], names[source.id])
	target.truth, target.gaveUp = source.truth, false
}

// intact demands that each side still holds what was acknowledged on it.
func (t *truth) intact(b *box) {
	one := arbiter.Only(b.id)
	for n := range b.size() {
		floor := uint64(0)
		for i := len(t.writes[n]) - 1; i >= 0 && floor == 0; i-- {
			if q := t.writes[n][i]; q.acked != 0 && !q.forgotten && (q.held|q.stable)&one != 0 {
				floor = q.number
			}
		}
		p := b.peek(blockAt(n))
		for off := 0; off < blockSize; off += crashdisk.Sector {
			if have, ok := t.fits(b.id, p[off:off+crashdisk.Sector], n, floor); !ok {
				t.w.broken("sides that went apart keep what they have", "block %d of %s holds write %d; write %d was acknowledged there",
					n, names[b.id], have, floor)
			}
		}
	}
}
