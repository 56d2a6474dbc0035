package sim

import (
	"gemel/node/block"
	"gemel/node/replicator/digest"
	"gemel/node/replicator/volume/core"
)

// sums of a piece that a resync or a verify compares.
type sums struct{ own, theirs []byte }

// digest reads a piece and sums it.
func (r *replicator) digest(a *core.Action) {
	id, at := a.ID, a.Range
	r.sums[id] = &sums{}
	r.atDisk(r.latency(at.Len), &diskOp{}, func(error) {
		data := make([]byte, at.Len)
		err := r.b.disk.ReadAt(data, at.Off)
		if s := r.sums[id]; s != nil {
			s.own = digest.Append(nil, data, &digest.Key{})
		}
		r.payloads[id] = data
		r.core.LocalDone(r.b.clock(), id, err)
		r.run()
	})
}

// compare answers what the core asked to compare.
func (r *replicator) compare(a *core.Action) {
	var differ []block.Range
	if s := r.sums[a.ID]; s != nil {
		differ = digest.Differ(s.own, s.theirs, a.Range)
	}
	r.core.Compared(r.b.clock(), a.ID, differ)
}

// memory is what travels with m.
func (r *replicator) memory(m *core.Msg) []byte {
	if m.Kind == core.Sums && m.Payload != 0 {
		return r.sums[m.Payload].own
	}
	return r.payloads[m.Payload]
}

// keep takes what came with m.
func (r *replicator) keep(id core.ID, m *core.Msg, payload []byte) {
	if m.Kind != core.Sums {
		r.payloads[id] = payload
	} else if s := r.sums[id]; s != nil {
		s.theirs = payload
	}
}
