package sim

import (
	"strings"
	"testing"
	"time"
)

// TestARepairEndsWithItsReign: while a slow verify with repair runs, the disk of
// the other node, which the operator distrusts, changes blocks that were not
// looked at yet; then the nodes change roles. Nothing may be copied the other way.
func TestARepairEndsWithItsReign(t *testing.T) {
	looked := 0
	for seed := range uint64(4) {
		p := Plan{Seed: seed, Length: 16 * time.Second, Extent: 64 << 10, Liar: 1}
		r := Run(p, Options{Story: true, script: func(w *world) {
			w.after(6*time.Second, func() {
				b := w.boxes[0]
				if err := b.repl.core.VerifyStart(b.clock(), 0, 100<<10, true); err != nil {
					w.tell("no verify: %v", err)
				}
				b.repl.run()
				for n := int64(100); n < 250; n += 10 {
					w.boxes[1].rot(n)
				}
			})
			w.after(6500*time.Millisecond, func() { w.order(w.boxes[0], Fault{Kind: Switchover}) })
			w.after(p.Length, func() {
				if r := w.boxes[1].repl; r != nil && r.core.View(0).Primary && w.boxes[1].device {
					looked++
				}
				w.heal()
			})
		}})
		if r.Violation != nil {
			t.Errorf("seed %d:\n%s\n%v", seed, strings.Join(r.Story, "\n"), r.Violation)
		}
	}
	if looked == 0 {
		t.Error("the nodes never changed roles, so nothing was shown")
	}
}
