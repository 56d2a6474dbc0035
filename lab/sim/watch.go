package sim

import (
	"bytes"
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/failover"
	"gemel/node/replicator/handshake"
)

// look compares the disks now and then, and ends the run when all is whole.
func (w *world) look() {
	for _, b := range w.boxes {
		if b.repl == nil {
			continue
		}
		if m, _ := b.repl.core.Meta(); m.Verify.Found > int64(len(w.damage.ever))*blockSize {
			w.broken("a verify finds nothing where nothing was damaged", "%s: %d bytes", names[b.id], m.Verify.Found)
		}
	}
	w.watchBound()
	w.attend()
	w.settle()
	p := w.whole()
	if p != nil && w.settled(p) {
		if w.audit.stage != auditUndoing { // then old content is there again
			w.compare(p)
		}
		if w.calm && !w.resting {
			w.resting = true
		} else if w.calm && w.audit.goOn(p) {
			w.done = true
			return
		}
	}
	if w.calm && w.now > w.plan.Length+healLimit {
		w.broken("a pair without faults is whole again in time", "%v after the last fault it is not:\n%s", healLimit, w.state())
	}
	if w.calm && p != nil {
		w.resting = true
	}
	w.after(500*time.Millisecond, w.look)
}

// whole returns the box that serves while the pair is whole.
func (w *world) whole() *box {
	for _, b := range w.boxes {
		o := w.boxes[1-b.id]
		if b.repl == nil || o.repl == nil || b.agent == nil || o.agent == nil {
			continue
		}
		v, ov := b.repl.core.View(0), o.repl.core.View(0)
		if b.agent.m.View().Role == failover.RoleServing && v.Primary && v.InSync && ov.InSync && !ov.Primary &&
			v.Chosen.Set == arbiter.Both && b.truth.chosen == v.Chosen && b.truth == o.truth {
			return b
		}
	}
	return nil
}

// settled reports whether nothing is under way between the two.
func (w *world) settled(p *box) bool {
	o := w.boxes[1-p.id]
	return len(p.repl.requests) == 0 && p.repl.core.Busy() == 0 && len(p.repl.ops) == 0 && len(o.repl.ops) == 0 &&
		p.repl.end != nil && len(p.repl.end.c.pipes[0].queue)+len(p.repl.end.c.pipes[1].queue) == 0 &&
		len(p.repl.end.inbox) == 0 && o.repl.end != nil && len(o.repl.end.inbox) == 0
}

// compare demands equal disks.
func (w *world) compare(p *box) {
	w.stats.Compared++
	all := block.Range{Len: blocks * blockSize}
	a, b := p.peek(all), w.boxes[1-p.id].peek(all)
	for n := range int(p.size()) {
		if w.damage.at[0][int64(n)] || w.damage.at[1][int64(n)] {
			continue
		}
		if x, y := a[n*blockSize:(n+1)*blockSize], b[n*blockSize:(n+1)*blockSize]; !bytes.Equal(x, y) {
			at := block.Range{Off: int64(n) * blockSize, Len: blockSize}
			w.broken("replicas in sync are equal", "block %d is write %d on %s and write %d on %s", n,
				firstStamp(p.peek(at)), names[p.id], firstStamp(w.boxes[1-p.id].peek(at)), names[1-p.id])
		}
	}
	p.truth.holds(p, "is in sync")
	if w.damage.any() {
		p.truth.forget()
	}
}

// firstStamp is the first write that a block names, zero for none.
func firstStamp(p []byte) uint64 {
	for off := 0; off < len(p); off += 512 {
		if p[off] != 0 || p[off+1] != 0 || p[off+2] != 0 {
			return uint64(p[off]) | uint64(p[off+1])<<8 | uint64(p[off+2])<<16
		}
	}
	return 0
}

// state is what everybody is doing, for a pair that does not heal.
func (w *world) state() string {
	out := ""
	for _, b := range w.boxes {
		out += fmt.Sprintf("%s: power %v, device %v, application %v", names[b.id], b.on, b.device, b.app.running)
		if a := b.agent; a != nil {
			v := a.m.View()
			out += fmt.Sprintf("; agent %s, refusal %q", v.Phase, v.Refusal)
		}
		if r := b.repl; r != nil {
			v := r.core.View(b.clock())
			out += fmt.Sprintf("; %s; connected %v, in sync %v, frozen %q, problem %v, out of sync %d, %d requests open, register %+v",
				helloWords(r.core.Hello()), v.Connected, v.InSync, v.Frozen, v.Problem, v.OutOfSync, len(r.requests), r.register.Record)
		}
		out += "\n"
	}
	return out + fmt.Sprintf("witness: power %v, %+v; newest chosen %+v", w.witness.on, w.witness.stable, w.newest())
}

func setWords(s arbiter.Set) string {
	return [4]string{"nobody", names[0], names[1], "both"}[s&3]
}

func helloWords(s handshake.State) string {
	role := "Secondary"
	if s.Primary {
		role = fmt.Sprintf("Primary of epoch %d", s.Reign)
	}
	out := fmt.Sprintf("%s, promised %d, generation %x counting from %x", role, s.Promised, uint64(s.Current)>>48, uint64(s.Bitmap)>>48)
	for _, f := range []struct {
		set  bool
		name string
	}{{s.Created, "new"}, {s.Inconsistent, "Inconsistent"}, {s.Crashed, "crashed as Primary"}, {s.Bits, "with bits"}} {
		if f.set {
			out += ", " + f.name
		}
	}
	return out
}
