package core

import (
	"errors"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/handshake"
)

// rig is one core with its actions carried out at once, except what is held.
type rig struct {
	t       testing.TB
	c       *Core
	now     time.Duration
	done    map[ID]error
	sent    []Msg
	persist bool // carry out Persist
	local   []ID
	holdLog bool // do not carry out Log and SavePages
}

func newRig(t testing.TB) *rig {
	c := New(Config{Self: 0, Usable: 1024 * block.Size, Seed: 1}, Meta{Created: true, Inconsistent: true}, nil,
		arbiter.Record{Promised: 2, Accepted: arbiter.Accepted{Epoch: 2, Version: 1, Set: 1}})
	r := &rig{t: t, c: c, done: map[ID]error{}, persist: true}
	r.run()
	if _, err := c.Promote(0, arbiter.Accepted{Epoch: 2, Version: 1, Set: 1}, true); err != nil {
		t.Fatal(err)
	}
	r.run()
	return r
}

func (r *rig) run() {
	for {
		actions := append([]Action(nil), r.c.Take()...)
		if len(actions) == 0 {
			return
		}
		for _, a := range actions {
			switch {
			case a.Kind == Persist && r.persist:
				r.c.Persisted(r.now, a.Version, nil)
			case a.Kind == Complete:
				r.done[a.ID] = a.Err
			case a.Kind == Send:
				r.sent = append(r.sent, a.Msg)
			case a.Kind == Write:
				r.local = append(r.local, a.ID)
			case a.Kind == Sync:
				r.c.SyncDone(r.now, nil)
			case a.Kind == Log && !r.holdLog:
				r.c.Logged(r.now, nil)
			case a.Kind == SavePages && !r.holdLog:
				r.c.Pages()
				r.c.PagesSaved(r.now, nil)
			}
		}
	}
}

func (r *rig) write(off, blocks int64) ID {
	r.t.Helper()
	id, err := r.c.Write(r.now, block.Range{Off: off * block.Size, Len: blocks * block.Size})
	if err != nil {
		r.t.Fatal(err)
	}
	r.run()
	return id
}

func (r *rig) localDone(id ID) {
	r.c.LocalDone(r.now, id, nil)
	r.run()
}

func (r *rig) completed(id ID) bool { _, ok := r.done[id]; return ok }

// withPeer brings the rig into a set of both nodes, in sync.
func withPeer(t testing.TB) *rig {
	r := newRig(t)
	r.c.dirty.ClearAll()
	mine := r.c.Hello()
	peer := handshake.State{Node: 1, Generations: block.Generations{Current: mine.Current}, Size: mine.Size, Usable: mine.Usable, Promised: 2}
	mine.Bits = false
	if err := r.c.ConnUp(0, 1, mine, peer); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.c.Receive(0, 1, Msg{Kind: EndAck, Epoch: 2})
	both := arbiter.Accepted{Epoch: 2, Version: 2, Set: arbiter.Both}
	if !r.c.MayAccept(both) {
		t.Fatal("in sync, but the set may not grow")
	}
	r.c.Accepted(0, arbiter.Record{Promised: 2, Accepted: both})
	if err := r.c.Chosen(0, both); err != nil {
		t.Fatal(err)
	}
	r.c.Lease(0, 2, time.Hour)
	r.run()
	r.sent = nil
	return r
}

func (r *rig) ack(id ID) {
	r.c.Receive(r.now, 1, Msg{Kind: Ack, Epoch: 2, ID: uint64(id)})
	r.run()
}

func TestAWriteWaitsForBothDisks(t *testing.T) {
	r := withPeer(t)
	a, b := r.write(0, 1), r.write(9, 1)
	r.localDone(a)
	r.ack(b)
	if r.completed(a) || r.completed(b) {
		t.Fatal("completed with one of two disks")
	}
	r.ack(a)
	r.localDone(b)
	if !r.completed(a) || !r.completed(b) {
		t.Fatal("not completed with both")
	}
}

func TestOverlappingWritesKeepTheirOrder(t *testing.T) {
	r := withPeer(t)
	first, second, third := r.write(0, 4), r.write(3, 4), r.write(6, 1)
	if len(r.local) != 1 || len(r.sent) != 1 {
		t.Fatalf("%d started, want the first only", len(r.local))
	}
	r.localDone(first)
	r.ack(first)
	if len(r.local) != 2 || r.local[1] != second {
		t.Fatalf("started %v, want the second and not the third %v", r.local, third)
	}
}

func TestTheLeaseHoldsReadsAndWrites(t *testing.T) {
	r := withPeer(t)
	w := r.write(0, 1)
	r.now = 2 * time.Hour
	r.localDone(w)
	r.ack(w)
	read, _ := r.c.Read(r.now)
	r.run()
	if r.completed(w) || r.completed(read) || r.c.MayRead(r.now) {
		t.Fatal("answered without a lease")
	}
	r.c.Lease(r.now, 2, 3*time.Hour)
	r.run()
	if !r.completed(w) || !r.completed(read) {
		t.Fatal("held although the lease was renewed")
	}
}

