package sim

import (
	"errors"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/disk/crashdisk"
	"gemel/node/replicator/meta"
	"gemel/node/replicator/volume"
)

// diskOp is a request that the disk has not answered. Whether it has its effect
// when it is made or when it is answered is drawn: a sync may have reached what
// was completed after it, or not.
type diskOp struct {
	run   func() error // what it does to the disk; nil once it is done
	tear  func()       // what a crash makes of it while it is under way
	meta  bool
	ended bool
	// requests is how many it makes of the disk, about; zero: a few.
	requests int
	at       block.Range // of a write of data
}

// atDisk makes a request of the disk; done is told when it is answered.
func (r *replicator) atDisk(latency time.Duration, op *diskOp, done func(error)) {
	r.ops = append(r.ops, op)
	var err error
	if op.run != nil && op.tear == nil && r.b.dice.one(2) {
		err = op.run()
		op.run = nil
	}
	r.after(latency*time.Duration(r.b.slow), func() {
		switch {
		case op.run == nil:
		case !op.meta && r.b.badWrites > 0:
			r.b.badWrites--
			err = errDisk
		case !op.meta && r.b.failsAt(op.at):
			err = errDisk
		default:
			err = op.run()
		}
		op.ended = true
		r.forgetOps()
		done(err)
	})
}

func (r *replicator) forgetOps() {
	for len(r.ops) > 0 && r.ops[0].ended {
		r.ops = r.ops[1:]
	}
}

// latency of a write or read of n bytes.
func (r *replicator) latency(n int64) time.Duration {
	return r.b.dice.span(50*time.Microsecond, 4*time.Millisecond) + time.Duration(n)*8
}

func (r *replicator) syncLatency() time.Duration {
	return r.b.dice.span(time.Millisecond, 20*time.Millisecond)
}

// keepMeta is the only writer of metadata, one update at a time; what is asked
// for meanwhile goes with the next.
func (r *replicator) keepMeta() {
	switch {
	case r.metaBusy:
	case r.saveWanted:
		r.saveBitmap()
	case r.pagesWanted:
		r.savePages()
	case r.metaWanted != r.metaWritten || r.recordWanted != r.recordStable:
		r.writeMeta()
	}
}

func (r *replicator) saveBitmap() {
	r.saveWanted, r.metaBusy = false, true
	r.w.updated[updateBitmap]++
	words := r.core.Bitmap()
	words = append(words, make([]uint64, max(r.store.Words()-len(words), 0))...)[:r.store.Words()]
	r.update(func() error {
		if err := r.b.disk.Sync(); err != nil {
			return err
		}
		return r.store.SaveBitmap(words)
	}, func(err error) { r.core.BitmapSaved(err) })
}

func (r *replicator) savePages() {
	r.pagesWanted, r.metaBusy = false, true
	pages := r.core.Pages()
	r.b.pagesSaved()
	r.w.updated[updatePages]++
	r.update(func() error { return volume.SavePages(r.store, pages) },
		func(err error) { r.core.PagesSaved(r.b.clock(), err) })
}

// writeLog writes a transaction of the activity log; the core has one under way
// at a time, and nothing else waits for it.
func (r *replicator) writeLog() {
	t := r.core.Transaction()
	r.w.stats.Logged++
	r.w.updated[updateLog]++
	run := func() error { return r.store.WriteLog(t) }
	if r.cutHere(run) {
		return
	}
	r.atDisk(r.syncLatency(), &diskOp{run: run, meta: true}, func(err error) {
		r.core.Logged(r.b.clock(), err)
		r.run()
	})
}

func (r *replicator) writeMeta() {
	r.metaBusy = true
	m, version := r.core.Meta()
	record, number, peer, wall := r.register.Record, r.recordWanted, r.met, time.Unix(1e9, int64(r.b.clock()))
	r.update(func() error {
		return r.store.Update(func(s *meta.Superblock) {
			old := *s
			volume.Remember(s, m)
			s.Register = record
			volume.Stamp(&old, s, peer, wall)
			r.w.update(&old, s)
		})
	}, func(err error) {
		r.metaWritten, r.recordStable = version, number
		r.answerRenewal()
		if err == nil && r.record != record {
			r.record = record
			r.touched()
		}
		r.core.Persisted(r.b.clock(), version, err)
	})
}

