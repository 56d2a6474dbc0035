package core

import (
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/resync"
)

// View is what the core shows. It is a copy.
type View struct {
	Primary      bool
	Reign        arbiter.Epoch // served: the own one, or the connected Primary's
	Chosen       arbiter.Accepted
	Size         int64
	Created      bool
	Inconsistent bool
	Crashed      bool
	Discard      bool // given up, or being kept before it is overwritten
	Keeping      bool // the undo file is being written
	Connected    bool
	Blank        bool // connected, and no reign ever used either replica: nothing of the volume exists
	Outdated     bool // by hand
	Yields       bool // Created, and the volume is to begin with what the peer holds
	PeerWhole    bool // and in sync
	InSync       bool // connected to a Primary (or a Secondary) with the same data
	PeerState    handshake.State
	WantShrink   bool
	ReadyToGrow  bool
	Frozen       string
	Lease        time.Duration // boot time; ignored while the set is only this node
	Problem      error
	// MayYield: the disk failed, and this Primary can go on through the peer's once
	// the peer alone is recorded. Remote: so it does.
	MayYield, Remote bool
	OutOfSync        int64
	Gen              block.Generations
	Resync           Resync
	Counters         Counters
	Protocol         block.Protocol // wanted
	InUse            block.Protocol // Primary: what writes wait for now
	MayLack          block.Protocol // Secondary: under which the last Primary completed writes
	Growth           Growth
	Seq              uint64
}

// Resync is a running resynchronisation.
type Resync struct {
	Running, Source, Full bool
	Total, Done, Rate     int64
	ETA                   time.Duration
	Waiting               string // why nothing is copied at the moment
	Compared              bool   // what differs is copied only
	Same                  int64  // bytes that did not have to be sent; the source's
	Limits                resync.Limits
	// Unreadable bytes were left out because the source cannot read them,
	// Unwritable because the target cannot write them; the first ranges of them.
	// Stuck: nothing can be copied until that changes.
	Unreadable, Unwritable             int64
	UnreadableRanges, UnwritableRanges []block.Range
	Stuck                              bool
}

// View returns the state of the replica at now.
func (c *Core) View(now time.Duration) View {
	v := View{
		Primary: c.primary, Reign: c.reign, Chosen: c.chosen, Size: c.sizeNow(), Created: c.meta.Created,
		Inconsistent: c.meta.Inconsistent, Crashed: c.meta.Crashed, Discard: c.meta.Discard, Keeping: c.losing.asked, Connected: c.phase != off,
		InSync: c.phase == inSync, PeerState: c.peer, ReadyToGrow: c.ready && c.phase == inSync,
		Lease: c.lease, Problem: c.problem, Gen: c.meta.Gen, Counters: c.count, Seq: c.seqState,
		Protocol: c.terms.want, InUse: c.terms.inUse, MayLack: c.meta.MayLack,
	}
	// A set without the peer, whose disk is the only good one, would help nobody.
	v.WantShrink = c.primary && c.setHasPeer() && c.phase != inSync && c.problem == nil
	v.Growth = Growth{Running: c.growth.running, To: c.growth.aim, Err: c.growth.err}
	v.MayYield, v.Remote = c.mayYield(), c.Remote()
	v.PeerWhole = c.phase == inSync
	v.Outdated = c.meta.Outdated
	v.Yields = c.yields()
	v.Blank = c.phase != off && c.meta.Created && c.peer.Created
	if !c.primary && c.phase != off && c.peer.Primary {
		v.Reign = c.peerEpoch
	}
	if c.primary || !c.meta.Created {
		v.OutOfSync = c.dirty.Bytes() + c.resyncIn + c.omitted.bytes
	}
	v.Frozen = c.frozen(now)
	c.viewResync(now, &v)
	return v
}

func (c *Core) viewResync(now time.Duration, v *View) {
	if c.primary && c.phase == idle && !c.began && c.pauses.why() != "" && c.dirty.Bytes() > 0 {
		v.Resync = Resync{Source: true, Waiting: c.pauses.why(), Total: c.dirty.Bytes(), Limits: c.cfg.Resync}
		return
	}
	if c.pace == nil || c.phase != syncing && !(c.primary && c.phase == finishing) {
		return
	}
	v.Resync = Resync{Running: true, Source: c.primary, Full: c.full, Compared: c.sums, Same: c.count.Same - c.sameBefore}
	if c.primary {
		v.Resync.Waiting, v.Resync.Limits = c.pauses.why(), c.cfg.Resync
		c.viewOmitted(&v.Resync)
	}
	v.Resync.Total, v.Resync.Done, v.Resync.Rate, v.Resync.ETA = c.pace.Progress(now)
	if !c.primary {
		v.OutOfSync = max(v.Resync.Total-v.Resync.Done, 0)
	}
}

func (c *Core) frozen(now time.Duration) string {
	switch {
	case !c.primary:
		return ""
	case c.held():
		return "the backing device failed; I/O is held until the peer, which has it all, takes over"
	case c.setHasPeer() && c.phase != inSync:
		return "the peer is in the in-sync set and lost; writes are held until the arbiter recorded that it is out"
	case !c.leased(now):
		return "the lease ran out; I/O is held until two of three voters renew it"
	}
	return ""
}
