package sim

import (
	"time"

	"gemel/node/failover"
)

// patience is how long people look on while nobody serves.
const patience = 8 * time.Second

// attend is what people do without being told to: a volume that nobody serves,
// because what the other node had is lost with its disk, is grabbed.
func (w *world) attend() {
	for _, b := range w.boxes {
		if b.device || b.app.running {
			w.served = w.now
		}
	}
	if w.now-w.served < patience {
		return
	}
	for _, b := range w.boxes {
		other := w.boxes[1-b.id]
		if (other.blank || other.problem != "") && b.agent != nil && b.truth.chosen.Set.Has(b.id) && !b.restored {
			w.served, b.truth.byHand = w.now, true
			w.tell("an operator has %s grab the volume", names[b.id])
			b.agent.feed(failover.Order{ID: uint64(w.now), Kind: failover.OrderGrab})
			return
		}
	}
}
