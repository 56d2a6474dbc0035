package core

import (
	"errors"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/handshake"
)

// One test for each rule whose breach loses acknowledged writes, where two
// faults at once would be needed to see it in the simulation.

// accept makes the register of the rig record a set of its reign.
func (r *rig) accept(version uint32, set arbiter.Set) arbiter.Accepted {
	a := arbiter.Accepted{Epoch: 2, Version: version, Set: set}
	r.c.Accepted(r.now, arbiter.Record{Promised: 2, Accepted: a})
	r.run()
	return a
}

func TestAShrinkThatIsNotChosenDoesNotEndAnUndecidedGrow(t *testing.T) {
	r := withPeer(t)
	// {self} of version 3 is chosen; version 4 grows, version 5 shrinks again.
	alone := r.accept(3, 1)
	r.c.ConnDown(0, 1)
	r.c.Chosen(0, alone)
	r.accept(4, arbiter.Both)
	shrink := r.accept(5, 1)
	w := r.write(0, 1)
	r.localDone(w)
	if r.completed(w) || !r.c.View(0).WantShrink {
		t.Fatal("version 4 may have been chosen: the peer belongs to R until version 5 is")
	}
	r.c.Chosen(0, shrink)
	r.run()
	if !r.completed(w) {
		t.Fatal("held although the shrink is chosen")
	}
}

func TestAnUndecidedGrowNeedsTheLease(t *testing.T) {
	r := withPeer(t)
	r.c.chosen = arbiter.Accepted{Epoch: 2, Version: 1, Set: 1} // version 2 is undecided
	r.now = 2 * time.Hour
	if r.c.MayRead(r.now) {
		t.Fatal("read without a lease, although the peer may have been elected from version 2")
	}
	w := r.write(0, 1)
	r.localDone(w)
	r.ack(w)
	if r.completed(w) {
		t.Fatal("answered without a lease")
	}
}

func TestAFlushWaitsForThePeersBarrier(t *testing.T) {
	r := withPeer(t)
	w := r.write(0, 1)
	r.localDone(w)
	r.ack(w)
	flush, err := r.c.Flush(0)
	if err != nil {
		t.Fatal(err)
	}
	r.run()
	if r.completed(flush) {
		t.Fatal("flushed here only")
	}
	r.c.Receive(0, 1, Msg{Kind: BarrierAck, Epoch: 2, ID: r.c.barrierSeq})
	r.run()
	if !r.completed(flush) {
		t.Fatal("held although both disks are synced")
	}
}

// ending is a rig whose peer was sent End and did not answer yet.
func ending(t *testing.T) *rig {
	r := newRig(t)
	r.c.dirty.ClearAll()
	mine := r.c.Hello()
	if err := r.c.ConnUp(0, 1, mine, handshake.State{Node: 1, Generations: block.Generations{Current: mine.Current},
		Size: mine.Size, Usable: mine.Usable, Promised: 2}); err != nil {
		t.Fatal(err)
	}
	r.run()
	return r
}

func TestTheSetMayNotGrowBeforeTheEndIsAnswered(t *testing.T) {
	r := ending(t)
	both := arbiter.Accepted{Epoch: 2, Version: 2, Set: arbiter.Both}
	if r.c.MayAccept(both) || r.c.View(0).ReadyToGrow {
		t.Fatal("the peer has not said that it is whole")
	}
	w := r.write(0, 1)
	r.localDone(w)
	if r.completed(w) {
		t.Fatal("from End on every write must wait for the peer")
	}
	r.c.Receive(0, 1, Msg{Kind: EndAck, Epoch: 2})
	if !r.c.MayAccept(both) {
		t.Fatal("the peer is whole")
	}
	if r.c.MayAccept(arbiter.Accepted{Epoch: 4, Version: 1, Set: arbiter.Both}) {
		t.Fatal("of a reign that this replica does not serve")
	}
}

