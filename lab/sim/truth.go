package sim

import (
	"encoding/binary"
	"errors"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/disk/crashdisk"
	"gemel/node/replicator/volume/core"
)

// request is one of the application's, as the oracles remember it.
type request struct {
	number    uint64 // grows; a write's is in the blocks it wrote
	box       arbiter.NodeID
	at        block.Range
	op        core.Op
	isRead    bool
	isFlush   bool
	fua       bool
	mend      bool // a read that the disk failed at
	restores  bool // a write that brings old content back
	data      []byte
	submitted time.Duration
	floor     []uint64   // read: newest acknowledged write of each block when it was submitted
	covers    []*request // flush: writes acknowledged when it was submitted
	then      func(ok bool)

	refused bool
	acked   time.Duration // zero: not
	// Of an acknowledged write: the nodes that must have it, those that may have
	// lost it with their power, those that have it on stable storage; and
	// whether a power cut took it from all who had it.
	held, lost, stable arbiter.Set
	forgotten          bool
	// Nodes that held it when they left the set, those that had it on stable
	// storage then, those that may have lost it by then or since; and whether it
	// is forgotten because a power cut may take it.
	left, leftStable, gone arbiter.Set
	excused                bool
}

// truth knows what was promised and looks whether it is kept.
type truth struct {
	w       *world
	writes  [blocks][]*request // by block, in order
	open    []*request         // acknowledged and not stable on both
	served  [2]arbiter.Epoch   // newest reign in which a node answered a write
	records map[arbiter.Accepted]arbiter.Set
	chosen  arbiter.Accepted // newest that 2 of 3 recorded
	damage  *damage
	byHand  bool // somebody's word replaced votes
}

func newTruth(w *world) *truth {
	return &truth{w: w, records: map[arbiter.Accepted]arbiter.Set{}, damage: w.damage}
}

func (t *truth) write(b *box, at block.Range, op core.Op) *request {
	t.w.writes++
	q := &request{number: t.w.writes, box: b.id, at: at, op: op, submitted: t.w.now}
	t.each(at, func(n int64) { t.writes[n] = append(t.writes[n], q) })
	return q
}

func (t *truth) flush(b *box) *request {
	return &request{box: b.id, isFlush: true, submitted: t.w.now, covers: append([]*request(nil), t.open...)}
}

func (t *truth) read(b *box, at block.Range) *request {
	q := &request{box: b.id, isRead: true, at: at, submitted: t.w.now}
	t.each(at, func(n int64) { q.floor = append(q.floor, t.newest(n)) })
	return q
}

func (t *truth) each(at block.Range, f func(n int64)) {
	for n := at.Off / blockSize; n < at.End()/blockSize; n++ {
		f(n)
	}
}

// newest returns the newest acknowledged write of block n that was not
// forgotten; 0: none.
func (t *truth) newest(n int64) uint64 {
	for i := len(t.writes[n]) - 1; i >= 0; i-- {
		if q := t.writes[n][i]; q.acked != 0 && !q.forgotten {
			return q.number
		}
	}
	return 0
}

// answered is the end of a request of the application.
func (t *truth) answered(r *replicator, q *request, err error) {
	t.w.mark(200, uint64(q.box), q.number, uint64(len(q.data)))
	if q.then != nil {
		r.after(0, func() { q.then(err == nil) })
	}
	if err != nil {
		passed := t.w.plan.OnError == core.PassOn && errors.Is(err, errDisk)
		if passed {
			t.w.stats.Passed++
		}
		if r.core.View(0).Primary && r.core.Problem() == nil && !q.mend && !passed {
			t.w.broken("a Primary with a good disk answers every request", "%s: %v", names[q.box], err)
		}
		return
	}
	reign := r.core.View(0).Reign
	if other := t.served[1-q.box]; other > reign {
		t.w.broken("only one Primary answers", "%s answered a request in epoch %d after %s had answered a write in epoch %d",
			names[q.box], reign, names[1-q.box], other)
	}
	switch {
	case q.restores:
	case q.isRead:
		t.checkRead(q)
	case q.isFlush:
		t.flushed(r, q)
	default:
		t.served[q.box] = reign
		t.acknowledged(r, q)
	}
}

