package volume

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/replicator/activity"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
	"gemel/node/replicator/meta"
)

// TestACrashCostsWhatTheLogNames stops a Primary without a demotion, twice: once
// it comes back as Primary, once the other was elected meanwhile.
func TestACrashCostsWhatTheLogNames(t *testing.T) {
	for back := range 2 {
		t.Run(fmt.Sprintf("node %d is elected", back), func(t *testing.T) {
			p := newPair(t, 128<<20)
			p.promote(0, 2, true)
			p.until(0, "first sync", ready)
			p.until(0, "the bits of the first sync to be cleared on disk", func(control.VolumeState) bool {
				words, _ := p.v[0].o.Store.LoadBitmap()
				return words[0] == 0 && p.v[0].o.Store.Super().Flags.Has(meta.BitmapValid)
			})
			p.choose(0, 2, 2, arbiter.Both)
			b := buffer.Aligned(4096)
			extents := []int64{0, 3, 17, 18}
			for _, e := range extents {
				if err := p.v[0].WriteAt(b, e*activity.ExtentSize+8192, false); err != nil {
					t.Fatal(err)
				}
			}
			p.stop(0)
			p.open(0, false)
			if s := p.v[0].State(); !s.CrashedPrimary {
				t.Errorf("the crash is not seen: %+v", s)
			}
			p.promote(back, arbiter.Epoch(4+back), false)
			s := p.until(back, "resync after the crash", ready)
			limit := int64(len(extents)) * activity.ExtentSize
			if moved := p.v[back].State().Counters.Resynced; moved > limit && back == 0 || s.OutOfSync > 0 {
				t.Errorf("%d bytes were sent again, the log names %d", moved, limit)
			}
			p.identical()
		})
	}
}

// TestACrashAfterRandomLoadIsBoundedByTheLog writes at random all over a volume that
// is larger than what the smallest log can name, and stops the Primary: whatever was
// written before, the resync names no more than the log holds.
func TestACrashAfterRandomLoadIsBoundedByTheLog(t *testing.T) {
	const extents, slots, size = 96, activity.SlotsLeast, 98 * activity.ExtentSize
	p := newPairTuned(t, size, func(o *Options) { o.LogSlots = slots })
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.until(0, "the bits of the first sync to be cleared on disk", func(control.VolumeState) bool {
		words, _ := p.v[0].o.Store.LoadBitmap()
		set := slices.ContainsFunc(words, func(w uint64) bool { return w != 0 })
		return !set && p.v[0].o.Store.Super().Flags.Has(meta.BitmapValid)
	})
	p.choose(0, 2, 2, arbiter.Both)
	touched := make([]atomic.Bool, extents)
	var writers sync.WaitGroup
	for w := range uint64(4) {
		writers.Go(func() {
			random, b := rand.New(rand.NewPCG(7, w)), buffer.Aligned(4096)
			for range 2 * extents / 4 {
				e := random.Int64N(extents)
				touched[e].Store(true)
				if err := p.v[0].WriteAt(b, e*activity.ExtentSize+random.Int64N(1000)*4096, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	p.stop(0)
	p.open(0, false)
	p.promote(0, 4, false)
	s := p.until(0, "resync after the crash", ready)
	named, over := s.Counters.Resynced+s.Counters.Same, 0
	for e := range touched {
		if touched[e].Load() {
			over++
		}
	}
	t.Logf("%d extents were written, the log holds %d: %d MiB named, %d MiB of them sent, of %d MiB", over, slots, named>>20,
		s.Counters.Resynced>>20, int64(size)>>20)
	if limit := int64(slots) * activity.ExtentSize; named == 0 || named > limit || over <= slots {
		t.Errorf("%d bytes were named, the log can name %d; %d extents were written", named, limit, over)
	}
	p.identical()
}
