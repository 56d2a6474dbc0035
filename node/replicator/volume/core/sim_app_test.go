package core

import "gemel/node/block"

// This file is the application's part of the simulation.

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
