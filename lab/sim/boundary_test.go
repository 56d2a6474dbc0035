package sim

import (
	"os"
	"testing"
	"time"

	"gemel/node/failover"
	"gemel/node/replicator/meta"
)

// Crash at every write boundary of the metadata: a life without other faults
// (birth, promotion, first sync, a lost peer and the rotation after it, a
// resync's end, two verifies, a replica that is invalidated and filled, a
// switchover with its demotion and promotion) is played again
// and again, and each time the power of one box fails before another request of
// another update. Every subset of the sectors of that update that may have
// reached the disk must open; then the pair lives on and must heal.

// bounds of the enumeration.
const (
	subsetsOf   = 8 // sectors of an update: all 2^8 subsets are opened
	requestsMax = 4 // of one update: two slots, each written and synced
)

// life is the script; the cut comes before request of update of box.
func life(id, update, request int, cut func(r *replicator)) Options {
	return Options{Story: true, script: func(w *world) {
		b := w.boxes[id]
		b.cutUpdate, b.cutRequest = update, request
		b.onCut = cut
		w.after(3500*time.Millisecond-w.now, func() {
			mend := w.cut(Fault{Kind: CutCables})
			w.after(1500*time.Millisecond, mend)
		})
		w.after(8300*time.Millisecond-w.now, func() { w.verify(Fault{Kind: Verify}) })
		w.after(8600*time.Millisecond-w.now, func() { w.verify(Fault{Kind: Verify, N: 8}) })
		w.after(6500*time.Millisecond-w.now, func() { w.invalidate(w.boxes[1]) })
		w.after(9*time.Second-w.now, func() {
			for _, b := range w.boxes {
				if b.agent != nil {
					b.agent.feed(failover.Order{ID: 1, Kind: failover.OrderSwitchover})
				}
			}
		})
		w.after(13*time.Second-w.now, w.heal)
	}}
}

func TestCrashAtEveryMetadataRequest(t *testing.T) {
	plan := Plan{Seed: 3, Length: 13 * time.Second, Extent: 64 << 10}
	var updates [2]int
	whole := life(0, 0, 0, nil)
	script := whole.script
	whole.script = func(w *world) {
		script(w)
		w.after(plan.Length-w.now, func() {
			updates = [2]int{w.boxes[0].updates, w.boxes[1].updates}
			for what := range updateKinds {
				if w.updated[what] == 0 {
					t.Errorf("the life has no update of %s", updateNames[what])
				}
			}
		})
	}
	if r := Run(plan, whole); r.Violation != nil || r.Stats.Reigns < 2 || r.Stats.Resyncs < 3 {
		t.Fatalf("the life without a cut: %v, %d reigns, %d resyncs", r.Violation, r.Stats.Reigns, r.Stats.Resyncs)
	}
	step, lives, opened := someBoundaries, 0, 0
	if os.Getenv("GEMEL_BOUNDARIES") == "all" {
		step = 1
	}
	n := 0
	for id := range updates {
		for update := 1; update <= updates[id]; update++ {
			for request := 1; request <= requestsMax+1; request++ {
				if n++; n%step != 0 {
					continue
				}
				lives++
				r := Run(plan, life(id, update, request, func(r *replicator) { opened += openAll(t, r) }))
				if r.Violation != nil {
					from := max(0, len(r.Story)-storyLines)
					for _, l := range r.Story[from:] {
						t.Log(l)
					}
					t.Fatalf("%s cut before request %d of update %d: %v", names[id], request, update, r.Violation)
				}
			}
		}
	}
	t.Logf("%d and %d updates; %d lives with a cut, %d disks opened after it", updates[0], updates[1], lives, opened)
	if opened == 0 {
		t.Error("no disk was opened after a cut")
	}
}

// openAll opens the disk as every subset of the newest sectors in its cache
// would leave it.
func openAll(t *testing.T, r *replicator) (opened int) {
	t.Helper()
	b := r.b
	unflushed := b.disk.Unflushed()
	loose := min(unflushed, subsetsOf)
	record := r.record
	for kept := range 1 << loose {
		d := b.disk.Clone().CrashWith(func(i int) bool {
			if i >= unflushed-loose {
				return kept>>(i-unflushed+loose)&1 != 0
			}
			return i*7%3 == 0
		})
		s, err := meta.Open(d, b.params())
		if err == nil {
			_, err = s.ReadLog()
		}
		if err != nil {
			t.Fatalf("%s, sectors %#x: %v", names[b.id], kept, err)
		}
		if super := s.Super(); super.Register.Promised < record.Promised || record.Accepted.Newer(super.Register.Accepted) {
			t.Fatalf("%s, sectors %#x: the register went back from %+v to %+v", names[b.id], kept, record, super.Register)
		}
		opened++
	}
	return opened
}
