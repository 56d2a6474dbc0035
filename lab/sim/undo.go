package sim

import (
	"bytes"
	"context"
	"slices"

	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/resync"
	"gemel/node/replicator/undo"
)

// undoFile is what a replica kept before it was overwritten.
type undoFile struct {
	bytes []byte
}

// lostBy returns the blocks that loser is going to lose: it holds something else
// there than the source, and nobody is writing them just now.
func (w *world) lostBy(loser *box) []int64 {
	source := w.boxes[1-loser.id]
	return slices.DeleteFunc(w.differing(), func(n int64) bool {
		for _, q := range source.repl.requests {
			if q.at.Overlaps(blockAt(n)) {
				return true
			}
		}
		return false
	})
}

// keepUndo writes the file, and looks that it holds what will be lost, as it is.
func (r *replicator) keepUndo() error {
	if r.end == nil {
		return errNoRoom // it is asked for anew
	}
	if r.w.chance.people.one(6) && !r.w.calm {
		return errNoRoom
	}
	v := r.core.View(0)
	h := undo.Header{Cluster: "sim", Volume: "data", Node: r.b.id, Replica: r.b.params().ID, Size: v.Size,
		Current: v.Gen.Current, Bitmap: v.Gen.Bitmap, Source: v.PeerState.Current}
	var runs []block.Range
	resync.NewBitmap(v.Size, r.core.Losing()).Runs(func(at block.Range) { runs = append(runs, at) })
	for _, at := range runs {
		h.Marked += at.Len
	}
	var file bytes.Buffer
	buf := buffer.Aligned(64 << 10)
	if err := undo.Write(context.Background(), &file, h, runs, r.b.disk, buf); err != nil {
		return err
	}
	r.b.undo = &undoFile{bytes: file.Bytes()}
	kept := r.b.undo.blocks(r.w)
	for n, data := range kept {
		if !bytes.Equal(data, r.b.peek(blockAt(n))) {
			r.w.broken("an undo file holds what was there", "block %d of %s", n, names[r.b.id])
		}
	}
	for _, n := range r.end.c.differ {
		if kept[n] == nil {
			r.w.broken("an undo file holds everything that will be lost", "block %d of %s is not in it", n, names[r.b.id])
		}
	}
	r.w.stats.Kept += len(kept)
	r.w.tell("%s keeps %d blocks in an undo file, %d of them differ", names[r.b.id], len(kept), len(r.end.c.differ))
	return nil
}

// blocks reads the file.
func (f *undoFile) blocks(w *world) map[int64][]byte {
	out := map[int64][]byte{}
	_, err := undo.Read(bytes.NewReader(f.bytes), func(run block.Range, data []byte) error {
		for off := int64(0); off < run.Len; off += blockSize {
			p := make([]byte, blockSize)
			if data != nil {
				copy(p, data[off:])
			}
			out[(run.Off+off)/blockSize] = p
		}
		return nil
	})
	if err != nil {
		w.broken("an undo file can be read", "%v", err)
	}
	return out
}

// undone brings the newest undo file back onto the volume, by ordinary writes;
// it reports whether there was one. What was acknowledged since is gone with that,
// so it is the last thing that happens.
func (a *audit) undone(p *box) bool {
	for _, b := range a.w.boxes {
		if b.undo == nil {
			continue
		}
		a.kept = b.undo.blocks(a.w)
		a.w.tell("an operator brings %d blocks of the undo file of %s back", len(a.kept), names[b.id])
		for n := range int64(blocks) {
			if data := a.kept[n]; data != nil {
				p.app.restore(p.repl, blockAt(n), data)
			}
		}
		p.repl.run()
		return true
	}
	return false
}

// broughtBack demands that the volume holds on both nodes what the file did.
func (a *audit) broughtBack() {
	for n, data := range a.kept {
		for _, b := range a.w.boxes {
			if !bytes.Equal(data, b.peek(blockAt(n))) {
				a.w.broken("undo brings back exactly what was kept", "block %d of %s", n, names[b.id])
			}
		}
		a.w.stats.Undone++
	}
}