// inSync returns R: the nodes that must have what is acknowledged at r now.
func (t *truth) inSync(r *replicator) arbiter.Set {
	own := r.core.View(0).Chosen
	set := own.Set
	if !r.core.Remote() {
		set |= arbiter.Only(r.b.id)
	}
	if reigns(r.b.id, t.chosen.Epoch) && !(t.byHand && own.Newer(t.chosen)) {
		set |= t.chosen.Set
	}
	return set
}

func (t *truth) acknowledged(r *replicator, q *request) {
	t.w.stats.Writes++
	q.acked = t.w.now
	t.open = append(t.open, q)
	for _, b := range t.w.boxes {
		if !t.inSync(r).Has(b.id) {
			continue
		}
		if b.swapped >= q.submitted && b.swapped != 0 {
			continue
		}
		if q.fua {
			q.stable |= arbiter.Only(b.id)
		} else if b.lost >= q.submitted && b.lost != 0 {
			q.lost |= arbiter.Only(b.id)
			continue
		}
		if t.w.plan.Early && b != r.b && !q.fua {
			q.lost |= arbiter.Only(b.id) // it may be on its way
			continue
		}
		q.held |= arbiter.Only(b.id)
		t.w.stats.Placed++
		if n, have := t.missing(b, q); n >= 0 {
			t.w.broken("what is acknowledged is on every node of the in-sync set",
				"%s acknowledged write %d, but block %d of %s holds write %d", names[r.b.id], q.number, n, names[b.id], have)
		}
	}
}

// missing returns the first block of q that b's disk does not hold in q's or a
// newer state; -1: none.
func (t *truth) missing(b *box, q *request) (n int64, have uint64) {
	p := b.peek(q.at)
	for off := int64(0); off < q.at.Len; off += crashdisk.Sector {
		n := (q.at.Off + off) / blockSize
		if have, ok := t.fits(b.id, p[off:off+crashdisk.Sector], n, q.number); !ok {
			return n, have
		}
	}
	return -1, 0
}

// peek reads a disk as it is now, past all faults.
func (b *box) peek(at block.Range) []byte {
	p := make([]byte, at.Len)
	b.disk.Peek(p, at.Off)
	return p
}

// valid reports whether a sector of block n holds what a write number floor or
// newer put there, and which write that is.
func (t *truth) valid(sector []byte, n int64, floor uint64) (number uint64, ok bool) {
	number = binary.LittleEndian.Uint64(sector)
	if number == 0 {
		return 0, floor == 0 || t.erased(n, floor)
	}
	if number < floor || binary.LittleEndian.Uint64(sector[8:]) != uint64(n) ||
		binary.LittleEndian.Uint64(sector[504:]) != number {
		return number, false
	}
	for i := len(t.writes[n]) - 1; i >= 0; i-- {
		if q := t.writes[n][i]; q.number == number {
			return number, q.op == core.OpBytes
		}
	}
	return number, false
}

// erased reports whether a discard or write of zeroes, number floor or newer,
// went to block n.
func (t *truth) erased(n int64, floor uint64) bool {
	for i := len(t.writes[n]) - 1; i >= 0 && t.writes[n][i].number >= floor; i-- {
		if t.writes[n][i].op != core.OpBytes {
			return true
		}
	}
	return false
}

func (t *truth) checkRead(q *request) {
	t.w.stats.Reads++
	for i, floor := range q.floor {
		n := q.at.Off/blockSize + int64(i)
		for off := int64(i) * blockSize; off < int64(i+1)*blockSize; off += crashdisk.Sector {
			if have, ok := t.fits(q.box, q.data[off:off+crashdisk.Sector], n, floor); !ok {
				t.w.broken("a read returns the newest acknowledged write", "%s read write %d from block %d; write %d had been acknowledged",
					names[q.box], have, n, floor)
			}
		}
	}
}

func (t *truth) flushed(r *replicator, q *request) {
	t.w.stats.Flushes++
	set := t.inSync(r)
	for _, c := range q.covers {
		if !c.forgotten {
			c.held |= set
			c.stable |= set
			c.lost &^= set
		}
	}
	kept := t.open[:0]
	for _, c := range t.open {
		if !c.forgotten && c.stable != arbiter.Both {
			kept = append(kept, c)
		}
	}
	t.open = kept
}

// powerLost: what was not stable on the node may be gone there.
func (t *truth) powerLost(id arbiter.NodeID) {
	one := arbiter.Only(id)
	for _, q := range t.open {
		if q.held&^q.stable&one != 0 {
			q.held &^= one
			q.lost |= one
		}
		if q.left&^q.leftStable&one != 0 {
			q.left &^= one
			q.gone |= one
		}
	}
}

