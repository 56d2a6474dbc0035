package core

import (
	"fmt"
	"testing"

	"gemel/node/block"
	"gemel/node/replicator/resync"
)

// This file is the operator's part of the simulation, verifies and pauses, and
// the hand that changes a block on the Secondary's disk behind its back.

// receive delivers a message with what it carries.
func (s *sim) receive(n *simNode, session uint64, m simMsg) {
	id := n.core.Receive(s.now, session, m.m)
	switch {
	case id == 0:
	case m.m.Kind == Sums:
		n.theirs[id] = m.data
	default:
		n.payload[id] = m.data
		if s.split != nil && m.m.Kind == ResyncData {
			s.split.copies[n.id][id] = true
		}
	}
	s.do(n)
}

// compareSums answers Compare.
func (s *sim) compareSums(n *simNode, compares []Action) {
	for _, a := range compares {
		if !n.up {
			return
		}
		var differ []block.Range
		for i, v := range n.payload[a.ID] {
			if v != n.theirs[a.ID][i] {
				differ = append(differ, block.Range{Off: a.Range.Off + int64(i)*block.Size, Len: block.Size})
			}
		}
		same, running := n.core.count.Same, n.core.meta.Verify.Running
		n.core.Compared(s.now, a.ID, differ)
		s.same += int(n.core.count.Same - same)
		if running && !n.core.meta.Verify.Running {
			s.verifies++
		}
		s.do(n)
	}
}

// operate does what an operator may do at any time.
func (s *sim) operate(n *simNode) {
	if !n.up {
		return
	}
	if s.calm {
		n.core.ResyncHold(s.now, "")
		n.core.ResyncLimits(s.now, resync.Limits{})
		n.core.ResyncPause(s.now, false)
	}
	switch k := s.rng.Intn(12); {
	case k > 9 && !s.calm:
		n.core.ResyncPause(s.now, s.rng.Intn(2) == 0)
	case k == 9 && !s.calm:
		n.core.ResyncHold(s.now, [2]string{"", "another volume's turn"}[s.rng.Intn(2)])
	case k == 8 && !s.calm:
		n.core.ResyncLimits(s.now, resync.Limits{MaxRate: s.rng.Int63n(2) << 20, MinRate: s.rng.Int63n(2) << 10})
	case k == 0:
		_ = n.core.VerifyStop(s.now)
	case k == 1:
		_ = n.core.VerifyPause(s.now)
	default:
		if n.core.VerifyStart(s.now, int64(s.rng.Intn(simBlocks))*block.Size, 0, s.rng.Intn(2) == 0) != nil {
			_ = n.core.VerifyResume(s.now, 0)
		}
	}
	s.do(n)
}

// noFalseAlarm: nobody touched a disk behind a replica's back.
func (s *sim) noFalseAlarm() {
	for _, n := range s.nodes {
		if n.up && (len(n.core.verify.found) > 0 || n.core.meta.Verify.Found > 0) {
			s.failf("node %d: a verify found differences at %v that nobody made", n.id, n.core.verify.found)
		}
	}
}

// flip changes blocks on the Secondary's disk and returns which.
func (s *sim) flip(n *simNode) map[int64]bool {
	flipped := map[int64]bool{}
	for range 1 + s.rng.Intn(12) {
		b := s.rng.Intn(simBlocks)
		for i := b; i < min(b+1+s.rng.Intn(3), simBlocks); i++ {
			if !flipped[int64(i)] {
				n.disk.visible[i] ^= 1 << 40
				n.disk.stable[i] = n.disk.visible[i]
				flipped[int64(i)] = true
			}
		}
	}
	return flipped
}

// gentle is a step without crashes and elections: what is on the Secondary's
// disk must not become the truth.
func (s *sim) gentle(n *simNode, writes, cuts bool) {
	switch k := s.rng.Intn(100); {
	case k < 35:
		s.deliver(n)
	case k < 70:
		if len(n.ops) > 0 {
			s.runOp(n, s.rng.Intn(len(n.ops)))
		}
	case k < 76:
		if writes {
			s.submit(n, k == 75)
		}
	case k < 86:
		s.now += 5e6
		n.core.Tick(s.now)
		s.do(n)
	case k < 94:
		s.agent(n)
	case k < 99:
		s.connect()
	default:
		if cuts && s.rng.Intn(4) == 0 {
			s.cut()
		}
	}
}

