package core

import (
	"errors"
	"math/rand"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/activity"
)

const testExtent = 16 * block.Size

// held is a rig whose metadata writes wait until they are asked for.
func held(t testing.TB, slots int, blocks int64) *rig {
	accepted := arbiter.Accepted{Epoch: 2, Version: 1, Set: 1}
	c := New(Config{Self: 0, Usable: blocks * block.Size, Seed: 1, LogSlots: slots, LogExtent: testExtent, PageWords: 1},
		Meta{Gen: block.Generations{Current: 9, Bitmap: 8}, Size: blocks * block.Size, BitmapValid: true}, nil,
		arbiter.Record{Promised: 2, Accepted: accepted})
	r := &rig{t: t, c: c, done: map[ID]error{}, persist: true, holdLog: true}
	if _, err := c.Promote(0, accepted, false); err != nil {
		t.Fatal(err)
	}
	r.run()
	return r
}

func (r *rig) logged() {
	r.t.Helper()
	if !r.c.hot.under {
		r.t.Fatal("no transaction is under way")
	}
	r.c.Logged(r.now, nil)
	r.run()
}

func TestAColdWriteWaitsForItsTransactionAndAHotOneDoesNot(t *testing.T) {
	r := held(t, 8, 1024)
	r.write(0, 1)
	r.write(17, 1) // another extent, while the first transaction is under way
	r.write(33, 1)
	if len(r.local) != 0 || len(r.c.Transaction().Updates) != 1 {
		t.Fatalf("%d writes began before the log said so", len(r.local))
	}
	r.logged()
	if len(r.local) != 1 || len(r.c.Transaction().Updates) != 2 {
		t.Fatalf("%d writes began; the next transaction must hold both others: %+v", len(r.local), r.c.Transaction())
	}
	r.logged()
	r.write(2, 1)
	r.write(15, 2) // two hot extents
	if len(r.local) != 5 || r.c.hot.under {
		t.Fatalf("%d writes began; hot ones must not wait", len(r.local))
	}
}

func TestAnExtentLeavesWhenItsBitsAreSaved(t *testing.T) {
	r := held(t, 2, 1024)
	for _, at := range []int64{0, 100} {
		id := r.write(at, 1)
		r.logged()
		r.localDone(id)
	}
	r.write(200, 1) // no slot: a local sync and a save of pages make room
	if !r.c.pages.under || r.c.hot.under {
		t.Fatal("nothing is done for the write that found no slot")
	}
	if pages := r.c.Pages(); len(pages) != 2 || pages[0].Words[0] != 1 {
		t.Fatalf("to be saved: %+v", pages)
	}
	r.c.PagesSaved(0, nil)
	r.run()
	if u := r.c.Transaction().Updates; !r.c.hot.under || len(u) != 1 || u[0].Extent != 12 {
		t.Fatalf("no room yet: %+v", u)
	}
	r.logged()
	if len(r.local) != 3 {
		t.Fatal("the write did not begin")
	}
}

func TestOverlappingWritesKeepTheirOrderWhileTheLogIsWritten(t *testing.T) {
	r := held(t, 8, 1024)
	first := r.write(0, 1)
	r.logged()
	r.localDone(first)
	r.write(10, 10) // its second extent is cold
	r.write(12, 1)  // hot, but behind it
	if len(r.local) != 1 {
		t.Fatal("a later write overtook one that it overlaps")
	}
}

// TestStress writes over a volume much larger than the least log: nothing may
// stand for good.
func TestStress(t *testing.T) {
	for seed := range int64(4) {
		r := held(t, activity.SlotsLeast, 1<<16)
		r.holdLog = false
		rng := rand.New(rand.NewSource(seed))
		var open []ID
		for range 2000 {
			r.now += time.Millisecond
			open = append(open, r.write(rng.Int63n(1<<16-20), 1+rng.Int63n(20)))
			for len(open) > 150 || len(open) > 0 && rng.Intn(3) == 0 {
				i := rng.Intn(len(open))
				r.localDone(open[i])
				if r.c.find(open[i]) != nil && !r.completed(open[i]) { // not begun yet
					break
				}
				open = append(open[:i], open[i+1:]...)
			}
		}
		for range 100000 {
			if len(open) == 0 {
				break
			}
			r.localDone(open[0])
			if r.completed(open[0]) {
				open = open[1:]
			} else {
				open = append(open[1:], open[0])
			}
		}
		if len(open) > 0 || r.c.Busy() > 0 || len(r.c.hot.cold) > 0 {
			t.Fatalf("seed %d: %d writes stand", seed, len(open))
		}
	}
}

func TestLettingGoForgetsTheLogsUsers(t *testing.T) {
	r := held(t, 2, 1024)
	w := r.write(0, 1)
	r.logged()
	cold := r.write(100, 1)
	r.c.Demote(0)
	r.run()
	if !errors.Is(r.done[w], ErrLetGo) || !errors.Is(r.done[cold], ErrLetGo) {
		t.Fatalf("ended with %v", r.done)
	}
	r.localDone(w)
	r.c.Bitmap()
	r.c.BitmapSaved(nil)
	r.run()
	if r.c.Quiet() {
		t.Fatal("at rest with a transaction under way")
	}
	r.logged()
	if !r.c.Quiet() || len(r.c.hot.cold) > 0 {
		t.Fatal("not at rest")
	}
}

func TestAfterACrashTheLogIsMarked(t *testing.T) {
	m := Meta{Gen: block.Generations{Current: 9}, Size: 1024 * block.Size, BitmapValid: true, Active: true}
	start := func(s activity.Set) *Core {
		return New(Config{Self: 0, Usable: 1024 * block.Size, Seed: 1, LogExtent: testExtent, Log: s}, m, []uint64{1 << 63}, arbiter.Record{})
	}
	c := start(activity.Set{Known: true, Number: 7, Extents: []uint32{0, 63}})
	if got := c.View(0); c.dirty.Bytes() != 2*testExtent+block.Size || !got.Crashed || c.Quiet() {
		t.Errorf("%d bytes marked, %+v", c.dirty.Bytes(), got)
	}
	if m, _ := c.Meta(); !m.Active {
		t.Error("the crash mark went before the log's extents were saved")
	}
	c.Bitmap()
	c.BitmapSaved(nil)
	if m, _ := c.Meta(); m.Active || !m.BitmapValid || !m.Crashed {
		t.Errorf("saved, and still %+v", m)
	}
	if c := start(activity.Set{Why: "damaged"}); c.dirty.Bytes() != c.size() {
		t.Errorf("the log cannot tell, and only %d bytes are marked", c.dirty.Bytes())
	}
}

func TestARequestThatTheLogCannotHoldIsRefused(t *testing.T) {
	r := held(t, activity.SlotsLeast, 1024)
	if _, err := r.c.Write(0, block.Range{Len: spanMost * testExtent}); !errors.Is(err, errSpan) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkHotWrite(b *testing.B) {
	r := newRig(b)
	r.localDone(r.write(0, 1000))
	b.ReportAllocs()
	for i := range b.N {
		id, err := r.c.Write(0, block.Range{Off: int64(i%1000) * block.Size, Len: block.Size})
		if err != nil {
			b.Fatal(err)
		}
		r.c.LocalDone(0, id, nil)
		r.c.Take()
	}
}
