package core

import (
	"errors"

	"gemel/node/block"
)

// This file grows the simulated volume while everything else goes wrong. What
// lies behind the volume differs on the two disks, and the bitmap that was never
// saved is all set there: nothing may count on it.

// smallRoom is how many blocks the devices of a seed's pair have at first: half
// of the seeds never grow.
func smallRoom(seed int64) int {
	if seed%2 == 0 {
		return simBlocks
	}
	return 40 + int(seed/2)*13%120
}

// rubbish fills what is behind the volume.
func (n *simNode) rubbish() {
	for b := n.room; b < simBlocks; b++ {
		n.disk.visible[b] = 1<<40 + uint64(n.id)
	}
	n.disk.stable = n.disk.visible
	for w := range n.words {
		n.words[w] = ^uint64(0)
	}
}

// size is how many blocks may be used at n.
func (s *sim) size(n *simNode) int { return int(n.core.View(s.now).Size / block.Size) }

// grow enlarges a device, or asks the Primary to make use of what is there.
func (s *sim) grow(n *simNode) {
	if room := s.size(n) + 1 + s.rng.Intn(24); room <= simBlocks && s.elected > 0 && s.rng.Intn(8) == 0 {
		for _, o := range s.nodes {
			if s.rng.Intn(4) != 0 {
				o.room = max(o.room, room)
			}
		}
		s.logf("the devices have %d and %d blocks now", s.nodes[0].room, s.nodes[1].room)
		return
	}
	err := n.core.Grow(int64(n.room)*block.Size, int64(s.rng.Intn(5)/4*s.rng.Intn(simBlocks))*block.Size)
	s.logf("%d shall grow: %v", n.id, err)
	if err == nil {
		s.asked++
	} else if errors.Is(err, ErrShrink) && !n.core.primary {
		s.failf("a Secondary refused to shrink before it refused to lead")
	}
	s.do(n)
}

// blank is the disk's part of it.
func (s *sim) blank(n *simNode, a Action) {
	first, end := int(a.Range.Off/block.Size), int(a.Range.End()/block.Size)
	if end > n.room || a.Range.Off < n.core.meta.Size {
		s.failf("node %d blanks blocks %d to %d, the volume has %d, the device %d", n.id, first, end, s.size(n), n.room)
	}
	clear(n.disk.visible[first:end])
	clear(n.disk.stable[first:end])
	clear(n.bad[first:end])
	for page := (first + 63) / 64; page < (end+63)/64; page++ {
		n.words[page] = 0
	}
	n.core.Blanked(nil)
}

// grown counts and checks what became of it: nobody uses what the metadata does
// not have.
func (s *sim) grown() {
	for _, n := range s.nodes {
		if !n.up || n.meta.Created {
			continue
		}
		if size := n.core.sizeNow(); n.core.primary && size > n.meta.Size {
			s.failf("node %d lets %d bytes be used, its metadata has %d", n.id, size, n.meta.Size)
		}
		if p := s.nodes[1-n.id]; n.core.primary && n.core.phase == inSync && n.core.sizeNow() > p.meta.Size && p.up && p.core.phase == inSync {
			s.failf("Primary %d has %d bytes, its peer has noted %d", n.id, n.core.sizeNow(), p.meta.Size)
		}
		for b := range s.size(n) { // what was behind the volume
			if n.disk.visible[b]>>40 != 0 && !n.meta.Inconsistent && s.split == nil {
				s.failf("node %d holds rubbish in block %d of %d", n.id, b, s.size(n))
			}
		}
		if size := s.size(n); size > n.sized {
			s.enlarged += min(n.sized, 1)
			n.sized = size
		}
	}
}
