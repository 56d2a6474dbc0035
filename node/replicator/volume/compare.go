package volume

import (
	"time"

	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
	"gemel/node/replicator/digest"
	"gemel/node/replicator/link"
	"gemel/node/replicator/volume/core"
)

// carryOutDigest starts to read a piece that is compared. The memory is taken
// only once the disk's turn has come: there may be many pieces.
func (v *Volume) carryOutDigest(a *core.Action) {
	id, r, keep, key := a.ID, a.Range, a.Kind == core.ReadDigest, v.sumKey
	pay := &payload{refs: 2}
	v.payloads[id] = pay
	v.crew.do(func() { v.digestLocal(id, r, pay, keep, &key) })
}

// digestLocal reads a piece and sums it; keep: its data is wanted as well. The key is that of the session in which the
// piece was asked for: what another session asks is another piece.
func (v *Volume) digestLocal(id core.ID, r block.Range, pay *payload, keep bool, key *digest.Key) {
	data, sums := buffer.Get(int(r.Len)), buffer.Get(digest.Len(r.Len))[:0]
	err := v.o.Disk.ReadAt(data, r.Off)
	if err == nil {
		sums = digest.Append(sums, data, key)
	}
	blank := keep && err == nil && allZero(data)
	v.mu.Lock()
	if pay.sums = sums; keep {
		pay.buf, pay.pooled, pay.blank = data, true, blank
	}
	v.core.LocalDone(Now(), id, err)
	v.run()
	v.unref(id)
	v.unlock()
	if !keep {
		buffer.Put(data)
	}
}

// take keeps what came with a message for id; v.mu is held.
func (v *Volume) take(id core.ID, msg *core.Msg, m *link.Message) {
	if msg.Kind == core.Sums {
		if pay := v.payloads[id]; pay != nil {
			pay.theirs, m.Payload = m.Payload, nil
		}
		return
	}
	v.received += int64(len(m.Payload))
	v.payloads[id] = &payload{buf: m.Payload, refs: 1, pooled: true, received: true}
	m.Payload = nil
}

// compare answers what the core asked to compare; v.mu is held.
func (v *Volume) compare() {
	for i := 0; i < len(v.compares); i++ {
		a := v.compares[i]
		var differ []block.Range
		if pay := v.payloads[a.ID]; pay != nil {
			differ = digest.Differ(pay.sums, pay.theirs, a.Range)
		}
		v.core.Compared(Now(), a.ID, differ)
	}
	v.compares = v.compares[:0]
}

// Verify starts, holds or ends a verify; only a Primary can.
func (v *Volume) Verify(req control.VerifyRequest) (err error) {
	v.event(func(now time.Duration) {
		switch req.Action {
		case control.ActionStart:
			if err = v.core.VerifyStart(now, req.From, req.MaxRate, req.Repair); err == nil {
				v.verifies++
			}
		case control.ActionPause:
			err = v.core.VerifyPause(now)
		case control.ActionResume:
			err = v.core.VerifyResume(now, req.MaxRate)
		case control.ActionStop:
			err = v.core.VerifyStop(now)
		default:
			err = &control.Error{Code: control.CodeBadRequest, Message: "a verify can be started, paused, resumed and stopped, not " + req.Action}
		}
	})
	return v.named(err)
}

// verifyState shows the last verify; v.mu is held.
func (v *Volume) verifyState(now time.Duration) *control.Verify {
	w, ok := v.core.Verification(now)
	if !ok {
		return nil
	}
	s := &control.Verify{Run: v.verifies, State: verifyWord(&w), Repair: w.Repair, Waiting: w.Waiting, Pos: w.Pos, Total: w.Total,
		Rate: w.Rate, ETA: w.ETA, MaxRate: w.MaxRate, Found: w.Found, Repaired: w.Repaired, Skipped: w.Skipped,
		Unreadable: w.Unreadable, More: w.More, Problem: w.Problem}
	for _, r := range w.Ranges {
		s.Ranges = append(s.Ranges, control.Range{Offset: r.Off, Length: r.Len})
	}
	return s
}

func verifyWord(w *core.Verification) string {
	switch {
	case w.Paused:
		return control.VerifyPaused
	case w.Running && w.Waiting != "":
		return control.VerifyWaiting
	case w.Running:
		return control.VerifyRunning
	case w.Pos >= w.Total:
		return control.VerifyFinished
	}
	return control.VerifyStopped
}

// Resync pauses or resumes the copying of this node, or changes its limits.
func (v *Volume) Resync(req control.ResyncRequest) (err error) {
	v.event(func(now time.Duration) {
		l := v.core.Limits()
		l.MinRate, l.MaxRate = change(l.MinRate, req.MinRate), change(l.MaxRate, req.MaxRate)
		switch {
		case !v.core.View(now).Primary:
			err = core.ErrNotPrimary
		case l.MaxRate > 0 && l.MinRate > l.MaxRate:
			err = &control.Error{Code: control.CodeBadRequest, Message: "the lowest rate of a resync is above the highest"}
		case req.Action != "" && req.Action != control.ActionPause && req.Action != control.ActionResume:
			err = &control.Error{Code: control.CodeBadRequest, Message: "a resync can be paused and resumed, not " + req.Action}
		default:
			v.core.ResyncLimits(now, l)
			if req.Action != "" {
				v.core.ResyncPause(now, req.Action == control.ActionPause)
			}
		}
	})
	return v.named(err)
}

// change is a limit after a request: 0 leaves it, below 0 removes it.
func change(limit, wanted int64) int64 {
	if wanted == 0 {
		return limit
	}
	return max(wanted, 0)
}

// HoldResync holds the copying with the reason why: it is another volume's turn.
// Empty: it goes on.
func (v *Volume) HoldResync(why string) {
	v.event(func(now time.Duration) { v.core.ResyncHold(now, why) })
}
