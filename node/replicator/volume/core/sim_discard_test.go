package core

import (
	"fmt"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/replicator/handshake"
)

// This file is the operator's part of the simulation: data that is given up, and
// reigns that rest on a human's word instead of votes.

// discard gives a Secondary's data up while a Primary has all of it.
func (s *sim) discard(n *simNode) {
	p := s.nodes[1-n.id]
	if !n.up || !p.up || n.core.primary || !p.core.primary || !s.linked || s.rng.Intn(4) != 0 {
		return
	}
	if _, err := n.core.Discard(s.now, s.rng.Intn(2) == 0, s.rng.Intn(3) == 0); err == nil {
		s.logf("%d gives its data up", n.id)
		s.do(n)
	}
}

// saveUndo looks that nothing was overwritten before it is kept.
func (s *sim) saveUndo(n *simNode, a Action) {
	s.kept++
	if a.Version == n.core.session && (n.core.meta.Inconsistent || n.core.phase > idle) {
		s.failf("node %d is asked to keep what is being overwritten", n.id)
	}
	n.core.UndoSaved(s.now, a.Version, nil)
}

// splitter lets humans promote whatever node they like, and knows which node
// holds which acknowledged writes.
type splitter struct {
	s      *sim
	holds  [2]map[int]bool
	target [2]bool
	copies [2]map[ID]bool // payloads of a resync
	seen   int            // refusals of a split brain
	stale  int
}

// booted forgets the payloads of before: their IDs are used again.
func (p *splitter) booted(n *simNode) {
	if p != nil {
		clear(p.copies[n.id])
	}
}

// wrote notes which writes a node's disk took, its own and the peer's.
func (p *splitter) wrote(n *simNode, id ID) {
	if p == nil {
		return
	}
	if p.copies[n.id][id] { // pieces of writes, not writes
		delete(p.copies[n.id], id)
		return
	}
	for _, v := range n.payload[id] {
		if v > 0 {
			p.holds[n.id][int(v)-1] = true
		}
	}
}

// extra reports whether node a holds an acknowledged write that b lacks.
func (p *splitter) extra(a, b arbiter.NodeID) bool {
	for i := range p.holds[a] {
		if p.s.truth[i].acked && !p.holds[b][i] {
			p.s.logf("only node %d holds request %d", a, i)
			return true
		}
	}
	return false
}

func (p *splitter) refused(v handshake.Verdict) {
	switch v.Name {
	case handshake.SplitBrain:
		p.seen++
	case handshake.PrimaryStale:
		p.stale++
	case handshake.OldReign, handshake.TwoPrimaries, handshake.PrimaryIncomplete:
	default:
		p.s.failf("refused: %v", v)
	}
	for _, n := range p.s.nodes { // the operator resolves it, sooner or later
		if o := p.s.nodes[1-n.id]; !v.Retry && !n.core.primary && o.core.primary && p.s.rng.Intn(4) == 0 {
			if _, err := n.core.Discard(p.s.now, true, false); err == nil {
				p.s.do(n)
				return
			}
		}
	}
}

// before looks at what a connection is going to do.
func (p *splitter) before(a, b *simNode, v handshake.Verdict) {
	if a.core.meta.Discard || b.core.meta.Discard {
		return
	}
	source, target := a, b
	switch v.Kind {
	case handshake.TargetBitmap, handshake.TargetFull:
		source, target = b, a
	case handshake.NoSync:
		raw := a.meta.Created || b.meta.Created || a.meta.Inconsistent || b.meta.Inconsistent
		if !raw && p.extra(0, 1) && p.extra(1, 0) {
			p.s.failf("both hold writes that the other lacks, and they connect: %v", v)
		}
		return
	}
	if !target.meta.Inconsistent && !target.meta.Created && p.extra(target.id, source.id) {
		p.s.failf("acknowledged writes of node %d would be overwritten by node %d without a word: %v", target.id, source.id, v)
	}
}

// synced follows resyncs: a target holds nothing of before, and once it is whole
// what its source holds.
func (p *splitter) synced() {
	for i, n := range p.s.nodes {
		switch {
		case n.meta.Inconsistent && !p.target[i]:
			p.target[i] = true
			clear(p.holds[i])
		case n.meta.Inconsistent:
		case p.target[i]:
			p.target[i] = false
			for w := range p.holds[1-i] {
				p.holds[i][w] = true
			}
		}
	}
}

// grab makes n Primary by a human's word: whatever the voters say, and only for
// the other if it is not told.
func (p *splitter) grab(n *simNode) {
	s := p.s
	if !n.up || n.core.primary || n.core.meta.Discard || n.meta.Inconsistent || n.meta.Created || !n.core.Quiet() {
		return
	}
	s.maxEp = (s.maxEp + 1000).NextFor(n.id)
	mine := arbiter.Accepted{Epoch: s.maxEp, Version: 1, Set: arbiter.Only(n.id)}
	n.reg.Record = arbiter.Record{Promised: s.maxEp, Accepted: mine}
	n.core.Accepted(s.now, n.reg.Record)
	_, _ = n.core.Outdate(false)
	s.do(n)
	for !n.core.Quiet() {
		s.runOp(n, 0)
	}
	if _, err := n.core.Promote(s.now, mine, false); err != nil {
		s.failf("grab: %v", err)
	}
	s.do(n)
	for !n.core.Quiet() {
		s.runOp(n, 0)
	}
	s.logf("node %d was made Primary of %d by hand", n.id, s.maxEp)
}

// step is one step of a world in which humans interfere.
func (p *splitter) step() {
	s := p.s
	n := s.nodes[s.rng.Intn(2)]
	o := s.nodes[1-n.id]
	switch k := s.rng.Intn(400); {
	case k < 2 && !(o.up && o.core.primary && s.cable):
		p.grab(n)
	case k < 4 && n.up && s.rng.Intn(4) == 0:
		s.crash(n, false)
	case k < 8 && s.cable && n.up && o.up && n.core.primary && o.core.primary && n.core.reign < o.core.reign:
		n.core.Demote(s.now)
		s.do(n)
	default:
		s.step(false)
	}
	p.synced()
}

// TestSplitBrainIsAlwaysSeen lets humans promote nodes against the voters, with
// crashes of the replicator (power stays, so that what was acknowledged is known).
func TestSplitBrainIsAlwaysSeen(t *testing.T) {
	seen, stale, kept := 0, 0, 0
	for i := range *simSeeds {
		seed := *simFirst + int64(i)
		s := newSim(t, seed)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s.t = t
			s.noPower = true
			s.onlyC() // else a human's word loses what was on its way, and that is known
			s.split = &splitter{s: s, holds: [2]map[int]bool{{}, {}}, copies: [2]map[ID]bool{{}, {}}}
			for s.elected == 0 || s.nodes[0].meta.Inconsistent || s.nodes[1].meta.Inconsistent {
				s.step(true)
				s.split.synced()
			}
			for range 6000 {
				s.split.step()
			}
		})
		if t.Failed() {
			return
		}
		seen, stale, kept = seen+s.split.seen, stale+s.split.stale, kept+s.kept
	}
	if seen == 0 || stale == 0 || kept == 0 {
		t.Errorf("%d split brains, %d stale Primaries and %d undo files: the test tests nothing", seen, stale, kept)
	}
	t.Logf("%d refusals of a split brain, %d of a stale Primary, %d undo files", seen, stale, kept)
}