func TestALostPeerHoldsWritesUntilTheShrinkAndTheGeneration(t *testing.T) {
	r := withPeer(t)
	before := r.c.meta.Gen.Current
	w := r.write(0, 1)
	r.localDone(w)
	r.c.ConnDown(0, 1)
	r.run()
	if !r.c.View(0).WantShrink || r.completed(w) {
		t.Fatal("no wish to shrink, or acknowledged already")
	}
	alone := arbiter.Accepted{Epoch: 2, Version: 3, Set: 1}
	r.c.Accepted(0, arbiter.Record{Promised: 2, Accepted: alone})
	r.run()
	if r.completed(w) {
		t.Fatal("acknowledged when the shrink was proposed, not chosen")
	}
	r.persist = false
	r.c.Chosen(0, alone)
	r.run()
	if r.completed(w) || r.c.meta.Gen.Bitmap != before || r.c.meta.Gen.Current == before {
		t.Fatal("the new generation must be stable first")
	}
	r.c.Persisted(0, r.c.metaVersion, nil)
	r.run()
	if !r.completed(w) || r.c.View(0).OutOfSync != block.Size {
		t.Fatal("still held, or not marked")
	}
}

func TestAnUndecidedGrowNeedsThePeer(t *testing.T) {
	r := withPeer(t)
	r.c.chosen = arbiter.Accepted{Epoch: 2, Version: 1, Set: 1}
	r.c.grow = arbiter.Accepted{Epoch: 2, Version: 2, Set: arbiter.Both}
	r.c.ConnDown(0, 1)
	if !r.c.View(0).WantShrink {
		t.Fatal("the undecided set may have been chosen")
	}
	if r.c.MayAccept(arbiter.Accepted{Epoch: 2, Version: 3, Set: arbiter.Both}) {
		t.Fatal("a lost peer may not be taken in")
	}
}

func TestLettingGoEndsEverythingAndKeepsTheMarks(t *testing.T) {
	r := withPeer(t)
	w, waiting := r.write(0, 2), r.write(1, 2)
	r.c.Demote(0)
	r.run()
	if !errors.Is(r.done[w], ErrLetGo) || !errors.Is(r.done[waiting], ErrLetGo) {
		t.Fatalf("ended with %v", r.done)
	}
	if !r.c.dirty.All(block.Range{Len: 2 * block.Size}) || !r.c.meta.Active {
		t.Fatal("marks lost, or the crash mark went before the bitmap was stable")
	}
	r.localDone(w)
	r.c.BitmapSaved(nil)
	r.run()
	if r.c.meta.Active || !r.c.Quiet() || r.c.Busy() != 0 {
		t.Fatal("not at rest")
	}
}

func TestASecondaryRefusesAnOldReign(t *testing.T) {
	c := New(Config{Self: 1, Usable: 64 * block.Size, Seed: 2}, Meta{Gen: block.Generations{Current: 7}, Size: 64 * block.Size,
		BitmapValid: true}, nil, arbiter.Record{Promised: 2})
	mine := c.Hello()
	peer := mine
	peer.Node, peer.Primary, peer.Reign = 0, true, 2
	if err := c.ConnUp(0, 1, mine, peer); err != nil {
		t.Fatal(err)
	}
	data := Msg{Kind: Data, Epoch: 2, ID: 5, Range: block.Range{Len: block.Size}}
	id := c.Receive(0, 1, data)
	if id == 0 {
		t.Fatal("a write of the promised reign was refused")
	}
	c.Accepted(0, arbiter.Record{Promised: 3})
	c.Take()
	c.LocalDone(0, id, nil)
	for _, a := range c.Take() {
		if a.Kind == Send {
			t.Fatalf("acknowledged %v after a newer promise", a.Msg)
		}
	}
	if c.Receive(0, 1, data) != 0 {
		t.Fatal("a write of an old reign was taken")
	}
}

func BenchmarkReplicatedWrite(b *testing.B) {
	r := withPeer(b)
	first := r.write(0, 1000)
	r.localDone(first)
	r.ack(first)
	b.ReportAllocs()
	for i := range b.N {
		id, err := r.c.Write(0, block.Range{Off: int64(i%1000) * block.Size, Len: block.Size})
		if err != nil {
			b.Fatal(err)
		}
		r.c.LocalDone(0, id, nil)
		r.c.Receive(0, 1, Msg{Kind: Ack, Epoch: 2, ID: uint64(id)})
		r.c.Take()
		if i%1000 == 999 {
			r.c.Receive(0, 1, Msg{Kind: BarrierAck, Epoch: 2, ID: r.c.barrierSeq})
		}
	}
}
