package core

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/block"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/resync"
)

// Sizes and limits of what goes to the peer.
const (
	maxExtent = 512 << 10 // bytes of one piece of a resync
	// ServedMost is how many bytes one read may ask the peer for.
	ServedMost   = 1 << 20
	minExtent    = 128 << 10 // wait for this much room rather than send crumbs
	unstableMost = 8192      // ranges acknowledged without a barrier
	wordsPerBits = 1024      // words of one Bits message, 8 KiB
)

// ErrStaleHello: try again at once.
var ErrStaleHello = errors.New("the replica changed during the handshake; it is repeated")

// ConnUp tells that both sides exchanged their Hello: mine is the one this side
// sent. The session numbers the connection. An
// error means that the connection must be closed.
func (c *Core) ConnUp(now time.Duration, session uint64, mine, peer handshake.State) error {
	v := handshake.Decide(mine, peer)
	size, _ := handshake.AgreeSize(mine, peer)
	if v.Kind == handshake.Refuse {
		return fmt.Errorf("handshake: %s", v)
	}
	if c.primary && c.problem != nil {
		return fmt.Errorf("handshake: %w", c.problem)
	}
	current := c.Hello()
	if current.Claims = mine.Claims; mine != current || !c.Quiet() {
		return ErrStaleHello
	}
	if !c.meta.Created && size > c.meta.Size { // the peer took it, and this side missed that
		c.raise(size)
		return ErrStaleHello
	}
	c.agree(size)
	c.session, c.peer, c.peerEpoch, c.verdict = session, peer, peer.Reign, v.Kind
	c.phase, c.bitsArrived, c.began = idle, false, false
	c.beginVersion, c.endVersion, c.endingVersion, c.entrustVersion, c.losing = 0, 0, 0, 0, losing{}
	c.terms.forget()
	if c.primary {
		c.peerMayHold = peer.Current == c.meta.Gen.Current
		c.meta.Ending = c.meta.Ending && c.peerMayHold
		c.meet(now)
	} else {
		c.follow()
	}
	c.changed()
	return nil
}

// agree makes size the volume's while it is open.
func (c *Core) agree(size int64) {
	if !c.meta.Created || size == c.meta.Size {
		return
	}
	c.meta.Size = size
	c.dirty = resync.NewBitmap(size, nil)
	c.newPages(false)
	c.setAll()
	c.persist()
}

// meet begins a connection at the Primary.
func (c *Core) meet(now time.Duration) {
	if c.verdict != handshake.NoSync {
		c.begin(now)
		return
	}
	if c.setHasPeer() {
		c.phase = inSync
		c.rebarrier()
		c.agreeTerms()
		c.review(now)
		c.showVerify()
		return
	}
	c.full, c.pace = false, resync.NewPace(now, 0, c.cfg.Resync)
	c.conclude()
}

// begin starts the resync once the peer is out of R (a member of R must stay
// whole), its bits are here, and our bits count from the peer's generation on
// stable storage.
func (c *Core) begin(now time.Duration) {
	if c.phase != idle || c.verdict != handshake.SourceBitmap && c.verdict != handshake.SourceFull || c.setHasPeer() {
		return
	}
	if c.verdict == handshake.SourceBitmap && !c.bitsArrived || c.pauses.why() != "" && c.beginVersion == 0 {
		return
	}
	if c.beginVersion == 0 {
		c.countFromPeer()
		c.beginVersion = c.persist()
	}
	if c.began || c.metaDurable < c.beginVersion {
		return
	}
	if c.hot.synced < c.hot.base { // what is sent must not get lost here later
		return
	}
	if !c.bitsKept() { // the peer forgets its bits when it becomes target
		c.savePages()
		return
	}
	c.began = true
	if c.peer.Discard && !c.full {
		c.sendBits() // it keeps what it will lose
	}
	c.send(Msg{Kind: Begin, ID: uint64(c.dirty.Bytes()), Gen: c.meta.Gen.Bitmap, From: c.meta.Gen.Current, Full: c.full})
	c.changed()
}

func (c *Core) countFromPeer() {
	g := &c.meta.Gen
	c.full = c.verdict == handshake.SourceFull
	c.chooseSums()
	if c.peer.Current == g.Current {
		c.rotate()
	} else if c.full || c.peer.Discard { // the bits of both are here: they count from what the peer holds
		handshake.CountFrom(g, c.peer.Current)
	} else if g.Bitmap != c.peer.Current { // the bits do not count from there after all
		c.full = true
		handshake.CountFrom(g, c.peer.Current)
	}
	c.peerMayHold = false
	if c.full {
		c.setAll()
		c.meta.Crashed = false
	}
}

// rotate opens a new generation; rotateVersion tells when it is stable.
func (c *Core) rotate() {
	handshake.Rotate(&c.meta.Gen, c.newGeneration())
	c.peerMayHold, c.meta.Ending = false, false
	c.rotateVersion = c.persist()
}

