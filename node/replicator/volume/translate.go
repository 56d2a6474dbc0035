package volume

import (
	"time"

	"gemel/node/arbiter"
	"gemel/node/replicator/control"
	"gemel/node/replicator/disk"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/link"
	"gemel/node/replicator/meta"
	"gemel/node/replicator/volume/core"
	"gemel/node/replicator/wire"
)

// The functions of this file translate between the core's words and bytes. The
// shell uses what is behind them; they are exported for another shell around
// the same core, the simulator, so that it speaks and stores what ships.

// Encode returns the message's header and body. payload is the memory of the
// request that it names, for Sums its sums; empty for a message without.
func Encode(m *core.Msg, payload []byte) (wire.Header, []byte) {
	h := toWire(m)
	h.Epoch = m.Epoch
	if body := talkBody(m); body != nil {
		return h, body
	}
	if payload = part(m, payload); m.Kind == core.ResyncData && allZero(payload) {
		h.Flags |= wire.FlagZero
		return h, nil
	}
	return h, payload
}

// Decode is the way back.
func Decode(h wire.Header, payload []byte) (core.Msg, error) {
	m, err := fromWire(&link.Message{Header: h, Payload: payload})
	m.Epoch = h.Epoch
	return m, err
}

// Introduce puts what a replica says of itself into a hello, names apart.
func Introduce(s handshake.State) wire.Hello { return helloOf(s) }

// Introduced is the way back.
func Introduced(h *wire.Hello) handshake.State { return stateOf(h) }

// Remembered is the core's part of a superblock.
func Remembered(s *meta.Superblock) core.Meta { return metaOf(s) }

// Remember puts the core's part into a superblock.
func Remember(s *meta.Superblock, m core.Meta) { putMeta(s, m) }

// Claims is what a replica tells beyond what its core knows; s is its
// superblock, accepted the newest set in its register.
func Claims(s *meta.Store, c *core.Core, accepted arbiter.Accepted) handshake.Claims {
	v := Volume{o: Options{Store: s}, core: c}
	v.register.Record.Accepted = accepted
	return v.claims()
}

// Stamp adds to next what happened since old, and whom the replica met.
func Stamp(old, next *meta.Superblock, m Meeting, now time.Time) {
	stamp(old, next, m, now)
}

// Apply does to dev what a, a Write of the core, says.
func Apply(dev disk.Device, a *core.Action, p []byte) error {
	v := Volume{o: Options{Disk: dev}}
	return v.toDisk(a, p)
}

// DiskState names the state of the disk of node, whose core shows w and whose
// register holds record.
func DiskState(w core.View, node arbiter.NodeID, record arbiter.Record) string {
	known := record.Accepted.Set
	switch {
	case w.Problem != nil:
		return control.Diskless
	case w.Inconsistent:
		return control.Inconsistent
	case w.Discard, w.Outdated:
		return control.Outdated
	case w.Primary, w.InSync:
		return control.UpToDate
	case known != 0 && !known.Has(node):
		return control.Outdated
	}
	return control.Consistent
}
