package core

import (
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/handshake"
)

// source is a rig that resyncs everything marked to a peer, and reads what the
// test lets it read.
func source(t *testing.T, marked ...block.Range) *rig {
	r := newRig(t)
	r.c.dirty.ClearAll()
	for _, m := range marked {
		r.c.dirty.Set(m)
	}
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
	return r
}

// copyAll reads what the core wants read, except bad blocks, and acknowledges
// what is sent, until nothing moves. It returns which blocks were sent.
func (r *rig) copyAll(bad func(block int64) bool) map[int64]bool {
	copied := map[int64]bool{}
	for {
		actions := append([]Action(nil), r.c.Take()...)
		if len(actions) == 0 {
			return copied
		}
		for _, a := range actions {
			switch {
			case a.Kind == Persist:
				r.c.Persisted(r.now, a.Version, nil)
			case a.Kind == Log:
				r.c.Logged(r.now, nil)
			case a.Kind == SavePages:
				r.c.Pages()
				r.c.PagesSaved(r.now, nil)
			case a.Kind == Read:
				r.c.LocalDone(r.now, a.ID, anyBad(a.Range, bad))
			case a.Kind == Write:
				r.c.LocalDone(r.now, a.ID, nil)
			case a.Kind == Complete:
				r.done[a.ID] = a.Err
			case a.Kind == Send && (a.Msg.Kind == ResyncData || a.Msg.Kind == Data):
				for b := a.Msg.Range.Off; b < a.Msg.Range.End(); b += block.Size {
					copied[b/block.Size] = true
				}
				r.c.Receive(r.now, 1, Msg{Kind: Ack, Epoch: 2, ID: a.Msg.ID})
			}
		}
	}
}

func anyBad(r block.Range, bad func(int64) bool) error {
	for b := r.Off; b < r.End(); b += block.Size {
		if bad(b / block.Size) {
			return errSimDisk
		}
	}
	return nil
}

func blocks(off, n int64) block.Range { return block.Range{Off: off * block.Size, Len: n * block.Size} }

func TestAResyncLeavesOutWhatItCannotRead(t *testing.T) {
	r := source(t, blocks(100, 300))
	bad := map[int64]bool{100: true, 217: true, 218: true, 399: true}
	copied := r.copyAll(func(b int64) bool { return bad[b] })
	for b := int64(100); b < 400; b++ {
		if copied[b] == bad[b] {
			t.Errorf("block %d: bad %v, copied %v", b, bad[b], copied[b])
		}
	}
	v := r.c.View(0)
	if !v.Resync.Running || !v.Resync.Stuck || v.Resync.Waiting == "" || v.Resync.Unreadable != 4*block.Size || len(v.Resync.UnreadableRanges) != 3 {
		t.Errorf("shown: %+v", v.Resync)
	}
	if v.OutOfSync != 4*block.Size || v.ReadyToGrow || r.c.MayAccept(arbiter.Accepted{Epoch: 2, Version: 2, Set: arbiter.Both}) {
		t.Errorf("%d bytes out of sync, may grow %v", v.OutOfSync, v.ReadyToGrow)
	}
	r.c.savePages()
	images := r.c.Pages()
	for b := range bad {
		if images[0].Words[b/64]&(1<<(b%64)) == 0 {
			t.Errorf("block %d is out of sync, and the image of the bitmap does not say so", b)
		}
	}
}

func TestAWriteOverUnreadableBlocksEndsTheResync(t *testing.T) {
	r := source(t, blocks(0, 64))
	bad := func(b int64) bool { return b == 10 || b == 11 }
	r.copyAll(bad)
	w, err := r.c.Write(0, blocks(11, 4))
	if err != nil {
		t.Fatal(err)
	}
	copied := r.copyAll(bad)
	if !copied[11] || r.c.omitted.bytes != block.Size || r.c.View(0).Resync.Unreadable != block.Size {
		t.Fatalf("the write was not sent (%v), or block 10 is not left: %+v", copied, r.c.omitted)
	}
	if _, ok := r.done[w]; !ok {
		t.Error("the write did not complete")
	}
	if _, err := r.c.Write(0, blocks(10, 1)); err != nil {
		t.Fatal(err)
	}
	r.copyAll(bad)
	if r.c.phase != finishing || r.c.omitted.bytes != 0 {
		t.Errorf("everything is good, but phase %d, %+v", r.c.phase, r.c.omitted)
	}
}

