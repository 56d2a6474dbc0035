package core

import (
	"gemel/node/arbiter"
	"gemel/node/block"
)

// This file is what the simulation demands: what was acknowledged is there,
// replicas in sync are equal, a whole pair heals.

// losePromised: what p's peer had acknowledged when its power failed may be gone
// as well, although p answers it only later. A flush would not be answered.
func (s *sim) losePromised(p *simNode) {
	if !p.up {
		return
	}
	for id, i := range p.requests {
		if q := p.core.find(id); q != nil && q.acked {
			s.truth[i].lost = true
		}
	}
}

// check looks whether disk d may be what a Primary serves.
func (s *sim) check(n *simNode, why string) {
	if s.split != nil {
		return // what was given up by hand is gone
	}
	floor := s.floor()
	for b := range floor {
		if v := int(n.disk.visible[b]); v < floor[b] {
			s.failf("%s: node %d block %d holds write %d, write %d was acknowledged", why, n.id, b, v-1, floor[b]-1)
		}
	}
}

// floor is the newest guaranteed write per block, as number.
func (s *sim) floor() []int {
	floor := make([]int, simBlocks)
	for i, w := range s.truth {
		if w.flush || w.read || !w.stable && (!w.acked || w.lost) {
			continue
		}
		for b := w.r.Off / block.Size; b < w.r.End()/block.Size; b++ {
			floor[b] = i + 1
		}
	}
	return floor
}

// compare checks that replicas are identical whenever nothing is under way and
// the Primary says that the peer holds everything.
func (s *sim) compare() {
	for i, p := range s.nodes {
		o := s.nodes[1-i]
		if !p.up || !o.up || !p.core.primary || p.core.phase != inSync || o.core.phase != inSync ||
			p.core.Problem() != nil || o.core.Problem() != nil {
			continue
		}
		if len(p.requests)+len(p.core.active)+len(o.core.theirs)+len(s.wire[0])+len(s.wire[1])+len(o.ops) > 0 {
			continue
		}
		s.synced++
		for b := range s.size(p) {
			if p.disk.visible[b] != o.disk.visible[b] {
				s.failf("in sync, but block %d is %d on Primary %d and %d on the peer", b,
					int(p.disk.visible[b])-1, i, int(o.disk.visible[b])-1)
			}
		}
		s.check(p, "in sync")
		s.check(o, "in sync")
	}
}

// converge lets everything heal and demands an identical pair.
func (s *sim) converge() {
	for range 40000 {
		for _, n := range s.nodes {
			if n.up {
				_, _ = n.core.Outdate(false)
				s.do(n)
			}
		}
		s.step(true)
		for _, p := range s.nodes {
			if p.up && p.core.primary && p.core.chosen.Set == arbiter.Both && p.core.phase == inSync &&
				len(p.requests) == 0 && len(s.wire[0])+len(s.wire[1]) == 0 && len(s.nodes[1-p.id].ops) == 0 {
				s.check(p, "healed")
				return
			}
		}
	}
	for _, n := range s.nodes {
		if n.up {
			s.t.Logf("node %d: %+v requests %v ops %v wire %v", n.id, n.core.View(s.now), n.requests, n.ops, s.wire)
		}
	}
	s.failf("the pair did not heal")
}
