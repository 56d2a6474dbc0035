package volume

import (
	"sync"

	"gemel/node/replicator/buffer"
	"gemel/node/replicator/volume/core"
)

// payload is the memory of one request and who still needs it: the core (one
// reference), the local disk, the connection's writer. Guarded by Volume.mu.
type payload struct {
	buf      []byte
	sums     []byte // of a piece that is compared: its own
	theirs   []byte // and the peer's
	refs     int
	pooled   bool       // from package buffer
	received bool       // counts against ReceiveLimit until written
	blank    bool       // a resync read nothing but zeroes
	done     chan error // the application waits here
	err      error
}

var payloads = sync.Pool{New: func() any { return &payload{done: make(chan error, 1)} }}

// appPayload wraps the application's own memory: nothing is copied, since the
// request ends only when nobody refers to it any more.
func appPayload(p []byte) *payload {
	pay := payloads.Get().(*payload)
	*pay = payload{buf: p, refs: 1, done: pay.done}
	return pay
}

func recycle(pay *payload) {
	pay.buf = nil
	payloads.Put(pay)
}

// unref gives one reference of id back; the last one frees the memory.
func (v *Volume) unref(id core.ID) {
	pay := v.payloads[id]
	if pay == nil {
		return
	}
	if pay.refs--; pay.refs > 0 {
		return
	}
	delete(v.payloads, id)
	if pay.pooled {
		buffer.Put(pay.buf)
		pay.buf = nil
	}
	if pay.sums != nil || pay.theirs != nil {
		buffer.Put(pay.sums)
		buffer.Put(pay.theirs)
		pay.sums, pay.theirs = nil, nil
	}
	if pay.done != nil {
		pay.done <- pay.err
	}
}
