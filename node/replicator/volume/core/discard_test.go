package core

import (
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/handshake"
)

// loser is a Secondary that was given up and is connected to the Primary that
// overwrites it.
func loser(t *testing.T, undo bool) *Core {
	t.Helper()
	c := New(Config{Self: 1, Usable: 64 * block.Size, Seed: 7},
		Meta{Gen: block.Generations{Current: 3, Bitmap: 1}, Size: 64 * block.Size, BitmapValid: true}, []uint64{1 << 5},
		arbiter.Record{Promised: 2})
	version, err := c.Discard(0, undo, false)
	if err != nil {
		t.Fatal(err)
	}
	c.Persisted(0, version, nil)
	peer := handshake.State{Node: 0, Primary: true, Reign: 2, Promised: 2, Size: 64 * block.Size, Usable: 64 * block.Size,
		Generations: block.Generations{Current: 2, Bitmap: 1}, Bits: true}
	if err := c.ConnUp(0, 1, c.Hello(), peer); err != nil {
		t.Fatal(err)
	}
	c.Take()
	c.Receive(0, 1, Msg{Kind: Bits, Epoch: 2, Words: []uint64{1<<5 | 1<<9}})
	c.Receive(0, 1, Msg{Kind: Begin, Epoch: 2, ID: 2 * block.Size, Gen: 3, From: 2})
	return c
}

func kinds(actions []Action) map[ActionKind]int {
	out := map[ActionKind]int{}
	for _, a := range actions {
		out[a.Kind]++
	}
	return out
}

func TestNothingIsOverwrittenBeforeItIsKept(t *testing.T) {
	c := loser(t, true)
	if did := kinds(c.Take()); did[SaveUndo] != 1 || did[Persist] != 0 {
		t.Fatalf("before the undo file: %v", did)
	}
	if words := c.Losing(); words[0] != 1<<5|1<<9 {
		t.Errorf("keeps %x", words[0])
	}
	if id := c.Receive(0, 1, Msg{Kind: ResyncData, Epoch: 2, ID: 9, Range: block.Range{Len: block.Size}}); id != 0 {
		t.Fatal("data was taken before the undo file is there")
	}
}

func TestAKeptReplicaBecomesTheTarget(t *testing.T) {
	c := loser(t, true)
	c.Take()
	c.UndoSaved(0, 9, nil) // of another connection
	if c.meta.Inconsistent {
		t.Fatal("an answer of another connection counted")
	}
	c.UndoSaved(0, 1, nil)
	if did := kinds(c.Take()); did[Persist] != 1 || !c.meta.Inconsistent || c.meta.Discard || c.meta.KeepUndo {
		t.Errorf("after the undo file: %v %+v", did, c.meta)
	}
}

func TestWithoutAnUndoFileNothingIsOverwritten(t *testing.T) {
	c := loser(t, true)
	c.Take()
	c.UndoSaved(0, 1, errGivenUp)
	if did := kinds(c.Take()); did[Drop] != 1 || c.meta.Inconsistent || !c.meta.Discard {
		t.Errorf("after a failure: %v %+v", did, c.meta)
	}
}

func TestUndoIsNotAskedForWhereItIsNotWanted(t *testing.T) {
	c := loser(t, false)
	if did := kinds(c.Take()); did[SaveUndo] != 0 || !c.meta.Inconsistent {
		t.Errorf("%v %+v", did, c.meta)
	}
}

func TestWhatWasGivenUpIsNotPromoted(t *testing.T) {
	c := loser(t, true)
	a := arbiter.Accepted{Epoch: 3, Version: 1, Set: arbiter.Only(1)}
	c.Accepted(0, arbiter.Record{Promised: 3, Accepted: a})
	if _, err := c.Promote(0, a, false); err == nil {
		t.Error("promoted")
	}
}
