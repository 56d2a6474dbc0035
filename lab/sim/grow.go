package sim

import (
	"encoding/binary"
	"time"

	"gemel/node/block"
	"gemel/node/replicator/disk/crashdisk"
)

// A volume that grows begins with half of its blocks; what lies behind them on
// the disks is what somebody left there. For every growStep that a device
// becomes larger, its data area has room for as many blocks more as are in
// growBlocks: the device itself is larger than the volume needs.
const (
	growStep   = 4 << 20
	growBlocks = blocks / 4
)

func (p *Plan) begin() int64 {
	if p.Begin == 0 {
		return blocks
	}
	return int64(p.Begin)
}

// room is how many bytes of data a device of size bytes may hold.
func (w *world) room(size int64) int64 {
	return min(w.plan.begin()+(size-deviceSize)/growStep*growBlocks, blocks) * blockSize
}

// size is how many blocks the volume has, as b's replica knows it.
func (b *box) size() int64 {
	if b.repl != nil {
		if m, _ := b.repl.core.Meta(); m.Size > 0 {
			if n := m.Size / blockSize; n != b.known {
				b.known = n
				b.w.stats.Grown++
				b.w.tell("the volume has %d blocks on %s", n, names[b.id])
			}
		}
	}
	return b.known
}

// litter leaves something behind the volume's end.
func (b *box) litter() {
	junk := make([]byte, blockSize)
	for n := b.w.plan.begin(); n < blocks; n++ {
		for s := 0; s < blockSize; s += crashdisk.Sector {
			binary.LittleEndian.PutUint64(junk[s:], rotten|uint64(n))
		}
		b.disk.Rot(junk, n*blockSize)
	}
}

// enlarge makes one device larger or both, and has an operator resize the volume.
func (w *world) enlarge(f Fault) {
	for _, b := range w.boxes {
		if f.N%3 != 0 || b.id == f.Node {
			b.disk.Enlarge(min(b.disk.Size()+growStep, deviceSize+growStep*2))
		}
	}
	w.after(w.chance.growth.span(0, 2*time.Second), w.resize)
}

// resize is an operator's `gemel volume resize`.
func (w *world) resize() {
	p := w.primary()
	if p == nil {
		return
	}
	r := p.repl
	if err := r.core.MayGrow(0); err != nil {
		w.tell("(resize is refused: %v)", err)
		return
	}
	r.makeRoom(func(room int64) {
		w.tell("an operator resizes the volume; %s has room for %d blocks", names[p.id], room/blockSize)
		if err := r.core.Grow(room, 0); err != nil {
			w.tell("(resize is refused: %v)", err)
		}
		r.run()
	})
}

// moveRequests is how many requests a move of the metadata makes, about.
const moveRequests = 24

// makeRoom moves the metadata to the end of a device that became larger.
func (r *replicator) makeRoom(done func(room int64)) {
	size := r.b.disk.Size()
	if size == r.store.Super().DeviceSize {
		done(r.w.room(size))
		return
	}
	r.b.seen = []int64{size, r.store.Super().DeviceSize}
	r.atMeta(moveRequests, func() error { return r.store.Grow(size) }, func(err error) {
		if err != nil {
			r.w.broken("metadata can be moved to the end of a larger device", "%s: %v", names[r.b.id], err)
		}
		r.w.tell("the metadata of %s is at the new end of its device", names[r.b.id])
		r.b.seen = []int64{size}
		done(r.w.room(size))
	})
}

// atMeta runs something that makes many requests at once; the power may fail at
// any of them.
func (r *replicator) atMeta(requests int, run func() error, done func(error)) {
	if b := r.b; b.cutMeta > 0 {
		b.cutMeta += b.dice.IntN(requests)
	}
	if r.cutHere(run) {
		return
	}
	r.atDisk(r.syncLatency(), &diskOp{run: run, meta: true, requests: requests}, done)
}

// measure answers the core's Measure.
func (r *replicator) measure(asked uint64) {
	r.makeRoom(func(room int64) {
		r.core.Measured(asked, room)
		r.run()
	})
}

// blank answers the core's Blank.
func (r *replicator) blank(at block.Range) {
	r.atMeta(4, func() error {
		if err := r.b.disk.WriteZeroes(at.Off, at.Len, false); err != nil {
			return err
		}
		if err := r.b.disk.Sync(); err != nil {
			return err
		}
		return r.store.SaveBlank(at)
	}, func(err error) {
		r.core.Blanked(err)
		r.run()
	})
}

// grown is the end of a growth, as an oracle sees it: true once the volume is as
// large as both devices allow.
func (a *audit) grown(p *box) bool {
	room := min(a.w.room(a.w.boxes[0].disk.Size()), a.w.room(a.w.boxes[1].disk.Size()))
	if p.size()*blockSize >= room {
		if other := a.w.boxes[1-p.id]; other.size() != p.size() {
			a.w.broken("both nodes have one size", "%d and %d blocks", p.size(), other.size())
		}
		return true
	}
	if v := p.repl.core.View(0); !v.Growth.Running {
		a.w.resize()
	}
	return false
}
