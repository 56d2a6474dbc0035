package core

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/block"
)

// Trouble of the local disk.
//
// A read that fails at the Primary is asked of the peer, if that is whole, and
// what it answers is written over the bad blocks: they are good again or the
// disk is done for. A write or sync that fails, or does not end, takes the
// replica out of service. While the peer belongs to R it holds everything that
// was acknowledged, so nobody is told of the failure: requests are held until
// the reign moves to the peer. Alone, they end with the error.

// ErrStuck: the disk keeps a request without an answer.
var ErrStuck = errors.New("no answer")

// held reports whether requests wait for the peer to take over, because the
// disk here failed and the peer has it all, or will join R any moment.
func (c *Core) held() bool {
	return !c.Remote() && c.problem != nil && (c.setHasPeer() || c.ready && c.phase == inSync)
}

// hold keeps a request that came after the disk failed.
func (c *Core) hold(q *request) bool {
	q.held = c.problem != nil && !c.Remote()
	return q.held
}

// ReadFailed takes a read of the application at which the local disk failed with
// err. The request ends with the peer's data, which Receive wants under its ID,
// or with err.
func (c *Core) ReadFailed(now time.Duration, r block.Range, err error) (ID, error) {
	q, refused := c.take(mending, r)
	if refused != nil {
		return 0, refused
	}
	q.err = fmt.Errorf("%w: %w", ErrDisk, err)
	c.detachOn(err)
	switch {
	case c.hold(q):
	case c.Remote():
		c.place(now, q)
	case c.phase != inSync || c.cfg.OnError == PassOn:
		c.pass(now, q)
	default:
		c.submit(now, q)
	}
	return q.id, nil
}

// ask asks the peer for the range that q holds. If the peer went while q waited
// for its range, giveUpReads finds it: here others are being woken.
func (c *Core) ask(now time.Duration, q *request) {
	if c.phase != inSync || c.problem != nil && !c.Remote() {
		return
	}
	q.pending, q.since = true, now
	c.send(Msg{Kind: ReadRequest, ID: uint64(q.id), Range: q.r})
}

// pass ends a read with its error, and keeps the disk.
func (c *Core) pass(now time.Duration, q *request) {
	q.localDone = true
	c.tryComplete(now, q)
}

// unread gives up to get the data elsewhere. If the peer has it all the same,
// the reign shall go there.
func (c *Core) unread(now time.Duration, q *request) {
	q.pending = false
	if c.setHasPeer() {
		c.fail(q.err)
	}
	q.localDone = true
	c.settle(now, q)
	c.tryComplete(now, q)
}

// giveUpReads ends reads that the peer cannot answer any more.
func (c *Core) giveUpReads(now time.Duration) {
	for i := 0; i < len(c.open); {
		q := c.open[i]
		if q.kind == mending && q.started && !q.pending && !q.inLocal && !q.localDone {
			c.unread(now, q)
		}
		if i < len(c.open) && c.open[i] == q {
			i++
		}
	}
}

// answered takes the peer's answer to ask. It returns the ID under which the
// data is wanted: it goes to the reader and over the bad blocks.
func (c *Core) answered(now time.Duration, m Msg) ID {
	id := ID(m.ID)
	q := c.find(id)
	if q == nil || q.kind != mending || !q.pending {
		return 0
	}
	if m.Kind == ReadFailed || m.Range != q.r {
		c.unread(now, q)
		return 0
	}
	q.received = true
	if c.Remote() {
		q.pending, q.localDone, q.err = false, true, nil
		c.settle(now, q)
		c.tryComplete(now, q)
		return id
	}
	q.pending, q.inLocal, q.since = false, true, now
	c.local++
	c.emit(Action{Kind: Write, ID: q.id, Range: q.r})
	return q.id
}

// mended ends a read whose blocks were written anew.
func (c *Core) mended(now time.Duration, q *request, err error) {
	if q.err = err; err != nil {
		c.fail(fmt.Errorf("%w: blocks that could not be read could not be written either: %w", ErrDisk, err))
	} else {
		c.count.Mended += q.r.Len
	}
	if c.Remote() {
		q.err = nil
	}
	c.settle(now, q)
	c.tryComplete(now, q)
}

// serve reads for the Primary, at the Secondary.
func (c *Core) serve(now time.Duration, m Msg) {
	if c.phase != inSync || m.Range.Empty() || !m.Range.Aligned() || m.Range.Off < 0 || m.Range.Len > ServedMost || m.Range.End() > c.meta.Size {
		c.disconnect(now, fmt.Errorf("the Primary asked for %d+%d, which cannot be served", m.Range.Off, m.Range.Len))
		return
	}
	q := c.alloc(serving, m.Range)
	q.remote, q.session, q.since, q.inLocal = m.ID, c.session, now, true
	c.local++
	c.emit(Action{Kind: Read, ID: q.id, Range: q.r})
}

// servedRead sends what was read for the Primary.
func (c *Core) servedRead(q *request) {
	if c.phase != off && q.session == c.session && !c.primary && c.peerEpoch >= c.register.Promised {
		m := Msg{Kind: ReadReply, ID: q.remote, Range: q.r, Payload: q.id}
		if q.err != nil {
			m.Kind, m.Payload = ReadFailed, 0
		}
		c.send(m)
		if q.err != nil {
			c.detachOn(q.err)
		}
	}
	c.release(q)
}

// watchDisk gives a disk up that keeps a request without an answer. What it was
// given stays untouched until it answers: the shell lends its memory, and takes
// it back only then.
func (c *Core) watchDisk(now time.Duration) {
	limit := c.cfg.DiskTimeout
	if limit == 0 || c.problem != nil {
		return
	}
	if c.syncRunning && c.syncSince == 0 {
		c.syncSince = now
	}
	oldest, what := now, "sync"
	if c.syncRunning {
		oldest = c.syncSince
	}
	for _, list := range [2][]*request{c.active, c.theirs} {
		for _, q := range list {
			if q.inLocal && q.since < oldest {
				oldest, what = q.since, fmt.Sprintf("request at %d+%d", q.r.Off, q.r.Len)
			}
		}
	}
	if now-oldest <= limit {
		return
	}
	c.fail(fmt.Errorf("%w: %w to a %s for %v", ErrDisk, ErrStuck, what, limit))
	if !c.primary && c.phase != off {
		c.send(Msg{Kind: Failed})
	}
	c.review(now)
}
