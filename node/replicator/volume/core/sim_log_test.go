package core

import (
	"gemel/node/block"
	"gemel/node/replicator/activity"
)

// This file is the simulation's metadata area: the ring of the activity log and
// the bitmap's pages, in writes that take time and that a power cut tears.

const simLogExtent = 8 * block.Size

// simMeta is a metadata write under way: a transaction or pages.
type simMeta struct {
	at    int // in the ring
	block []byte
	pages []Page
}

func (s *sim) readLog(n *simNode) activity.Set {
	set := activity.Recover(n.ring, [16]byte{byte(n.id)})
	s.logf("%d finds in its log: %+v", n.id, set)
	if !set.Known {
		s.failf("node %d lost its log: %s", n.id, set.Why)
	}
	return set
}

// beginMeta begins the metadata write of op i; false: it is none, or has begun.
func (s *sim) beginMeta(n *simNode, i int) bool {
	op := &n.ops[i]
	if op.writing != nil {
		return false
	}
	w := &simMeta{}
	switch op.a.Kind {
	case SaveBitmap:
		if j := busyPages(n); j >= 0 { // they are written one after the other
			s.runOp(n, j)
			return true
		}
		words := n.core.Bitmap()
		n.disk.stable = n.disk.visible
		for p := range words {
			w.pages = append(w.pages, Page{Number: p, Words: words[p : p+1]})
		}
	case SavePages:
		if j := busyPages(n); j >= 0 {
			s.runOp(n, j)
			return true
		}
		w.pages = append(w.pages, n.core.Pages()...)
		s.paged++
	case Log:
		t := n.core.Transaction()
		w.block = make([]byte, activity.BlockSize)
		t.Encode(w.block, [16]byte{byte(n.id)})
		w.at = activity.Position(t.Number, len(n.ring)/activity.BlockSize) * activity.BlockSize
		s.logged++
	default:
		return false
	}
	op.writing = w
	return true
}

// busyPages returns the op that writes pages just now, or -1.
func busyPages(n *simNode) int {
	for i, op := range n.ops {
		if op.writing != nil && op.a.Kind != Log {
			return i
		}
	}
	return -1
}

func (w *simMeta) store(n *simNode) {
	copy(n.ring[w.at:], w.block)
	for _, p := range w.pages {
		copy(n.words[p.Number:], p.Words)
	}
}

// tear is what a crash leaves of a write: any part of its sectors. A page that
// is neither old nor new counts as all set.
func (w *simMeta) tear(s *sim, n *simNode, power bool) {
	for i := 0; i < len(w.block); i += 512 {
		if !power || s.rng.Intn(2) == 0 {
			copy(n.ring[w.at+i:], w.block[i:i+512])
		}
	}
	for _, p := range w.pages {
		switch s.rng.Intn(3) {
		case 0:
			n.words[p.Number] = p.Words[0]
		case 1:
			n.words[p.Number] = ^uint64(0)
		}
	}
}