// diskLost: nothing is on the node any more that it must hold.
func (t *truth) diskLost(id arbiter.NodeID) {
	one := arbiter.Only(id)
	for _, q := range t.open {
		q.held, q.stable, q.lost, q.left = q.held&^one, q.stable&^one, q.lost&^one, q.left&^one
	}
	clear(t.damage.at[id])
	t.w.boxes[id].swapped = t.w.now
}

// promoted: the node's disk is the volume from now on.
func (t *truth) promoted(b *box, e arbiter.Epoch) {
	if b.blank || b.restored {
		t.w.broken("only a node that holds every acknowledged write becomes Primary",
			"%s became Primary with another disk, which was never filled", names[b.id])
	}
	t.w.stats.Reigns++
	t.w.tell("%s is Primary of epoch %d", names[b.id], e)
	one := arbiter.Only(b.id)
	for _, q := range t.open {
		switch {
		case q.forgotten, q.held&one != 0:
		case q.lost&one == 0:
			t.w.broken("only a node that holds every acknowledged write becomes Primary",
				"%s became Primary without write %d, which it never had to hold", names[b.id], q.number)
		default:
			if n, _ := t.missing(b, q); n >= 0 {
				q.forgotten, q.excused = true, true
				t.w.stats.Forgotten++
			}
		}
		q.leave(arbiter.Both &^ one)
		q.held, q.lost, q.stable, q.left = one, 0, q.stable&one, q.left&^one
	}
	t.holds(b, "became Primary")
}

// holds looks for every write that b must have.
func (t *truth) holds(b *box, when string) {
	all := block.Range{Len: blocks * blockSize}
	p := b.peek(all)
	size := b.size()
	t.w.stats.Placed += int(size)
	for n := range size {
		floor := t.newest(n)
		for off := n * blockSize; off < (n+1)*blockSize; off += crashdisk.Sector {
			if have, ok := t.fits(b.id, p[off:off+crashdisk.Sector], n, floor); !ok {
				t.w.broken("acknowledged writes survive", "%s %s, and block %d holds write %d; write %d was acknowledged",
					names[b.id], when, n, have, floor)
			}
		}
	}
}

// recorded tells that a voter has a on stable storage.
func (t *truth) recorded(voter arbiter.NodeID, a arbiter.Accepted) {
	if a.Epoch == 0 {
		return
	}
	t.records[a] |= arbiter.Only(voter)
	if s := t.records[a]; s&(s-1) == 0 || !a.Newer(t.chosen) {
		return
	}
	before := t.chosen
	t.chosen = a
	t.w.tell("chosen: epoch %d, version %d, set %s", a.Epoch, a.Version, setWords(a.Set))
	owner := a.Epoch.Owner()
	switch {
	case a.Set == arbiter.Both:
		t.grown(owner)
	case before.Epoch == a.Epoch && before.Set == arbiter.Both:
		for _, q := range t.open {
			q.leave(arbiter.Both &^ a.Set)
			q.held &= a.Set
			q.stable &= a.Set
		}
	}
}

// grown: from now on the peer must hold everything.
func (t *truth) grown(owner arbiter.NodeID) {
	peer := arbiter.Only(1 - owner)
	r := t.w.boxes[owner].repl
	peerBox := t.w.boxes[1-owner]
	peerBox.blank, peerBox.restored, peerBox.word = false, false, false
	lost := t.w.boxes[1-owner].lost
	t.shared(owner)
	for _, q := range t.open {
		before := r != nil && q.acked <= r.endSent && r.endSent > lost
		if t.w.plan.Early && !before {
			q.lost |= peer
			continue
		}
		q.held |= peer
		q.lost &^= peer
		if before {
			q.stable |= peer
		}
	}
}

// taken: a replica took a write of the Primary.
func (t *truth) taken(r *replicator, m *core.Msg) {
	if p := r.register.Record.Promised; m.Epoch < p || m.Epoch < r.seen {
		t.w.broken("a replica takes one reign's writes only", "%s took a write of epoch %d; it has promised %d and taken epoch %d",
			names[r.b.id], m.Epoch, p, r.seen)
	}
	r.seen = m.Epoch
}
