package sim

import (
	"time"

	"gemel/node/arbiter"
	"gemel/node/replicator/disk/crashdisk"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/meta"
	"gemel/node/replicator/resync"
	"gemel/node/replicator/volume"
	"gemel/node/replicator/volume/core"
)

// replicator is a shell around the shipping core, as package volume is one: it
// carries actions out and feeds back what came of them.
type replicator struct {
	b *box
	w *world

	core     *core.Core
	store    *meta.Store
	register arbiter.Register
	payloads map[core.ID][]byte
	sums     map[core.ID]*sums
	ops      []*diskOp

	metaBusy                   bool
	saveWanted, pagesWanted    bool
	metaWanted, metaWritten    uint64
	recordWanted, recordStable uint64
	record                     arbiter.Record // as it is on stable storage

	waits   []*wait
	waiting bool

	met    volume.Meeting // the peer, to be written down
	saying uint64         // number of the own metadata in the hello of this connection

	renewal     volume.Renewal
	answer      core.MsgKind // of the renewal, once the record is stable; zero: none
	answerAfter uint64
	answerOn    *end

	end     *end // connection in use or being made
	session uint64
	promise arbiter.Epoch // the peer's, as of its last hello
	ending  int           // closed connections of which the core is not yet told
	nextTry int           // numbers the tries, so that a hurried one replaces the waiting one
	offered *end

	requests map[core.ID]*request // of the application
	seen     arbiter.Epoch        // newest epoch of which a write was taken
	endSent  time.Duration        // true time of the newest End
	touch    bool                 // the agent has to look

	invalidating bool // an operator is on the way

	clash *handshake.Verdict // the refusal that an operator has to settle
	alone bool               // it does not try to connect
}

// wait is something to do once a condition holds.
type wait struct {
	cond func() bool
	then func(ok bool)
	over bool
}

// newReplicator starts the process; when the metadata is refused, it is there
// without the volume.
func newReplicator(b *box) {
	r := &replicator{b: b, w: b.w, payloads: map[core.ID][]byte{}, sums: map[core.ID]*sums{}, requests: map[core.ID]*request{}}
	store, err := meta.Open(b.disk, b.params())
	if err != nil {
		b.cannotOpen(err)
		return
	}
	words, _ := store.LoadBitmap()
	room := b.w.room(store.Super().DeviceSize)
	size := room
	if agreed := store.Super().AgreedSize; agreed > 0 {
		size = agreed
	}
	set, err := store.ReadLog()
	if err != nil || !set.Known && len(b.hurts) == 0 {
		b.w.broken("the activity log can be read after any crash", "%s: %v, %s", names[b.id], err, set.Why)
	}
	if store.Note() != "" {
		b.w.stats.MendedSlots++
	}
	b.repl = r
	super := store.Super()
	r.store, r.record, r.renewal.Every = store, super.Register, renewEach
	r.register = arbiter.Boot(super.Register, b.clock(), leaseTerm)
	r.core = core.New(core.Config{
		Self: b.id, Usable: room, OnError: b.w.plan.OnError, WriteTimeout: 6 * peerTimeout, DiskTimeout: diskTimeout, BarrierAfter: time.Second,
		Resync: resync.Limits{MaxRate: b.w.plan.ResyncRate}, Extent: b.w.plan.Extent, Checksums: b.w.plan.Checksums,
		Protocol: b.w.protocol, Seed: b.dice.Uint64(),
		Log: set, LogSlots: logSlots, LogExtent: logExtent, PageWords: meta.PageWords,
	}, volume.Remembered(&super), words[:size/blockSize/64], super.Register)
	b.bound(r.core, &super, &set)
	b.w.tell("the replicator of %s starts: %s", names[b.id], helloWords(r.core.Hello()))
	r.witnessRecord()
	r.run()
	r.tick()
	r.tryAfter(b.dice.span(0, connectWait))
}

// after runs f once d has passed, if this process still lives.
func (r *replicator) after(d time.Duration, f func()) {
	r.b.after(d, func() {
		if r.b.repl == r {
			f()
		}
	})
}