// What an update of the metadata is about.
const (
	updateBitmap = iota
	updatePages
	updateLog
	updateRegister
	updateGeneration
	updateFlags
	updateVerify
	updatePast
	updateKinds
)

var updateNames = [updateKinds]string{"the whole bitmap", "pages of the bitmap", "the activity log", "the register",
	"generations", "flags", "a verify's state", "what the replica knows of its past"}

// update counts what changes in a superblock.
func (w *world) update(old, next *meta.Superblock) {
	for what, changed := range map[int]bool{updateRegister: old.Register != next.Register,
		updateGeneration: old.Generation != next.Generation, updateFlags: old.Flags != next.Flags,
		updateVerify: old.Verify != next.Verify, updatePast: old.Past != next.Past} {
		if changed {
			w.updated[what]++
		}
	}
}

// update runs one update of the metadata.
func (r *replicator) update(run func() error, done func(error)) {
	if r.cutHere(run) {
		return
	}
	r.atDisk(r.syncLatency(), &diskOp{run: run, meta: true}, func(err error) {
		if err != nil {
			r.w.broken("metadata can be written", "%s: %v", names[r.b.id], err)
		}
		r.metaBusy = false
		done(err)
		r.run()
		r.witnessRecord()
	})
}

// cutHere reports whether the power fails in the middle of this update.
func (r *replicator) cutHere(run func() error) bool {
	b := r.b
	if b.updates++; b.updates == b.cutUpdate {
		b.cutMeta = b.cutRequest
	}
	if b.cutMeta == 0 {
		return false
	}
	r.cutPower(run)
	return true
}

// errDisk is the answer of a disk that fails.
var errDisk = errors.New("input/output error")

// errCut ends the requests of a device whose power fails.
var errCut = errors.New("the power fails here")

// tornUpdate runs an update only as far as before its request number n.
func (r *replicator) tornUpdate(run func() error, n int) {
	first := r.b.disk.Ops()
	r.b.disk.Inject(func(o crashdisk.Op) error {
		if o.N >= first+n {
			return errCut
		}
		return nil
	})
	if run() != nil {
		r.w.stats.Torn++
	}
	r.b.disk.Inject(nil)
}

// cutPower fails the box's power in the middle of the update.
func (r *replicator) cutPower(run func() error) {
	r.w.tell("the power of %s fails before request %d of a metadata update", names[r.b.id], r.b.cutMeta)
	r.tornUpdate(run, r.b.cutMeta-1)
	r.b.cutMeta = 0
	b := r.b
	if b.onCut != nil {
		b.onCut(r)
	}
	b.w.after(0, func() {
		b.powerOff()
		b.w.after(b.dice.span(200*time.Millisecond, 6*time.Second), b.powerOn)
	})
}

// die ends the process; requests under way reach the disk in part.
func (r *replicator) die(closeSockets bool) {
	for _, op := range r.ops {
		switch {
		case op.ended:
		case op.tear != nil:
			op.tear()
		case op.run != nil && op.meta && r.b.dice.one(2):
			r.tornUpdate(op.run, r.b.dice.IntN(max(op.requests, 5)))
		case op.run != nil && r.b.dice.one(2):
			_ = op.run() // its answer is nobody's any more
		}
	}
	r.b.crashes()
	r.b.repl = nil
	if r.end != nil {
		r.end.abandon(closeSockets)
	}
	r.w.net.ownerDied(r)
}

// stableRecord waits until the register as it is now is on stable storage.
func (r *replicator) stableRecord(changed bool, then func()) {
	if changed {
		r.recordWanted++
		r.core.Accepted(r.b.clock(), r.register.Record)
	}
	want := r.recordWanted
	r.when(0, func() bool { return r.recordStable >= want }, func(bool) { then() })
	r.run()
}

// witnessRecord tells the oracle what this voter's storage holds now.
func (r *replicator) witnessRecord() {
	if r.record.Accepted != (arbiter.Accepted{}) {
		r.w.recorded(r.b.id, r.record.Accepted)
	}
}
