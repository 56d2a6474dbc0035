package sim

import (
	"bytes"
	"encoding/binary"
	"slices"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/disk/crashdisk"
	"gemel/node/replicator/volume/core"
)

// rotten is set in the number of a sector that rotted.
const rotten = 1 << 62

// damage is what the oracles know of blocks that a disk changed by itself: by
// rot, or by writing to another place than it was told. Nobody can see that
// when a block is read. So it is forgiven, there and where a resync brought it,
// as long as the content is the one that came about; and a verify must find it.
type damage struct {
	at    [2]map[int64]bool         // by node: blocks that may hold what a disk made of them
	ever  map[int64]bool            // on any node, since the world began
	stale map[int64]map[uint64]bool // writes that came to light again because a newer one went astray
	count int
}

func newDamage() *damage {
	return &damage{at: [2]map[int64]bool{{}, {}}, ever: map[int64]bool{}, stale: map[int64]map[uint64]bool{}}
}

func (d *damage) add(id arbiter.NodeID, n int64) { d.at[id][n], d.ever[n] = true, true }

// any reports whether something may be damaged.
func (d *damage) any() bool { return len(d.at[0])+len(d.at[1]) > 0 }

// forgiven reports whether a sector of block n on node's disk is what a disk
// made of it.
func (d *damage) forgiven(id arbiter.NodeID, sector []byte, n int64) bool {
	return d.at[id][n] && d.known(sector, n)
}

// known reports whether a sector shows damage of block n.
func (d *damage) known(sector []byte, n int64) bool {
	number := binary.LittleEndian.Uint64(sector)
	switch {
	case number == 0:
		return d.stale[n][0]
	case number&rotten != 0, binary.LittleEndian.Uint64(sector[8:]) != uint64(n):
		return true
	}
	return d.stale[n][number]
}

// astray notes that b's disk keeps what it has at a range, and which is old now.
func (t *truth) astray(b *box, at block.Range) {
	p := b.peek(at)
	for off := int64(0); off < at.Len; off += crashdisk.Sector {
		n := (at.Off + off) / blockSize
		t.damage.old(n, binary.LittleEndian.Uint64(p[off:]))
		t.damage.add(b.id, n)
	}
}

// older: where a newer write went astray, a power cut may bring even older ones
// to light.
func (t *truth) older(b *box) {
	for n := range t.damage.at[b.id] {
		if t.damage.stale[n] != nil {
			t.astray(b, block.Range{Off: n * blockSize, Len: blockSize})
		}
	}
}

// hit notes that data which belongs elsewhere goes to off of b's disk.
func (t *truth) hit(b *box, off int64, data []byte) {
	for i := 0; i < len(data); i += crashdisk.Sector {
		n := (off + int64(i)) / blockSize
		t.damage.add(b.id, n)
		if number := binary.LittleEndian.Uint64(data[i:]); number == 0 { // it names no block
			t.damage.old(n, 0)
		}
	}
}

// old notes that block n may hold write number from now on.
func (d *damage) old(n int64, number uint64) {
	if d.stale[n] == nil {
		d.stale[n] = map[uint64]bool{}
	}
	d.stale[n][number] = true
}

// fits reports whether node's disk may hold p, a sector of block n of which a
// write number floor or newer was acknowledged, and what it holds.
func (t *truth) fits(id arbiter.NodeID, p []byte, n int64, floor uint64) (number uint64, ok bool) {
	if number, ok = t.valid(p, n, floor); !ok && t.damage.forgiven(id, p, n) {
		t.w.stats.Forgiven++
		return number, true
	}
	return number, ok
}

// good reports whether block n of b's disk is right, nothing forgiven.
func (t *truth) good(b *box, n int64) bool {
	p, floor := b.peek(block.Range{Off: n * blockSize, Len: blockSize}), t.newest(n)
	for off := 0; off < blockSize; off += crashdisk.Sector {
		if _, ok := t.valid(p[off:off+crashdisk.Sector], n, floor); !ok {
			return false
		}
	}
	return true
}

// copied: r took blocks of the other node, in a resync, a repair or an answer to
// a read that failed. Damage comes along.
func (t *truth) copied(r *replicator, m *core.Msg, payload []byte) {
	from := t.damage.at[1-r.b.id]
	if len(from) == 0 {
		return
	}
	t.each(m.Range, func(n int64) {
		if !from[n] {
			return
		}
		off := n*blockSize - m.Range.Off
		if m.Kind == core.ResyncData && r.core.View(0).InSync && int(off) < len(payload) &&
			t.damage.known(payload[off:], n) && t.good(r.b, n) {
			t.w.broken("a repair goes the way that the operator wanted", "block %d of %s was good and is overwritten with damage of %s",
				n, names[r.b.id], names[1-r.b.id])
		}
		t.damage.add(r.b.id, n)
	})
}

// shared: what is the same on both disks was not copied by a resync with
// checksums, and is now what the volume holds.
func (t *truth) shared(owner arbiter.NodeID) {
	if len(t.damage.at[owner]) == 0 {
		return
	}
	differ := t.w.differing()
	for n := range t.damage.at[owner] {
		if !slices.Contains(differ, n) {
			t.damage.add(1-owner, n)
		}
	}
}

// forget takes back what is forgiven of blocks that are right again, and the
// same on both disks.
func (t *truth) forget() {
	differ := map[int64]bool{}
	for _, n := range t.w.differing() {
		differ[n] = true
	}
	for n := range t.damage.ever {
		if !differ[n] && t.good(t.w.boxes[0], n) && t.good(t.w.boxes[1], n) {
			delete(t.damage.at[0], n)
			delete(t.damage.at[1], n)
			delete(t.damage.stale, n)
		}
	}
}

// differing returns the blocks in which the two disks differ.
func (w *world) differing() (list []int64) {
	all := block.Range{Len: blocks * blockSize}
	a, b := w.boxes[0].peek(all), w.boxes[1].peek(all)
	for n := range min(w.boxes[0].size(), w.boxes[1].size()) {
		if !bytes.Equal(a[n*blockSize:(n+1)*blockSize], b[n*blockSize:(n+1)*blockSize]) {
			list = append(list, n)
		}
	}
	return list
}

// rot is a spontaneous change of some sectors of a block of the volume.
func (b *box) rot(n int64) {
	p := b.peek(block.Range{Off: n * blockSize, Len: blockSize})
	b.w.damage.count++
	first := b.dice.IntN(8)
	for s := first; s < min(first+1+b.dice.IntN(3), 8); s++ {
		sector := p[s*crashdisk.Sector:][:crashdisk.Sector]
		binary.LittleEndian.PutUint64(sector, rotten|uint64(b.w.damage.count))
	}
	b.disk.Rot(p, n*blockSize)
	b.w.damage.add(b.id, n)
	b.w.stats.Damaged++
}

// misdirect writes data to another place than to at.
func (b *box) misdirect(at block.Range, data []byte) error {
	b.truth.astray(b, at)
	wrong := int64(b.dice.IntN(blocks-int(at.Len/blockSize)+1)) * blockSize
	if b.dice.one(4) && b.missMetadata(data[:blockSize]) {
		wrong, data = 0, nil
	}
	if data != nil {
		b.truth.hit(b, wrong, data)
		b.w.tell("the disk of %s writes %d+%d to %d instead", names[b.id], at.Off, at.Len, wrong)
		if err := b.disk.WriteAt(data, wrong); err != nil {
			return err
		}
	}
	b.w.stats.Damaged++
	return nil
}
