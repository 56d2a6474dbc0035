package volume

import (
	"sync"

	"gemel/node/block"
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
	pooled   bool            // from package buffer
	received bool            // counts against ReceiveLimit until written
	blank    bool            // a resync read nothing but zeroes
	done     chan error      // the application waits here,
	end      block.WriteDone // unless it is told
	next     *payload        // of those that are to be told
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
	pay.buf, pay.end, pay.next = nil, nil, nil
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
	switch {
	case pay.end != nil && v.gather:
		pay.next, v.ended = v.ended, pay
	case pay.end != nil:
		pay.tell(true)
	case pay.done != nil:
		pay.done <- pay.err
	}
}

// gathered returns the requests that ended since gather was set; v.mu is held.
func (v *Volume) gathered() (ended *payload) {
	ended, v.ended, v.gather = v.ended, nil, false
	return ended
}

// tell tells the owners of requests that ended; busy is for one who has no time.
func (pay *payload) tell(busy bool) {
	for pay != nil {
		end, err, next := pay.end, pay.err, pay.next
		recycle(pay)
		end.WriteDone(err, busy || next != nil)
		pay = next
	}
}