func TestUnreadableBlocksAreTriedAgain(t *testing.T) {
	r := source(t, blocks(0, 64))
	r.copyAll(func(b int64) bool { return b == 10 })
	good := func(int64) bool { return false }
	if r.c.Tick(r.now); len(r.copyAll(good)) > 0 {
		t.Fatal("tried again at once")
	}
	r.now += retryUnreadable
	r.c.Tick(r.now)
	if copied := r.copyAll(good); !copied[10] || r.c.phase != finishing {
		t.Errorf("copied %v, phase %d", copied, r.c.phase)
	}
}

func TestUnreadableBlocksAreMarkedWhenTheConnectionEnds(t *testing.T) {
	r := source(t, blocks(0, 64))
	r.copyAll(func(b int64) bool { return b == 10 })
	r.c.ConnDown(0, 1)
	if r.c.dirty.Bytes() < block.Size || !r.c.dirty.All(blocks(10, 1)) || r.c.omitted.bytes != 0 {
		t.Errorf("%d bytes marked, %+v", r.c.dirty.Bytes(), r.c.omitted)
	}
}

func TestTooManyUnreadableBlocksLetTheResyncWait(t *testing.T) {
	r := source(t, blocks(0, 2))
	for i := range int64(unreadableMost - 1) {
		r.c.leaveOut(0, blocks(2000+2*i, 1), here)
	}
	r.copyAll(func(b int64) bool { return b == 0 })
	r.c.setBits(blocks(100, 8))
	r.c.pump(0)
	if copied := r.copyAll(func(int64) bool { return false }); len(copied) > 0 || !r.c.View(0).Resync.Stuck {
		t.Errorf("copied %v, %+v", copied, r.c.View(0).Resync)
	}
	r.now += retryUnreadable
	r.c.Tick(r.now)
	if copied := r.copyAll(func(b int64) bool { return b >= 1000 }); !copied[0] {
		t.Errorf("tried again, copied %v", copied)
	}
}

func TestWhatTheTargetCannotWriteIsLeftOut(t *testing.T) {
	r := source(t, blocks(0, 8))
	r.copyAll(func(int64) bool { return true }) // nothing can be read yet
	r.now += retryUnreadable
	r.c.Tick(r.now)
	for tries := 0; len(r.c.omitted.blocks) != 1 && tries < 20; tries++ {
		for _, a := range append([]Action(nil), r.c.Take()...) {
			switch {
			case a.Kind == Read:
				r.c.LocalDone(r.now, a.ID, nil)
			case a.Kind == Send && a.Msg.Kind == ResyncData:
				bad := a.Msg.Range.Overlaps(blocks(3, 1))
				r.c.Receive(r.now, 1, Msg{Kind: Ack, Epoch: 2, ID: a.Msg.ID, Bad: bad})
			}
		}
	}
	v := r.c.View(r.now).Resync
	if v.Unwritable != block.Size || v.UnwritableRanges[0] != blocks(3, 1) || v.Unreadable != 0 || !v.Stuck {
		t.Errorf("shown: %+v", v)
	}
}

// TestBlocksLeftOutTwiceCountOnce: a write over a block that was left out failed as
// well, so the block is marked again, tried, and left out once more.
func TestBlocksLeftOutTwiceCountOnce(t *testing.T) {
	c := &Core{}
	for range 2 {
		c.leaveOut(0, block.Range{Off: 4 * block.Size, Len: 2 * block.Size}, there)
		for r, ok := c.omitted.next(block.Size); ok; r, ok = c.omitted.next(block.Size) {
			c.leaveOut(0, r, there)
		}
	}
	if got := c.omitted.bytes; got != 2*block.Size {
		t.Errorf("%d bytes are left out", got)
	}
}
