package core

import (
	"errors"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/handshake"
)

func TestGrowRefuses(t *testing.T) {
	const blocks = block.Size
	r := withPeer(t)
	for name, tc := range map[string]struct {
		room, want int64
		is         error
	}{
		"smaller":         {2048 * blocks, 1000 * blocks, ErrShrink},
		"no larger":       {1024 * blocks, 0, ErrNoRoom},
		"more than there": {2048 * blocks, 4096 * blocks, ErrNoRoom},
		"the same":        {2048 * blocks, 1024 * blocks, ErrNoRoom},
	} {
		if err := r.c.Grow(tc.room, tc.want); !errors.Is(err, tc.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.c.Grow(2048*blocks, 0); err != nil {
		t.Fatal(err)
	}
	if err := r.c.Grow(2048*blocks, 0); !errors.Is(err, ErrGrowing) {
		t.Errorf("twice: %v", err)
	}
	r.c.ConnDown(0, 1)
	if g := r.c.View(0).Growth; g.Running || !errors.Is(g.Err, ErrGrowEnded) {
		t.Errorf("the connection ended: %+v", g)
	}
	if err := r.c.Grow(2048*blocks, 0); !errors.Is(err, ErrNotInSync) {
		t.Errorf("alone: %v", err)
	}
	r.c.Demote(0)
	if err := r.c.Grow(2048*blocks, 0); !errors.Is(err, ErrNotPrimary) {
		t.Errorf("a Secondary: %v", err)
	}
}

// TestGrowStepByStep: the new part may be used only when it is blank on both
// disks and both have noted the size.
func TestGrowStepByStep(t *testing.T) {
	r := withPeer(t)
	const old, aim = 1024 * block.Size, 1500 * block.Size
	if err := r.c.Grow(2048*block.Size, 0); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.persist = false
	say := func(step GrowStep) {
		t.Helper()
		r.sent = nil
		r.c.Receive(0, 1, Msg{Kind: Grow, Step: step, ID: aim, Epoch: 2})
		r.run()
	}
	steps := []func(){
		func() { say(GrowReach) },
		func() { say(GrowReady) },
		func() { r.c.Blanked(nil); r.run() },
		func() { r.c.Persisted(0, r.c.metaVersion, nil); r.run() },
		func() { say(GrowTaken) },
	}
	for i, step := range steps {
		if r.c.View(0).Size != old {
			t.Fatalf("step %d: larger already", i)
		}
		if _, err := r.c.Write(0, block.Range{Off: old, Len: block.Size}); err == nil {
			t.Fatalf("step %d: the new part can be written", i)
		}
		if took := len(r.sent) > 0 && r.sent[0].Step == GrowTake; took != (i == 4) {
			t.Fatalf("step %d: sent %+v", i, r.sent)
		}
		step()
	}
	r.c.Persisted(0, r.c.metaVersion, nil)
	if v := r.c.View(0); v.Size != aim || v.Growth.Running || v.Growth.Err != nil || v.OutOfSync != 0 {
		t.Fatalf("at the end %+v", v)
	}
	r.persist = true
	r.write(1499, 1)
}

func TestGrowEndsForWantOfRoomAtThePeer(t *testing.T) {
	r := withPeer(t)
	if err := r.c.Grow(2048*block.Size, 0); err != nil {
		t.Fatal(err)
	}
	r.c.Receive(0, 1, Msg{Kind: Grow, Step: GrowReach, ID: 1024 * block.Size, Epoch: 2})
	if g := r.c.View(0).Growth; g.Running || !errors.Is(g.Err, ErrNoRoom) {
		t.Errorf("got %+v", g)
	}
}

// TestWhatWasPreparedIsNeverBlankedAgain: the Primary may use it any moment.
func TestWhatWasPreparedIsNeverBlankedAgain(t *testing.T) {
	c := target(t)
	c.phase, c.meta.Inconsistent, c.meta.Room = inSync, false, 96*block.Size
	c.Receive(0, 1, Msg{Kind: Grow, Step: GrowAsk, Epoch: 2, ID: 200 * block.Size})
	c.Take()
	c.Measured(200*block.Size, 128*block.Size)
	want := block.Range{Off: 96 * block.Size, Len: 32 * block.Size}
	for _, a := range c.Take() {
		if a.Kind == Blank && a.Range != want {
			t.Errorf("%+v is blanked, want %+v", a.Range, want)
		}
	}
	if c.growth.blanking == 0 {
		t.Fatal("nothing is blanked")
	}
	c.Receive(0, 1, Msg{Kind: Grow, Step: GrowTake, Epoch: 2, ID: 128 * block.Size})
	if c.phase != off || c.meta.Size != 64*block.Size {
		t.Error("it took a size for which it was not prepared")
	}
}

// TestAnEmptyReplicaYields: a volume begins with the data that was kept.
func TestAnEmptyReplicaYields(t *testing.T) {
	a := arbiter.Accepted{Epoch: 2, Version: 1, Set: 1}
	c := New(Config{Self: 0, Usable: 64 * block.Size, Seed: 1}, Meta{Created: true, Inconsistent: true}, nil, arbiter.Record{Promised: 2, Accepted: a})
	peer := handshake.State{Node: 1, Created: true, Inconsistent: true, Keep: true, Usable: 64 * block.Size}
	c.Persisted(0, c.metaVersion, nil)
	if err := c.ConnUp(0, 1, c.Hello(), peer); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Promote(0, a, true); !errors.Is(err, ErrYields) || !c.View(0).Yields {
		t.Errorf("promoted beside data that is kept: %v", err)
	}
}