// Receive takes a message of the connection session. For Data and ResyncData it
// returns the ID under which the payload, if there is one, is wanted, for Sums the
// ID that it is to be compared for; zero: throw it away.
func (c *Core) Receive(now time.Duration, session uint64, m Msg) (wanted ID) {
	if c.phase == off || session != c.session {
		return 0
	}
	if !c.primary {
		return c.obey(now, m)
	}
	if m.Epoch != c.reign {
		c.disconnect(now, fmt.Errorf("answer of epoch %d to the Primary of epoch %d", m.Epoch, c.reign))
		return 0
	}
	switch m.Kind {
	case Ack:
		if m.Bad {
			c.refused(now, ID(m.ID))
		} else {
			c.acknowledged(now, ID(m.ID))
		}
	case BarrierAck:
		c.barrierDone(now, m.ID)
	case Bits:
		c.orBits(int(m.ID), m.Words)
	case BitsEnd:
		c.bitsArrived = true
		c.begin(now)
	case BeginAck:
		c.beginAcked(now)
	case EndAck:
		c.concluded(now)
	case ReadReply, ReadFailed:
		return c.answered(now, m)
	case Received:
		c.received(now, ID(m.ID))
	case EntrustAck:
		c.goRemote(now)
	case TermsAck:
		c.termsNoted(now, block.Protocol(m.ID))
	case Failed:
		c.disconnect(now, errors.New("the peer's backing device failed"))
	case Sums:
		wanted = c.summed(now, m)
	case Grow:
		c.growAnswered(m)
	}
	c.pump(now)
	c.feed(now)
	return wanted
}

// beginAcked starts to copy: the peer has noted that its data is not whole from now on.
func (c *Core) beginAcked(now time.Duration) {
	if !c.began || c.phase != idle {
		return
	}
	c.phase = syncing
	c.pace = resync.NewPace(now, c.dirty.Bytes(), c.cfg.Resync)
	c.sameBefore = c.count.Same
	c.changed()
}

func (c *Core) acknowledged(now time.Duration, id ID) {
	q := c.find(id)
	if q == nil || !q.pending {
		return
	}
	if q.kind == copying {
		c.answeredCopy(now, q)
		return
	}
	q.pending, q.acked = false, true
	if !q.fua {
		c.remember(now, q.r)
	}
	c.eased(now, q)
	c.settle(now, q)
	c.tryComplete(now, q)
}

// remember adds r to what the peer may lose with its power.
func (c *Core) remember(now time.Duration, r block.Range) {
	if len(c.unstable) == 0 {
		c.oldest = now
	} else if last := &c.unstable[len(c.unstable)-1]; last.End() == r.Off {
		last.Len += r.Len
		return
	}
	c.unstable = append(c.unstable, r)
	if len(c.unstable) >= unstableMost {
		c.barrier()
	}
}

// wantBarrier makes the next barrier cover q.
func (c *Core) wantBarrier(q *request) {
	q.barrier = c.barrierSeq + 1
	c.barrier()
}

// barrier sends one unless one is under way; that one may be too early.
func (c *Core) barrier() {
	if c.phase < syncing {
		return
	}
	if c.barrierOut {
		c.barrierWanted = true
		return
	}
	c.barrierOut, c.barrierWanted = true, false
	c.barrierSeq++
	c.closing, c.unstable = c.unstable, c.closing[:0]
	c.send(Msg{Kind: Barrier, ID: c.barrierSeq})
}

func (c *Core) barrierDone(now time.Duration, seq uint64) {
	if !c.barrierOut || seq != c.barrierSeq {
		return
	}
	c.barrierOut = false
	c.closing = c.closing[:0]
	c.hot.agreed, c.hot.freed = seq, true
	for i := 0; i < len(c.open); {
		q := c.open[i]
		if q.kind == appFlush && q.barrier != 0 && q.barrier <= seq {
			q.acked = true
			c.tryComplete(now, q)
		}
		if i < len(c.open) && c.open[i] == q {
			i++
		}
	}
	if c.barrierWanted {
		c.barrier()
	}
}

// rebarrier asks again for every open flush, on a new connection or because it
// has to wait for the peer from now on.
func (c *Core) rebarrier() {
	for _, q := range c.open {
		if q.kind == appFlush && !q.acked && q.barrier == 0 {
			c.wantBarrier(q)
		}
	}
}

// pump keeps the resync or the verify going.
func (c *Core) pump(now time.Duration) {
	if c.meta.Verify.Running {
		c.pumpVerify(now)
	}
	if !c.primary || c.phase != syncing {
		return
	}
	for c.dirty.Bytes() > 0 || len(c.omitted.again) > 0 {
		if c.pauses.why() != "" || len(c.omitted.blocks) >= unreadableMost {
			return
		}
		room := c.pace.Allow(now, c.resyncIn, c.appBusy > 0)
		if room < block.Size || room < minExtent && c.resyncIn > 0 {
			return
		}
		r, again := c.omitted.next(min(room, c.cfg.Extent))
		if !again {
			r, _ = c.dirty.Take(min(room, c.cfg.Extent))
		}
		c.pace.Started(r.Len)
		c.resyncIn += r.Len
		c.submit(now, c.alloc(copying, r))
	}
	if c.resyncIn == 0 && c.omitted.bytes == 0 {
		c.conclude()
	}
}

