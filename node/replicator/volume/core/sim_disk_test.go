package core

import (
	"errors"
	"slices"

	"gemel/node/arbiter"
	"gemel/node/block"
)

// This file is the disk's part of the simulation: blocks that cannot be read,
// writes and syncs that fail.

var errSimDisk = errors.New("simulated disk failure")

// badRead is a read of the application at which the Primary's disk failed.
func (s *sim) badRead(n *simNode) {
	if !n.up || !n.core.primary || len(n.requests) > 12 || s.split != nil {
		return
	}
	size := s.size(n)
	off := s.rng.Intn(size)
	r := block.Range{Off: int64(off) * block.Size, Len: int64(1+s.rng.Intn(min(8, size-off))) * block.Size}
	id, err := n.core.ReadFailed(s.now, r, errSimDisk)
	if err != nil {
		return
	}
	s.truth = append(s.truth, &simWrite{node: n.id, r: r, read: true})
	n.requests[id] = len(s.truth) - 1
	n.floors[id] = s.floor()[r.Off/block.Size : r.End()/block.Size]
	s.logf("%d cannot read %v, request %d", n.id, r, len(s.truth)-1)
	s.do(n)
}

// diskFails decides whether the disk fails at a; then the node's disk does
// nothing more until a restart finds it good again.
func (s *sim) diskFails(n *simNode, a Action) bool {
	reads := a.Kind == Read || a.Kind == Digest || a.Kind == ReadDigest
	switch {
	case a.Kind != Write && a.Kind != Sync && !reads:
		return false
	case s.repairs(n, a):
		return false
	case reads && !n.broken && n.cannotRead(a):
	case !n.broken && (s.calm || s.split != nil || s.rng.Intn(n.wear(a)) != 0):
		return false
	}
	if !n.broken {
		s.logf("the disk of %d fails at %v", n.id, a.Range)
		s.broken++
	}
	policy := n.core.cfg.OnError
	if policy == PassOn && a.Kind == Write && !n.broken {
		s.failWrite(n, a)
		return true
	}
	if n.broken = !reads; reads && !s.calm && s.rng.Intn(2) == 0 { // else it can be read the next time
		n.bad[int(a.Range.Off/block.Size)+s.rng.Intn(int(a.Range.Len/block.Size))] = true
	}
	if a.Kind == Sync {
		n.core.SyncDone(s.now, errSimDisk)
	} else {
		if reads {
			n.payload[a.ID] = make([]uint64, a.Range.Len/block.Size)
		}
		n.core.LocalDone(s.now, a.ID, errSimDisk)
	}
	s.do(n)
	return true
}

// wear is how many requests end well until one does not.
func (n *simNode) wear(a Action) int {
	if n.core.cfg.OnError == PassOn && a.Kind == Write {
		return 150 // the node does not have to be restarted
	}
	return 1200
}

// failWrite is a write that fails once, with some of its blocks written.
func (s *sim) failWrite(n *simNode, a Action) {
	first := int(a.Range.Off / block.Size)
	for i, v := range n.payload[a.ID] {
		if s.rng.Intn(2) == 0 {
			n.disk.visible[first+i] = v
		}
	}
	s.passedOn++
	n.core.LocalDone(s.now, a.ID, errSimDisk)
	s.do(n)
}

// repairs reports whether a is the copy of what could not be written; if it
// failed as well, the nodes would differ where the application knows it.
func (s *sim) repairs(n *simNode, a Action) bool {
	q := n.core.find(a.ID)
	return a.Kind == Read && !n.broken && q != nil && q.again && n.core.phase >= finishing
}

// cannotRead reports whether a block that a reads is bad.
func (n *simNode) cannotRead(a Action) bool {
	return slices.Contains(n.bad[a.Range.Off/block.Size:a.Range.End()/block.Size], true)
}

// tend looks after blocks that a resync left out. When it is calm the
// application writes them anew, or the disk reads them after all.
func (s *sim) tend(n *simNode) {
	if !n.up || !n.core.primary || n.core.omitted.bytes == 0 || s.rng.Intn(20) != 0 {
		return
	}
	s.omitted++
	n.core.omitted.due = 0 // a minute is long here
	switch at := s.rng.Intn(s.size(n)); {
	case !s.calm && s.rng.Intn(4) != 0:
	case s.rng.Intn(2) == 0:
		n.bad = [simBlocks]bool{}
	default:
		s.write(n, block.Range{Off: int64(at) * block.Size, Len: int64(1+s.rng.Intn(min(12, s.size(n)-at))) * block.Size}, 3)
	}
}

// mendedRight: what the peer sent for blocks that could not be read is what
// they held.
func (s *sim) mendedRight(n *simNode, a Action) {
	q := n.core.find(a.ID)
	if q == nil || q.kind != mending {
		return
	}
	s.mended++
	for i, v := range n.payload[a.ID] {
		if b := int(a.Range.Off/block.Size) + i; n.disk.visible[b] != v {
			s.failf("node %d mends block %d with write %d, it held write %d", n.id, b, int(v)-1, int(n.disk.visible[b])-1)
		}
	}
}

// metaFails decides whether the metadata on a disk that failed can be written.
func (s *sim) metaFails(n *simNode, a Action) bool {
	if !n.broken || s.rng.Intn(2) == 0 {
		return false
	}
	switch a.Kind {
	case Persist:
		_, v := n.core.Meta()
		n.core.Persisted(s.now, v, errSimDisk)
	case SaveBitmap:
		n.core.BitmapSaved(errSimDisk)
	case SavePages:
		n.core.PagesSaved(s.now, errSimDisk)
	case Log:
		n.core.Logged(s.now, errSimDisk)
	default:
		return false
	}
	s.do(n)
	return true
}

// failed is what the agent does about a disk that failed: the Primary goes on
// through the peer if it can, sooner or later the disk is replaced by itself.
func (s *sim) failed(n *simNode) {
	v := n.core.View(s.now)
	if n.record == nil {
		r := n.reg.Record
		n.record = &r
	}
	if v.Remote {
		s.remote++
	}
	if !v.MayYield || s.rng.Intn(8) == 0 {
		s.replace(n)
		return
	}
	s.renew(n)
	a := n.reg.Record.Accepted
	next := arbiter.Accepted{Epoch: n.core.reign, Version: max(a.Version, v.Chosen.Version) + 1, Set: arbiter.Only(1 - n.id)}
	switch {
	case a.Newer(v.Chosen) && a.Set == next.Set:
		next = a
	case a.Newer(v.Chosen) || v.Chosen.Set != arbiter.Both || n.reg.Record.Promised > n.core.reign:
		return
	}
	if s.accept(n, next) {
		s.logf("%d yields", n.id)
		n.core.Chosen(s.now, next)
		s.do(n)
	}
}

// sawAll: a read that the peer answered has every write that had completed when
// it was asked.
func (s *sim) sawAll(n *simNode, a Action) {
	floor := n.floors[a.ID]
	delete(n.floors, a.ID)
	if a.Err != nil || s.split != nil {
		return
	}
	for i, least := range floor {
		if got := int(n.payload[a.ID][i]); got < least {
			s.failf("a read at node %d has write %d, write %d had completed", n.id, got-1, least-1)
		}
	}
}

// replace restarts a node whose disk failed: the reign must have left it first,
// unless nobody else could serve.
func (s *sim) replace(n *simNode) {
	if n.core.primary && (n.core.held() || n.core.Remote() && s.rng.Intn(4) == 0) {
		n.core.Demote(s.now)
		s.do(n)
	}
	if s.rng.Intn(20) == 0 {
		n.broken = false
		s.crash(n, false)
	}
}
