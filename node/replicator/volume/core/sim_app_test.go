package core

import "gemel/node/block"

// This file is the application's part of the simulation.

// read has answered from the local disk; the answer may have to wait.
func (s *sim) read(n *simNode) {
	if !n.core.primary || len(n.requests) > 12 {
		return
	}
	if id, err := n.core.Read(s.now); err == nil {
		s.truth = append(s.truth, &simWrite{node: n.id, read: true})
		n.requests[id] = len(s.truth) - 1
		s.do(n)
	}
}

func (s *sim) submit(n *simNode, flush bool) {
	if !n.core.primary || len(n.requests) > 12 {
		return
	}
	if !flush {
		size := s.size(n)
		off := s.rng.Intn(size)
		length := 1 + s.rng.Intn(min(12, size-off))
		if s.rng.Intn(2) == 0 {
			off, length = s.rng.Intn(6), 1+s.rng.Intn(4)
		}
		s.write(n, block.Range{Off: int64(off) * block.Size, Len: int64(length) * block.Size}, s.rng.Intn(8))
		return
	}
	w := &simWrite{node: n.id, flush: true}
	for j, o := range s.truth {
		if !o.flush && !o.read && o.acked && !o.stable {
			w.covers = append(w.covers, j)
		}
	}
	id, err := n.core.Flush(s.now)
	if err != nil {
		return
	}
	s.truth = append(s.truth, w)
	n.requests[id] = len(s.truth) - 1
	s.logf("%d submits %d, a flush", n.id, len(s.truth)-1)
	s.do(n)
}

// write lets the application write r, in one of the ways there are.
func (s *sim) write(n *simNode, r block.Range, way int) {
	w := &simWrite{node: n.id, r: r, fua: way == 2}
	var id ID
	var err error
	switch way {
	case 0, 1:
		id, err = n.core.Erase(s.now, r, OpDiscard+Op(s.rng.Intn(3)))
	case 2:
		id, err = n.core.WriteFUA(s.now, r)
	default:
		id, err = n.core.Write(s.now, r)
	}
	if err != nil {
		return
	}
	s.truth = append(s.truth, w)
	n.requests[id] = len(s.truth) - 1
	data := make([]uint64, r.Len/block.Size)
	for i := range data {
		data[i] = uint64(len(s.truth))
	}
	n.payload[id] = data
	s.logf("%d submits %d %v", n.id, len(s.truth)-1, r)
	s.do(n)
}
