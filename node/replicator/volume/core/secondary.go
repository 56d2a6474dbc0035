package core

import (
	"fmt"
	"time"

	"gemel/node/block"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/resync"
)

// task is a Barrier, an End or stronger Terms at the Secondary: it waits for what came before it,
// then for a sync of the disk.
type task struct {
	kind  MsgKind
	id    uint64
	gen   block.Generation
	order uint64 // everything below must be on the disk
	round uint64 // sync that covers it, 0: not asked for
}

// follow begins a connection at the Secondary.
func (c *Core) follow() {
	switch c.verdict {
	case handshake.NoSync:
		if c.peer.Primary {
			c.phase = inSync
			c.current()
		}
	case handshake.TargetBitmap:
		if c.meta.Inconsistent { // the source that began has our bits already
			c.send(Msg{Kind: BitsEnd})
			return
		}
		c.sendBits()
	}
}

func (c *Core) sendBits() {
	words := c.dirty.Words()
	for first := 0; first < len(words); first += wordsPerBits {
		part := words[first:min(first+wordsPerBits, len(words))]
		if anySet(part) {
			c.send(Msg{Kind: Bits, ID: uint64(first), Words: append([]uint64(nil), part...)})
		}
	}
	c.send(Msg{Kind: BitsEnd})
}

func anySet(words []uint64) bool {
	for _, w := range words {
		if w != 0 {
			return true
		}
	}
	return false
}

// obey takes a message of the Primary. The epoch is looked at every time: once
// a higher one is promised, nothing of this reign is taken any more.
func (c *Core) obey(now time.Duration, m Msg) ID {
	if m.Epoch < c.register.Promised || m.Epoch != c.peerEpoch || !c.peer.Primary {
		c.disconnect(now, fmt.Errorf("message of epoch %d from the Primary of epoch %d after epoch %d was promised",
			m.Epoch, c.peerEpoch, c.register.Promised))
		return 0
	}
	if c.problem != nil {
		c.send(Msg{Kind: Failed})
		return 0
	}
	switch m.Kind {
	case Data, ResyncData:
		return c.theirWrite(now, m)
	case Bits:
		c.lose(m)
	case Begin:
		c.becomeTarget(now, m)
	case ReadRequest:
		c.serve(now, m)
	case Entrust:
		c.entrusted(m)
	case Terms:
		c.noteTerms(m)
	case Barrier, End:
		c.tasks = append(c.tasks, task{kind: m.Kind, id: m.ID, gen: m.Gen, order: c.seq})
		c.runTasks()
	case Ask:
		c.asked(now, m)
	case Grow:
		c.growAsked(now, m)
	case VerifyNote:
		c.verifyNoted(now, m.Words)
	}
	return 0
}

func (c *Core) theirWrite(now time.Duration, m Msg) ID {
	if c.phase < syncing || !c.inside(m.Range) {
		c.disconnect(now, outOfPlace("write", m.Range))
		return 0
	}
	q := c.alloc(theirWrite, m.Range)
	q.remote, q.session, q.order, q.op, q.fua = m.ID, c.session, c.seq, m.Op, m.FUA
	q.ordered, q.after = m.Kind == Data, m.After
	c.seq++
	c.local++
	c.count.Received += m.Op.payloadOf(m.Range)
	if m.Kind == ResyncData {
		c.count.Resynced += m.Range.Len
		if c.pace != nil && !c.sums {
			c.pace.Delivered(now, m.Range.Len)
		}
	}
	c.theirs = append(c.theirs, q)
	if m.Receipt {
		c.send(Msg{Kind: Received, ID: m.ID})
	}
	if q.ordered {
		c.order(now, q)
	} else {
		c.apply(now, q)
	}
	return q.id
}

// inside reports whether r is made of blocks of the volume.
func (c *Core) inside(r block.Range) bool {
	return !r.Empty() && r.Aligned() && r.Off >= 0 && r.End() <= c.meta.Size
}

func outOfPlace(what string, r block.Range) error {
	return fmt.Errorf("the Primary sent a %s at %d+%d that does not belong here", what, r.Off, r.Len)
}

func (c *Core) theirsDone(now time.Duration, q *request) {
	for i, o := range c.theirs {
		if o == q {
			c.theirs[i] = c.theirs[len(c.theirs)-1]
			c.theirs = c.theirs[:len(c.theirs)-1]
			break
		}
	}
	c.applied(now, q)
	current := c.phase != off && q.session == c.session && !c.primary
	if q.err != nil && !(current && c.keepsDisk()) {
		c.brokenDisk(now, q.err)
	} else if current && c.peerEpoch >= c.register.Promised {
		c.send(Msg{Kind: Ack, ID: q.remote, Bad: q.err != nil})
	}
	c.release(q)
	if len(c.asks) > 0 {
		c.reask()
	}
	if current {
		c.runTasks()
	}
}