func (r *replicator) tick() {
	r.core.Tick(r.b.clock())
	r.renew()
	r.run()
	r.after(100*time.Millisecond, r.tick)
}

// when runs then once cond holds, or with false when limit has passed; 0: no
// limit.
func (r *replicator) when(limit time.Duration, cond func() bool, then func(ok bool)) {
	t := &wait{cond: cond, then: then}
	r.waits = append(r.waits, t)
	if limit > 0 {
		r.after(limit, func() {
			if !t.over {
				t.over = true
				t.then(false)
				r.run()
			}
		})
	}
}

// checkWaits ends the waits whose time has come, in the order they began.
func (r *replicator) checkWaits() {
	if r.waiting {
		return
	}
	r.waiting = true
	for i := 0; i < len(r.waits) && r.b.repl == r; {
		t := r.waits[i]
		if !t.over && !t.cond() {
			i++
			continue
		}
		r.waits = append(r.waits[:i], r.waits[i+1:]...)
		if !t.over {
			t.over = true
			t.then(true)
			i = 0
		}
	}
	r.waiting = false
}

// run carries the core's actions out until there are none.
func (r *replicator) run() {
	for {
		actions := append([]core.Action(nil), r.core.Take()...)
		if len(actions) == 0 {
			break
		}
		for i := range actions {
			if actions[i].Kind != core.Compare {
				r.carryOut(&actions[i])
			}
		}
		for i := range actions { // an event of its own: after what came before it
			if actions[i].Kind == core.Compare {
				r.compare(&actions[i])
			}
		}
	}
	r.keepMeta()
	r.checkWaits()
	if r.touch && r.b.repl == r {
		r.touch = false
		r.tellAgent()
	}
}

func (r *replicator) carryOut(a *core.Action) {
	r.w.mark(uint64(a.Kind), uint64(r.b.id), uint64(a.ID), uint64(a.Range.Off), uint64(a.Msg.Kind))
	switch a.Kind {
	case core.Write:
		r.write(a)
	case core.Read:
		r.read(a)
	case core.Digest, core.ReadDigest:
		r.digest(a)
	case core.Sync:
		r.atDisk(r.syncLatency(), &diskOp{run: r.b.disk.Sync}, func(err error) {
			r.core.SyncDone(r.b.clock(), err)
			r.run()
		})
	case core.Send:
		r.send(&a.Msg)
	case core.Complete:
		r.completed(a.ID, a.Err)
	case core.Release:
		delete(r.payloads, a.ID)
		delete(r.sums, a.ID)
	case core.Persist:
		r.metaWanted = a.Version
	case core.SaveBitmap:
		r.saveWanted = true
	case core.SavePages:
		r.pagesWanted = true
	case core.Log:
		r.writeLog()
	case core.SaveUndo:
		r.saveUndo(a)
	case core.Measure:
		r.measure(a.Version)
	case core.Blank:
		r.blank(a.Range)
	case core.Drop:
		r.w.tell("%s drops the connection: %v", names[r.b.id], a.Err)
		if r.end != nil {
			r.end.close(a.Err)
		}
	case core.Changed:
		r.touched()
	default:
		panic("the simulator does not know an action of the core: extend lab/sim")
	}
}

func (r *replicator) touched() { r.touch = true }

func (r *replicator) write(a *core.Action) {
	id, at := a.ID, a.Range
	data, ok := r.payloads[id]
	if !ok {
		r.w.broken("a payload is kept while it is needed", "%s writes %d+%d without one", names[r.b.id], at.Off, at.Len)
	}
	what := *a
	request := &diskOp{at: at, run: func() error {
		if r.b.misses > 0 && what.Op == core.OpBytes && int64(len(data)) == at.Len && at.End() <= blocks*blockSize {
			r.b.misses--
			return r.b.misdirect(at, data)
		}
		return volume.Apply(r.b.disk, &what, data)
	}}
	request.tear = func() { r.b.torn(at.Off, at.Len, a.Op, data) }
	r.atDisk(r.latency(at.Len), request, func(err error) {
		r.renewal.Moved = true
		r.core.LocalDone(r.b.clock(), id, err)
		r.run()
	})
}