// TestVerifyFindsExactlyWhatWasChanged: a verify under writes and lost
// connections reports what a hand changed on the Secondary, nothing else, and
// with repair both disks are equal afterwards.
func TestVerifyFindsExactlyWhatWasChanged(t *testing.T) {
	var found, rewritten, healed int
	for i := range max(*simSeeds/2, 1) {
		seed := *simFirst + int64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newSim(t, seed)
			for range 800 {
				s.step(false)
			}
			s.converge()
			f, w, h := s.verifyFlipped(seed%2 == 0, seed%3 == 0)
			found, rewritten, healed = found+f, rewritten+w, healed+h
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d changed blocks found, %d of the changed were written by the application meanwhile, %d repaired", found, rewritten, healed)
}

func (s *sim) verifyFlipped(repair, cuts bool) (found, rewritten, healed int) {
	p := s.nodes[0]
	if !p.core.primary {
		p = s.nodes[1]
	}
	o := s.nodes[1-p.id]
	_ = p.core.VerifyStop(s.now)
	s.do(p)
	s.calm = true
	for _, n := range s.nodes {
		n.core.ResyncPause(s.now, false)
		n.core.ResyncHold(s.now, "")
	}
	for _, n := range s.nodes {
		n.bad = [simBlocks]bool{} // what cannot be read proves nothing
	}
	flipped, before := s.flip(o), len(s.truth)
	s.logf("flipped on %d: %v", o.id, flipped)
	for err := error(ErrNotInSync); err != nil; err = p.core.VerifyStart(s.now, 0, 0, repair) {
		s.gentle(s.nodes[s.rng.Intn(2)], false, false)
	}
	s.do(p)
	for range 60000 {
		s.gentle(s.nodes[s.rng.Intn(2)], s.rng.Intn(2) == 0, cuts)
		if !p.core.meta.Verify.Running {
			break
		}
	}
	if p.core.meta.Verify.Running {
		s.failf("the verify did not end: %+v", p.core.meta.Verify)
	}
	s.quiesce(p, o)
	return s.judge(p, o, flipped, before, repair)
}

// quiesce ends what is under way and brings the nodes in sync.
func (s *sim) quiesce(p, o *simNode) {
	for range 40000 {
		s.gentle(s.nodes[s.rng.Intn(2)], false, false)
		if p.core.phase == inSync && o.core.phase == inSync && len(p.requests)+len(p.ops)+len(o.ops)+len(p.core.active)+
			len(s.wire[0])+len(s.wire[1]) == 0 {
			return
		}
	}
	s.failf("it does not come to rest")
}

func (s *sim) judge(p, o *simNode, flipped map[int64]bool, before int, repair bool) (found, rewritten, healed int) {
	written, listed := map[int64]bool{}, map[int64]bool{}
	for _, w := range s.truth[before:] {
		for b := w.r.Off / block.Size; b < w.r.End()/block.Size; b++ {
			written[b] = true
		}
	}
	for _, r := range p.core.verify.found {
		for b := r.Off / block.Size; b < r.End()/block.Size; b++ {
			if listed[b] = true; !flipped[b] {
				s.failf("block %d is reported and was not changed", b)
			}
		}
	}
	for b := range int64(simBlocks) {
		differ := p.disk.visible[b] != o.disk.visible[b]
		switch {
		case flipped[b] && !written[b] && !listed[b] && differ:
			s.failf("block %d was changed and is not reported", b)
		case differ && (repair || !flipped[b] || written[b]):
			s.failf("block %d differs at the end: changed %v, written %v, repair %v", b, flipped[b], written[b], repair)
		case flipped[b] && written[b]:
			rewritten++
		}
	}
	if int64(len(listed))*block.Size != p.core.meta.Verify.Found {
		s.failf("%d blocks are listed, %d bytes counted", len(listed), p.core.meta.Verify.Found)
	}
	return len(listed), rewritten, int(p.core.verify.repaired / block.Size)
}
