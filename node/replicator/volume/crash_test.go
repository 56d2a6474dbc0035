package volume

import (
	"fmt"
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
