package volume

import (
	"fmt"

	"gemel/node/block"
	"gemel/node/replicator/link"
	"gemel/node/replicator/volume/core"
)

// readElsewhere answers a read that the local disk failed with the peer's data,
// and has the bad blocks written anew with it.
func (v *Volume) readElsewhere(p []byte, off int64, failure error) error {
	v.o.Log(fmt.Sprintf("volume %s: %d bytes at %d cannot be read here; the peer is asked", v.o.Name, len(p), off), failure)
	v.mu.Lock()
	v.counters.read += int64(len(p))
	id, err := v.core.ReadFailed(Now(), block.Range{Off: off, Len: int64(len(p))}, failure)
	return v.await("read", id, p, err)
}

// takeRead puts what the peer read where the reader wants it; from there the
// core has it written over the bad blocks. v.mu is held.
func (v *Volume) takeRead(session uint64, msg core.Msg, m *link.Message) {
	if int64(len(m.Payload)) != msg.Range.Len {
		msg.Kind = core.ReadFailed
	}
	if id := v.core.Receive(Now(), session, msg); id != 0 {
		copy(v.payloads[id].buf, m.Payload)
	}
	v.run()
}
