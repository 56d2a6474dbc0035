package volume

import (
	"fmt"
	"time"

	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/resync"
	"gemel/node/replicator/undo"
)

// NotKept is the stable name of an undo file that could not be written: nothing
// is overwritten then.
const NotKept = "undo-not-kept"

// saveUndo keeps what is going to be overwritten; v.mu is held.
func (v *Volume) saveUndo(version uint64) {
	w := v.core.View(0)
	s := v.o.Store.Super()
	h := undo.Header{Cluster: v.o.Cluster, Volume: v.o.Name, Node: v.o.Node, Replica: s.ID, Size: w.Size,
		Time: time.Now().UnixNano(), Current: w.Gen.Current, Bitmap: w.Gen.Bitmap, Source: w.PeerState.Current}
	var runs []block.Range
	resync.NewBitmap(w.Size, v.core.Losing()).Runs(func(r block.Range) { runs = append(runs, r) })
	v.running.Add(1)
	go func() {
		defer v.running.Done()
		path, err := v.keepUndo(h, runs)
		v.mu.Lock()
		defer v.unlock()
		v.undoSaved(version, path, err)
	}()
}

// keepUndo writes the file, one at a time.
func (v *Volume) keepUndo(h undo.Header, runs []block.Range) (string, error) {
	v.keeping.Lock()
	defer v.keeping.Unlock()
	if v.o.UndoDir == "" {
		return "", fmt.Errorf("undo-dir is not set; set it, or give the changes up for good with `gemel resolve --no-undo`")
	}
	buf := buffer.Get(1 << 20)
	defer buffer.Put(buf)
	return undo.Keep(v.ctx, v.o.UndoDir, h, runs, v.o.Disk, buf)
}

func (v *Volume) undoSaved(version uint64, path string, err error) {
	if err == nil {
		v.undoFile = path
		v.o.Log(fmt.Sprintf("volume %s: what the resync overwrites is kept in %s", v.o.Name, path), nil)
	} else if v.ctx.Err() == nil {
		v.clash = &Clash{At: time.Now(), Peer: v.core.View(0).PeerState, Verdict: handshake.Verdict{Kind: handshake.Refuse,
			Name: NotKept, Text: err.Error(), Next: "then run `gemel volume connect " + v.o.Name + "` on both nodes"}}
		err = fmt.Errorf("%w: %s: %w", errStandAlone, NotKept, err)
	}
	v.touched()
	v.core.UndoSaved(Now(), version, err)
	v.run()
}
