package core

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/block"
)

// OnError says what an error of the local disk leads to. A sync that fails takes
// the replica out of service under each: the disk lost something that it had
// taken, and does not say what. So does a disk that does not answer.
type OnError uint8

// What on-io-error may be. A read is mended while the peer is in sync; a write
// error takes the replica out of service, unless it is passed on.
const (
	Mend   OnError = iota // reads that fail are answered by the peer and written anew
	Detach                // as Mend, but a read that fails takes the replica out of service as well
	PassOn                // who asked is told: the application, or the Primary; the disk stays
)

// errPeerWrite ends a connection on which everything has to be on both disks.
var errPeerWrite = errors.New("the peer's disk could not write a block; it is resynced")

// detachOn takes the replica out of service for a read that failed, if that is
// the policy and somebody else has the data.
func (c *Core) detachOn(err error) {
	if c.cfg.OnError == Detach && c.problem == nil && (c.phase == inSync && (!c.primary || c.setHasPeer())) {
		c.fail(fmt.Errorf("%w: %w", ErrDisk, err))
		if !c.primary {
			c.send(Msg{Kind: Failed})
		}
	}
}

// writeFailed takes a write of the application at which the local disk failed.
func (c *Core) writeFailed(q *request, err error) {
	switch {
	case c.cfg.OnError != PassOn || c.problem != nil:
		c.setBits(q.r)
		c.fail(fmt.Errorf("%w: %w", ErrDisk, err))
	case c.phase >= finishing && (q.pending || q.acked):
		q.again = true
	default:
		c.setBits(q.r)
	}
}

// copyAgain makes the request that sends the peer what the disk holds where q
// failed here: the peer has taken it. It takes the extents of the log over from
// q, so that a crash finds them in it.
func (c *Core) copyAgain(q *request) *request {
	r := c.alloc(copying, q.r)
	r.repair, r.again, r.hot, r.logged = true, true, q.hot, q.logged
	q.hot, q.again = 0, false
	c.verify.repairs++
	return r
}

// keepsDisk reports whether a write of the Primary that failed here may be
// refused instead of taking the replica out of service. Under A and B the
// Primary may have completed it already.
func (c *Core) keepsDisk() bool {
	return c.cfg.OnError == PassOn && c.meta.MayLack == block.ProtocolC && c.phase >= syncing
}

// refused: the peer could not write id. In sync that ends the connection, which
// marks it; a resync leaves it out.
func (c *Core) refused(now time.Duration, id ID) {
	q := c.find(id)
	switch {
	case q == nil || !q.pending:
	case c.phase != syncing:
		c.disconnect(now, errPeerWrite)
	case q.kind == copying:
		q.bad = true
		c.answeredCopy(now, q)
	default:
		q.pending = false
		c.setBits(q.r)
		c.eased(now, q)
		c.settle(now, q)
		c.tryComplete(now, q)
	}
}

// answeredCopy takes the target's answer to one message of a piece.
func (c *Core) answeredCopy(now time.Duration, q *request) {
	if q.parts > 1 {
		q.parts--
		return
	}
	q.pending = false
	if q.bad && c.phase == syncing {
		c.resyncIn -= q.r.Len
		c.leaveOut(now, q.r, there)
		c.settle(now, q)
		c.finish(q)
		return
	}
	if !q.sums {
		c.count.Resynced += q.r.Len
	}
	c.copied(now, q)
}