func TestALostEndOpensAGenerationBeforeTheNextWrite(t *testing.T) {
	for name, r := range map[string]*rig{"nothing to copy": ending(t), "after a resync": endingResync(t)} {
		sent := r.c.meta.Gen.Current // the peer may carry it, or not
		r.c.ConnDown(0, 1)
		w := r.write(0, 1)
		r.persist = false
		r.localDone(w)
		g := r.c.meta.Gen
		if r.completed(w) || g.Current == sent || g.Bitmap != sent {
			t.Errorf("%s: answered under a generation that the peer may carry without this write: %+v", name, g)
		}
	}
}

// endingResync is as ending, at the end of a resync by bitmap.
func endingResync(t *testing.T) *rig {
	r := newRig(t)
	r.c.dirty.ClearAll()
	r.c.meta.Gen.Bitmap = 7
	mine := r.c.Hello()
	if err := r.c.ConnUp(0, 1, mine, handshake.State{Node: 1, Generations: block.Generations{Current: 7},
		Size: mine.Size, Usable: mine.Usable, Promised: 2}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []MsgKind{BitsEnd, BeginAck} {
		r.run()
		r.c.Receive(0, 1, Msg{Kind: kind, Epoch: 2})
	}
	if r.run(); r.c.phase != finishing || r.c.meta.Gen.Bitmap != 7 {
		t.Fatalf("phase %d, %+v", r.c.phase, r.c.meta.Gen)
	}
	return r
}

func TestAnAnswerOfAnotherReignCountsForNothing(t *testing.T) {
	r := withPeer(t)
	w := r.write(0, 1)
	r.localDone(w)
	r.c.Receive(0, 1, Msg{Kind: Ack, Epoch: 4, ID: uint64(w)})
	r.run()
	if r.completed(w) || r.c.phase != off {
		t.Fatal("taken, or the connection kept")
	}
}

func TestOnlyAWholeReplicaIsPromoted(t *testing.T) {
	won := arbiter.Accepted{Epoch: 2, Version: 1, Set: 1}
	both := arbiter.Accepted{Epoch: 2, Version: 1, Set: arbiter.Both}
	for name, c := range map[string]struct {
		meta   Meta
		record arbiter.Record
		birth  bool
		want   error
	}{
		"whole":               {Meta{Size: block.Size}, arbiter.Record{Promised: 2, Accepted: won}, false, nil},
		"birth":               {Meta{Created: true, Inconsistent: true}, arbiter.Record{Promised: 2, Accepted: won}, true, nil},
		"target":              {Meta{Inconsistent: true}, arbiter.Record{Promised: 2, Accepted: won}, false, ErrInconsistent},
		"target, as birth":    {Meta{Inconsistent: true}, arbiter.Record{Promised: 2, Accepted: won}, true, ErrInconsistent},
		"created, no birth":   {Meta{Created: true}, arbiter.Record{Promised: 2, Accepted: won}, false, ErrInconsistent},
		"not accepted":        {Meta{}, arbiter.Record{Promised: 2}, false, ErrNotElected},
		"accepted both":       {Meta{}, arbiter.Record{Promised: 2, Accepted: both}, false, ErrNotElected},
		"promised since":      {Meta{}, arbiter.Record{Promised: 3, Accepted: won}, false, ErrNotElected},
		"not accepted, birth": {Meta{Created: true}, arbiter.Record{Promised: 2}, true, ErrNotElected},
	} {
		c.meta.Gen.Current = 7
		core := New(Config{Self: 0, Usable: 64 * block.Size}, c.meta, nil, c.record)
		core.Persisted(0, core.metaVersion, nil)
		if _, err := core.Promote(0, won, c.birth); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// target is a Secondary that becomes the target of the Primary of epoch 2.
func target(t *testing.T) *Core {
	t.Helper()
	const size = 64 * block.Size
	c := New(Config{Self: 1, Usable: size, Seed: 2}, Meta{Gen: block.Generations{Current: 7}, Size: size, BitmapValid: true},
		nil, arbiter.Record{Promised: 2})
	mine := c.Hello()
	peer := handshake.State{Node: 0, Primary: true, Reign: 2, Promised: 2, Bits: true, Size: size, Usable: size,
		Generations: block.Generations{Current: 9, Bitmap: 7}}
	if err := c.ConnUp(0, 1, mine, peer); err != nil {
		t.Fatal(err)
	}
	c.Receive(0, 1, Msg{Kind: Begin, Epoch: 2, ID: block.Size, Gen: 7, From: 9})
	if !c.meta.Inconsistent {
		t.Fatal("a target is a mixture from its first block on")
	}
	c.Persisted(0, c.metaVersion, nil)
	c.Take()
	return c
}

// sends returns whether c sent a message of kind, and takes its actions.
func sends(c *Core, kind MsgKind) (sent bool) {
	for _, a := range c.Take() {
		sent = sent || a.Kind == Send && a.Msg.Kind == kind
	}
	return sent
}

func TestEndWaitsForTheWritesBeforeItAndForStableStorage(t *testing.T) {
	for _, kind := range []MsgKind{Data, ResyncData} {
		c := target(t)
		id := c.Receive(0, 1, Msg{Kind: kind, Epoch: 2, ID: 5, Range: block.Range{Len: block.Size}})
		c.Receive(0, 1, Msg{Kind: End, Epoch: 2, Gen: 9})
		for _, a := range c.Take() {
			if a.Kind == Sync || a.Kind == SaveBitmap {
				t.Fatalf("message %d: synced before the write that came first", kind)
			}
		}
		later := c.Receive(0, 1, Msg{Kind: Data, Epoch: 2, ID: 6, Range: block.Range{Off: block.Size, Len: block.Size}})
		c.LocalDone(0, id, nil)
		steps := []func(){
			func() { c.SyncDone(0, nil) }, func() { c.BitmapSaved(nil) }, func() { c.Persisted(0, c.metaVersion, nil) }}
		for i, step := range steps {
			if sends(c, EndAck) || !c.meta.Inconsistent && i < 2 {
				t.Fatalf("message %d: whole before step %d of 3", kind, i+1)
			}
			step()
		}
		if !sends(c, EndAck) || c.meta.Gen.Current != 9 || later == 0 {
			t.Fatalf("message %d: not ended, or held up by a later write", kind)
		}
	}
}

func TestABarrierWaitsForTheWritesBeforeIt(t *testing.T) {
	c := target(t)
	id := c.Receive(0, 1, Msg{Kind: ResyncData, Epoch: 2, ID: 5, Range: block.Range{Len: block.Size}})
	c.Receive(0, 1, Msg{Kind: Barrier, Epoch: 2, ID: 1})
	c.SyncDone(0, nil) // of somebody else
	if sends(c, BarrierAck) {
		t.Fatal("answered before the write that came first")
	}
	c.LocalDone(0, id, nil)
	c.SyncDone(0, nil)
	if !sends(c, BarrierAck) {
		t.Fatal("not answered")
	}
}

func TestResyncDataOfAnOldReignIsRefused(t *testing.T) {
	for name, m := range map[string]Msg{
		"data":    {Kind: Data, Epoch: 2, ID: 5, Range: block.Range{Len: block.Size}},
		"resync":  {Kind: ResyncData, Epoch: 2, ID: 5, Range: block.Range{Len: block.Size}},
		"end":     {Kind: End, Epoch: 2, Gen: 9},
		"barrier": {Kind: Barrier, Epoch: 2, ID: 1},
	} {
		c := target(t)
		c.register.Promised, c.peerEpoch = 4, 4 // the connection outlived an election
		if c.Receive(0, 1, m) != 0 || c.phase != off || len(c.tasks) != 0 {
			t.Errorf("%s was taken", name)
		}
	}
}

// A repair was ordered while the peer was Primary, and its blocks were taken for
// right: a Secondary that becomes Primary must not copy its own over them.
func TestARepairKeepsItsDirection(t *testing.T) {
	c := target(t)
	c.phase = inSync
	c.Receive(0, 1, Msg{Kind: VerifyNote, Epoch: 2, Words: VerifyState{Running: true, Repair: true, Pos: 8}.Words()})
	if v := c.meta.Verify; !v.Running || v.Repair || v.Pos != 8 {
		t.Fatalf("the Secondary goes on with %+v", v)
	}
}
