package volume

import (
	"errors"

	"gemel/node/block"
	"gemel/node/replicator/link"
	"gemel/node/replicator/volume/core"
)

// errRemote is why a Primary without a disk does not read here.
var errRemote = errors.New("the disk here failed, and the peer cannot read it either")

// readElsewhere answers a read that the local disk failed with the peer's data,
// and has the bad blocks written anew with it, if the disk is in service.
func (v *Volume) readElsewhere(p []byte, off int64, failure error) error {
	for len(p) > 0 {
		n := min(len(p), core.ServedMost)
		v.mu.Lock()
		v.counters.read += int64(n)
		id, err := v.core.ReadFailed(Now(), block.Range{Off: off, Len: int64(n)}, failure)
		if err := v.await("read", id, p[:n:n], err); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
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
