package core

import (
	"time"

	"gemel/node/arbiter"
)

// This file is the voters' and the agents' part of the simulation.

// voters returns those within reach just now.
func (s *sim) voters() (out []*arbiter.Register) {
	for _, n := range s.nodes {
		if n.up && n.record == nil && (s.cable || s.rng.Intn(2) == 0) {
			out = append(out, &n.reg)
		}
	}
	if s.rng.Intn(5) != 0 {
		out = append(out, &s.witness)
	}
	return out
}

func (s *sim) tell() {
	for _, n := range s.nodes {
		if n.up {
			n.core.Accepted(s.now, n.reg.Record)
			s.do(n)
		}
	}
}

func (s *sim) campaign(n *simNode) {
	if !n.up || n.core.meta.Discard || n.core.Problem() != nil || n.meta.Inconsistent && !n.meta.Created {
		return
	}
	birth := s.maxEp == 0
	if n.meta.Created && !birth {
		return
	}
	e := max(s.nodes[0].reg.Record.Promised, s.nodes[1].reg.Record.Promised, s.witness.Record.Promised, s.maxEp).NextFor(n.id)
	promises, best := 0, arbiter.Accepted{}
	if r, _ := n.reg.Prepare(s.now, e, n.reg.Record.Accepted); !r.OK {
		return
	} else if !n.reg.Record.Fresh || birth {
		promises, best = 1, n.reg.Record.Accepted
	}
	for _, v := range s.voters() {
		if v == &n.reg {
			continue
		}
		fresh := v.Record.Fresh
		if r, _ := v.Prepare(s.now, e, n.reg.Record.Accepted); r.OK && (!fresh || birth) {
			promises++
			if v.Record.Accepted.Newer(best) {
				best = v.Record.Accepted
			}
		}
	}
	s.tell()
	if promises < 2 || best.Epoch != 0 && !best.Set.Has(n.id) {
		return
	}
	mine := arbiter.Accepted{Epoch: e, Version: 1, Set: arbiter.Only(n.id)}
	if !s.accept(n, mine) {
		return
	}
	if s.linked {
		s.cut()
	}
	calm := s.calm
	s.calm = true // a disk that fails right after its node was recorded alone leaves nobody but an operator
	for !n.core.Quiet() && n.core.Problem() == nil {
		s.runOp(n, 0)
	}
	s.calm = calm
	if _, err := n.core.Promote(s.now, mine, birth); err != nil {
		s.logf("promote %d: %v", n.id, err)
		return
	}
	s.takeStock(n)
	s.maxEp = max(s.maxEp, e)
	s.elected++
	s.do(n)
	for !n.core.Quiet() && n.core.Problem() == nil { // the device appears only now
		s.runOp(n, 0)
	}
	s.logf("node %d is Primary of %d", n.id, e)
	s.check(n, "promotion")
}

// accept proposes at self first, then at others; true when 2 of 3 recorded it.
func (s *sim) accept(n *simNode, a arbiter.Accepted) bool {
	if !n.core.MayAccept(a) {
		return false
	}
	if r, _ := n.reg.Accept(s.now, a); !r.OK {
		return false
	}
	s.tell()
	n1 := 1
	if n.record != nil { // volatile
		n1 = 0
	}
	for _, v := range s.voters() {
		if v != &n.reg {
			if r, _ := v.Accept(s.now, a); r.OK {
				n1++
			}
		}
	}
	s.tell()
	s.logf("node %d proposed %+v: %d votes", n.id, a, n1)
	return n1 >= 2
}

// renew asks the voters for the lease; the question left a while ago.
func (s *sim) renew(n *simNode) {
	granted := 0
	for _, v := range s.voters() {
		if v.Renew(s.now, n.core.reign, simTerm).OK {
			granted++
		}
	}
	if granted >= 2 {
		n.core.Lease(s.now, n.core.reign, s.now-time.Duration(s.rng.Intn(20))*time.Millisecond+simTerm-simTerm/50)
		s.do(n)
	}
}

// agent does one thing for node n's reign.
func (s *sim) agent(n *simNode) {
	if !n.up || !n.core.primary {
		return
	}
	if s.rng.Intn(4) == 0 {
		s.renew(n)
	}
	if !n.core.leased(s.now) {
		s.held++
	}
	v := n.core.View(s.now)
	a := n.reg.Record.Accepted
	if n.reg.Record.Promised > n.core.reign {
		if s.rng.Intn(3) == 0 {
			s.logf("node %d lets go", n.id)
			n.core.Demote(s.now)
			s.do(n)
		}
		return
	}
	next := arbiter.Accepted{Epoch: n.core.reign, Version: max(a.Version, v.Chosen.Version) + 1, Set: arbiter.Only(n.id)}
	switch {
	case a.Newer(v.Chosen) && !(v.WantShrink && a.Set == arbiter.Both):
		next = a // resume the newest undecided one
	case v.WantShrink:
	case v.Chosen.Set != arbiter.Both && (v.ReadyToGrow || s.rng.Intn(4) == 0): // or an agent that acts on old news
		next.Set = arbiter.Both
	default:
		return
	}
	if s.accept(n, next) {
		n.core.Chosen(s.now, next)
		s.do(n)
	}
}