func (r *replicator) read(a *core.Action) {
	id, at := a.ID, a.Range
	r.atDisk(r.latency(at.Len), &diskOp{}, func(error) {
		data := make([]byte, at.Len)
		err := r.b.disk.ReadAt(data, at.Off)
		r.payloads[id] = data
		r.core.LocalDone(r.b.clock(), id, err)
		r.run()
	})
}

// torn makes of a write under way what a crash may make of it: any of its
// sectors, or none.
func (b *box) torn(off, n int64, op core.Op, data []byte) {
	chance := b.dice.Float64() * 1.5
	now := make([]byte, n)
	b.disk.Peek(now, off)
	for s := int64(0); s < n; s += crashdisk.Sector {
		if b.dice.Float64() >= chance {
			continue
		}
		if op == core.OpBytes {
			copy(now[s:s+crashdisk.Sector], data[s:])
		} else {
			clear(now[s : s+crashdisk.Sector])
		}
	}
	_ = b.disk.WriteAt(now, off)
}

// quiet reports whether the role may change.
func (r *replicator) quiet() bool { return r.core.Quiet() || r.core.Problem() != nil }

// promote makes the replica Primary and shows the device.
func (r *replicator) promote(chosen arbiter.Accepted, birth bool, done func(err string)) {
	if r.core.View(0).Primary {
		r.promoteNow(chosen, birth, done)
		return
	}
	if r.end != nil {
		e := r.end
		e.close(nil)
		r.core.ConnDown(r.b.clock(), e.session)
	}
	r.when(10*time.Second, r.core.Quiet, func(bool) { r.promoteNow(chosen, birth, done) })
	r.run()
}

func (r *replicator) promoteNow(chosen arbiter.Accepted, birth bool, done func(err string)) {
	already := r.core.View(0).Primary
	if r.core.Remote() {
		done("")
		return
	}
	version, err := r.core.Promote(r.b.clock(), chosen, birth)
	if err != nil {
		r.run()
		done(err.Error())
		return
	}
	durable := func() bool { return r.core.Durable(version) || r.core.Problem() != nil }
	r.when(10*time.Second, durable, func(ok bool) {
		switch {
		case !ok:
			done("the crash mark is not on stable storage")
		case r.core.Problem() != nil:
			done(r.core.Problem().Error())
		case !r.core.View(0).Primary:
			done("it was demoted meanwhile")
		default:
			if !already { // else the agent was restarted, or elected again in place
				r.b.reigns(chosen.Epoch)
			}
			r.b.device = true
			r.hurry()
			done("")
		}
	})
	r.run()
}

// demote makes the replica Secondary; a clean one flushes first.
func (r *replicator) demote(clean bool, done func(err string)) {
	if !r.core.View(0).Primary || !clean {
		r.demoteNow(done)
		return
	}
	if len(r.requests) > 0 {
		done("the device is in use")
		return
	}
	r.b.device = false
	id, err := r.core.Flush(r.b.clock())
	if err != nil {
		done(err.Error())
		return
	}
	answered, asked := false, r.b.agent
	q := r.b.truth.flush(r.b)
	q.then = func(ok bool) {
		if answered || r.b.agent != asked { // an order dies with who gave it
			return
		}
		answered = true
		if !ok {
			done("the flush failed")
			return
		}
		r.core.Leave()
		r.when(10*time.Second, r.core.Left, func(bool) { r.demoteNow(done) })
		r.run()
	}
	r.requests[id] = q
	r.after(20*time.Second, func() {
		if !answered {
			answered = true
			done("the flush did not end")
		}
	})
	r.run()
}

func (r *replicator) demoteNow(done func(err string)) {
	r.core.Demote(r.b.clock())
	r.b.device = false
	r.hurry()
	r.when(10*time.Second, r.quiet, func(ok bool) {
		if !ok {
			done("the last writes did not end")
			return
		}
		done("")
	})
	r.run()
}

// tellAgent lets the agent look at the replica's state.
func (r *replicator) tellAgent() {
	if r.b.agent != nil {
		r.b.agent.lookSoon()
	}
}