// copyRead sends what was read for the resync.
func (c *Core) copyRead(now time.Duration, q *request) {
	if c.stale(now, q) {
		return
	}
	if q.completed || q.err != nil {
		if !q.completed {
			c.copyFailed(now, q)
			return
		}
		c.settle(now, q)
		c.finish(q)
		return
	}
	q.pending, q.completed, q.since = true, true, now
	c.send(Msg{Kind: ResyncData, ID: uint64(q.id), Range: q.r, Payload: q.id})
}

// conclude ends the copying: from now on every write waits for the peer, and
// what was sent before is made stable there.
func (c *Core) conclude() {
	c.phase = finishing
	c.waitPeer, c.peerMayHold = true, true
	c.rebarrier()
	if c.endingVersion = c.metaVersion; c.meta.Gen.Bitmap != 0 && !c.meta.Ending {
		c.meta.Ending = true
		c.endingVersion = c.persist()
	}
	c.sendEnd()
	c.changed()
}

// sendEnd tells the peer to carry Current, once a crash here could not forget
// that it may.
func (c *Core) sendEnd() {
	if c.phase == finishing && c.endingVersion != 0 && c.metaDurable >= c.endingVersion {
		c.endingVersion = 0
		c.send(Msg{Kind: End, Gen: c.meta.Gen.Current})
	}
}

// concluded: the peer is whole and holds everything acknowledged, stable.
func (c *Core) concluded(now time.Duration) {
	if c.phase != finishing {
		return
	}
	c.phase, c.ready, c.peerMayHold, c.sums = inSync, true, false, false
	if c.meta.Gen.Bitmap != 0 || c.meta.Crashed || c.meta.Ending {
		handshake.Finish(&c.meta.Gen)
		c.meta.Crashed, c.meta.Ending = false, false
		c.persist()
	}
	c.agreeTerms()
	c.pages.due = now + 2*c.cfg.BarrierAfter // when a barrier has made stable what was copied last
	c.changed()
	c.review(now)
	c.showVerify()
}

// ConnDown tells that the connection session ended.
func (c *Core) ConnDown(now time.Duration, session uint64) {
	if c.phase != off && session == c.session {
		c.disconnected(now)
	}
}

// disconnect ends the connection from here.
func (c *Core) disconnect(now time.Duration, why error) {
	if c.phase == off {
		return
	}
	c.emit(Action{Kind: Drop, Err: why})
	c.disconnected(now)
}

// disconnected turns everything the peer may lack into bits.
func (c *Core) disconnected(now time.Duration) {
	c.pauseChecks()
	c.forgetAsks()
	if c.primary || len(c.active) > 0 {
		c.mark()
	}
	c.phase, c.waitPeer, c.ready, c.began = off, false, false, false
	c.remote = notRemote
	c.barrierOut, c.barrierWanted, c.resyncIn = false, false, 0
	c.flight, c.squeezed, c.squeezedSince, c.turn = 0, false, 0, false
	c.terms.forget()
	c.breakGrowth()
	c.tasks = c.tasks[:0]
	for _, q := range c.open {
		q.barrier = 0
	}
	c.barrierSeq++ // what the last one did not cover is marked
	c.hot.agreed, c.hot.freed = c.barrierSeq, true
	c.wake(now)
	c.giveUpReads(now)
	c.feed(now)
	c.review(now)
	c.changed()
}

// mark gives up what is under way to the peer.
func (c *Core) mark() {
	for i := len(c.active) - 1; i >= 0; i-- {
		q := c.active[i]
		if q.kind == mending {
			q.pending = false
		} else if q.pending || q.kind == copying {
			c.setBits(q.r)
			q.pending, q.asking, q.again = false, false, false
		}
		if q.kind == copying {
			q.completed = true
		}
		c.unrange(q)
	}
	kept := c.waiting[:0]
	for _, q := range c.waiting {
		if q.kind != copying {
			kept = append(kept, q)
			continue
		}
		c.setBits(q.r)
		c.cool(q)
		q.completed = true
		c.finish(q)
	}
	c.waiting = kept
	for _, r := range c.closing {
		c.setBits(r)
	}
	for _, r := range c.unstable {
		c.setBits(r)
	}
	c.closing, c.unstable = c.closing[:0], c.unstable[:0]
	c.markOmitted()
}

// unrange gives q's range back without waking others.
func (c *Core) unrange(q *request) {
	waiting := c.waiting
	c.waiting = nil
	c.settle(0, q)
	c.waiting = waiting
	c.finish(q)
}