// brokenDisk: a block is not what the Primary wrote, so this replica is not
// whole any more; unless it is the only copy, which has all that was
// acknowledged.
func (c *Core) brokenDisk(now time.Duration, err error) {
	c.fail(fmt.Errorf("%w: %w", ErrDisk, err))
	if !c.meta.Inconsistent && !c.onlyCopy() {
		c.meta.Inconsistent = true
		c.persist()
	}
	if c.phase != off {
		c.send(Msg{Kind: Failed})
	}
}

// becomeTarget records that the data is a mixture from now on.
func (c *Core) becomeTarget(now time.Duration, m Msg) {
	if c.phase != idle || c.verdict != handshake.TargetBitmap && c.verdict != handshake.TargetFull {
		return
	}
	if c.keepFirst(m) {
		return
	}
	if c.meta.Gen.Current != m.Gen {
		c.meta.Gen.Push(c.meta.Gen.Current)
		c.meta.Gen.Current = m.Gen
	}
	c.full, c.sums = m.Full, false
	c.pace = resync.NewPace(now, int64(m.ID), resync.Limits{})
	c.meta.Inconsistent, c.meta.Created, c.meta.Crashed, c.meta.Keep = true, false, false, false
	c.meta.Discard, c.meta.KeepUndo, c.meta.Ending, c.meta.Outdated = false, false, false, false
	c.meta.ResyncFrom = m.From
	c.beginVersion = c.persist()
	c.changed()
}

// runTasks asks for the syncs that are due. Later writes do not hold a task up.
func (c *Core) runTasks() {
	oldest := c.seq
	for _, q := range c.theirs {
		if q.session == c.session {
			oldest = min(oldest, q.order)
		}
	}
	for i := range c.tasks {
		t := &c.tasks[i]
		if t.round != 0 || t.order > oldest {
			continue
		}
		t.round = c.syncRound + 1
		c.wantSync()
	}
}

// tasksSynced ends the tasks that the last sync covered.
func (c *Core) tasksSynced(err error) {
	if c.primary || len(c.tasks) == 0 {
		return
	}
	if err != nil {
		c.brokenDisk(0, err)
		return
	}
	kept := c.tasks[:0]
	for _, t := range c.tasks {
		if t.round == 0 || t.round > c.syncRound {
			kept = append(kept, t)
			continue
		}
		c.taskDone(t)
	}
	c.tasks = kept
}

func (c *Core) taskDone(t task) {
	if c.peerEpoch < c.register.Promised {
		return
	}
	if t.kind == Barrier {
		c.send(Msg{Kind: BarrierAck, ID: t.id})
		return
	}
	if t.kind == Terms {
		c.setMayLack(block.Protocol(t.id))
		return
	}
	if c.saving != notSaving {
		return
	}
	c.dirty.ClearAll()
	c.saving, c.saveSession, c.saveTo = savingForEnd, c.session, t.gen
	c.emit(Action{Kind: SaveBitmap})
}

// BitmapSaved tells that the bitmap is on stable storage.
func (c *Core) BitmapSaved(err error) {
	why := c.saving
	c.saving = notSaving
	if err != nil {
		c.fail(fmt.Errorf("%w: %w", ErrMetadata, err))
		return
	}
	c.wholeSaved()
	switch {
	case why == savingForDemotion, why == savingForCrash:
		c.meta.Active, c.meta.BitmapValid = false, !c.unkept()
		c.persist()
	case why == savingForEnd && c.phase != off && c.session == c.saveSession && c.peerEpoch >= c.register.Promised:
		handshake.Adopt(&c.meta.Gen, c.saveTo)
		c.meta.Inconsistent, c.meta.Created, c.meta.Crashed = false, false, false
		c.meta.ResyncFrom, c.meta.BitmapValid = 0, true
		c.meta.Discard, c.meta.KeepUndo, c.meta.Ending, c.meta.Outdated = false, false, false, false
		c.endVersion = c.persist()
	}
	c.changed()
}

// Persisted tells that metadata of version is on stable storage.
func (c *Core) Persisted(now time.Duration, version uint64, err error) {
	if err != nil {
		c.metadataFailed(now, err)
		return
	}
	if c.metaDurable < c.growth.taken && version >= c.growth.taken {
		c.changed() // the size
	}
	c.metaDurable = max(c.metaDurable, version)
	c.growOn()
	if c.primary {
		c.begin(now)
		c.sendEnd()
		c.review(now)
		return
	}
	if c.phase == off {
		return
	}
	if c.beginVersion != 0 && c.metaDurable >= c.beginVersion && c.phase == idle {
		c.phase = syncing
		c.send(Msg{Kind: BeginAck})
		c.changed()
	}
	c.termsDurable()
	c.entrustDurable()
	if c.endVersion != 0 && c.metaDurable >= c.endVersion {
		c.endVersion, c.phase = 0, inSync
		c.send(Msg{Kind: EndAck})
		c.changed()
	}
}
