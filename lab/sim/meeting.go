package sim

import "gemel/node/replicator/volume/core"

// What package volume does to renew a meeting while a connection lasts.

func (r *replicator) renew() {
	if r.end != nil && r.end.stage == upAndRunning && r.renewal.Due(r.b.clock()) && r.core.View(0).Primary {
		m := r.renewal.Say(core.Met, r.store.Super().Sequence)
		r.send(&m)
	}
}

func (r *replicator) renewed(e *end, m *core.Msg) {
	r.recordWanted++
	r.answer, r.answerAfter, r.answerOn = r.renewal.Take(m, &r.met), r.recordWanted, e
	r.run()
}

func (r *replicator) answerRenewal() {
	if r.answer == 0 || r.recordStable < r.answerAfter {
		return
	}
	if r.end == r.answerOn && r.end != nil {
		m := r.renewal.Say(r.answer, r.store.Super().Sequence)
		r.send(&m)
	}
	r.answer = 0
}
