package core

import (
	"gemel/node/block"
)

// This file is what the simulation knows of protocols: which writes a take-over
// may lose, and in which order.

// onlyC has a world that completes no write early.
func (s *sim) onlyC() {
	s.protocol, s.steady = block.ProtocolC, true
	for _, n := range s.nodes {
		n.core.SetProtocol(block.ProtocolC)
	}
}

// switchProtocol changes the protocol of a running volume.
func (s *sim) switchProtocol(n *simNode) {
	if s.steady {
		return
	}
	p := block.Protocol(s.rng.Intn(3))
	s.logf("%d wants protocol %v", n.id, p)
	n.core.SetProtocol(p)
	s.do(n)
}

// becalmed leaves step k out where the seed wants the pair mostly in sync, or
// its messages long on their way.
func (s *sim) becalmed(k int, calm bool) bool {
	switch {
	case calm:
		return false
	case k < 350:
		return s.slow && s.rng.Intn(3) != 0
	case k >= 978 && k < 988:
		return s.fair && s.rng.Intn(10) != 0
	}
	return false
}

// disaster kills a Primary whose peer is in sync, and perhaps the peer's
// replicator as well, and lets the peer take over before it comes back.
func (s *sim) disaster(p *simNode) {
	if s.steady || !p.up || !p.core.primary || p.core.phase != inSync || s.rng.Intn(2) == 0 {
		return
	}
	o := s.nodes[1-p.id]
	s.burst(p, o)
	if !p.up || !p.core.primary {
		return
	}
	s.crash(p, false)
	if s.rng.Intn(2) == 0 {
		s.crash(o, false)
		s.boot(o)
	}
	s.now += 2 * simTerm
	for range 4 {
		if !o.core.primary {
			s.campaign(o)
		}
	}
}

// burst lets the application write while the peer, o, lags behind.
func (s *sim) burst(p, o *simNode) {
	for range s.rng.Intn(60) {
		switch s.rng.Intn(4) {
		case 0:
			if s.submit(p, false); s.rng.Intn(4) == 0 {
				s.switchProtocol(p)
			}
		case 1, 2:
			if len(p.ops) > 0 {
				s.runOp(p, s.rng.Intn(len(p.ops)))
			}
		default:
			s.deliver(o)
			if s.deliver(p); len(o.ops) > 0 && s.rng.Intn(2) == 0 {
				s.runOp(o, s.rng.Intn(len(o.ops)))
			}
		}
	}
}

// answered takes down under which circumstances a write completed.
func (s *sim) answered(n *simNode, id ID, w *simWrite) {
	w.before = len(s.truth)
	if q := n.core.find(id); !w.flush && !w.read && n.core.needPeer() && q != nil && !q.acked {
		w.under, w.boots = n.core.terms.inUse, s.nodes[1-n.id].boots
		n.ahead[id] = w
		s.early++
		s.bounded(n)
	}
}

// bounded: under A never more completes ahead of the peer than allowed.
func (s *sim) bounded(n *simNode) {
	sum := int64(0)
	for id, w := range n.ahead {
		if q := n.core.find(id); w.under == block.ProtocolA && q != nil && q.pending { // else it is marked
			sum += w.r.Len
		}
	}
	if sum > s.fill {
		s.failf("%d bytes completed under protocol A are not at the peer, %d are allowed", sum, s.fill)
	}
}

// arrived clears what the peer has written meanwhile.
func (s *sim) arrived(n *simNode, m Msg) {
	if m.Kind != Ack {
		return
	}
	if w := n.ahead[ID(m.ID)]; w != nil {
		w.under = block.ProtocolC
		delete(n.ahead, ID(m.ID))
	}
}

// mayLose reports whether node n, about to be Primary, may lack w.
func (s *sim) mayLose(n *simNode, w *simWrite) bool {
	if w.under == block.ProtocolC || w.node == n.id || n.meta.MayLack == block.ProtocolC {
		return false // it knows what it may lack
	}
	return w.under == block.ProtocolA || n.boots != w.boots // what arrived is lost only with the replicator
}

// takeStock marks what the new Primary n lacks and may lack as lost. Whatever it
// holds, it must hold all that had completed before that was issued.
func (s *sim) takeStock(n *simNode) {
	newest := 0
	for _, v := range n.disk.visible[:s.size(n)] {
		newest = max(newest, int(v))
	}
	for i, w := range s.truth {
		if w.flush || w.read || !w.acked || w.stable || w.lost || !s.mayLose(n, w) || s.holds(n, i) {
			continue
		}
		// A write is known by its number, one more than its index.
		if newest > w.before {
			s.failf("node %d lacks write %d, which completed before write %d was issued, and holds that", n.id, i, newest-1)
		}
		w.lost = true
		s.shorn++
	}
	for _, w := range s.truth {
		w.under = block.ProtocolC // from now on it is there or it is lost
	}
	for _, o := range s.nodes {
		clear(o.ahead)
	}
}

// holds reports whether node n has write i or newer in every block of it.
func (s *sim) holds(n *simNode, i int) bool {
	r := s.truth[i].r
	for b := r.Off / block.Size; b < r.End()/block.Size; b++ {
		if int(n.disk.visible[b]) < i+1 {
			return false
		}
	}
	return true
}
