package volume

import (
	"time"

	"gemel/node/replicator/handshake"
	"gemel/node/replicator/meta"
	"gemel/node/replicator/wire"
)

// claims is what this replica tells beside what the core knows.
func (v *Volume) claims() handshake.Claims {
	s := v.o.Store.Super()
	return handshake.Claims{
		Replica: s.ID, Sequence: s.Sequence, PeerReplica: s.Past.Peer, PeerSequence: s.Past.PeerSequence, Said: s.Past.Said,
		Accepted:   v.register.Record.Accepted,
		ReignStart: s.Past.ReignStart, ReignEnd: s.Past.ReignEnd, Apart: s.Past.Apart,
		Changed: v.core.Changed(), Policy: v.o.AfterSplit,
	}
}

// putClaims and claimsOf are the two sides of one table.
func putClaims(h *wire.Hello, c *handshake.Claims) {
	h.Replica, h.Sequence, h.PeerReplica, h.PeerSequence = c.Replica, c.Sequence, c.PeerReplica, c.PeerSequence
	h.Said = c.Said
	h.Accepted, h.OutOfSync = c.Accepted, c.Changed
	h.ReignStart, h.ReignEnd, h.Apart = c.ReignStart, c.ReignEnd, c.Apart
	h.AfterSplit0, h.AfterSplit1 = uint8(c.Policy.Zero), uint8(c.Policy.One)
}

func claimsOf(h *wire.Hello) handshake.Claims {
	return handshake.Claims{
		Replica: h.Replica, Sequence: h.Sequence, PeerReplica: h.PeerReplica, PeerSequence: h.PeerSequence, Said: h.Said,
		Accepted: h.Accepted, Changed: h.OutOfSync, ReignStart: h.ReignStart, ReignEnd: h.ReignEnd, Apart: h.Apart,
		Policy: handshake.Policy{Zero: handshake.ZeroPrimaries(h.AfterSplit0), One: handshake.OnePrimary(h.AfterSplit1)},
	}
}

// remember writes the peer of a meeting down before anything is taken from it;
// v.mu is held, and given back meanwhile.
func (v *Volume) remember(mine, peer *handshake.State) error {
	v.met = Meeting{Replica: peer.Replica, Sequence: peer.Sequence}
	v.saying = mine.Sequence
	v.recordWanted++
	v.metaReady.Signal()
	return v.stableRecord(false)
}

// heard notes that the peer spoke: so it has written down what was said in the
// hello. v.mu is held.
func (v *Volume) heard() {
	if v.saying == 0 {
		return
	}
	v.met.Said, v.saying = v.saying, 0
	v.recordWanted++
	v.metaReady.Signal()
}

// stamp adds to next what happened since old: a reign began or ended, the
// bitmap began to count, a peer was met.
func stamp(old, next *meta.Superblock, peer Meeting, now time.Time) {
	was, is := old.Flags.Has(meta.PrimaryActive), next.Flags.Has(meta.PrimaryActive)
	switch {
	case is && !was:
		next.Past.ReignStart, next.Past.ReignEnd = now.UnixNano(), 0
	case was && !is && !next.Flags.Has(meta.CrashedPrimary):
		next.Past.ReignEnd = now.UnixNano()
	}
	if b := next.Generation.Bitmap; b != old.Generation.Bitmap {
		next.Past.Apart = 0
		if b != 0 {
			next.Past.Apart = now.UnixNano()
		}
	}
	if peer == (Meeting{}) {
		return
	}
	if next.Past.Peer != peer.Replica {
		next.Past.Said = 0
	}
	next.Past.Peer, next.Past.PeerSequence = peer.Replica, peer.Sequence
	if peer.Said != 0 {
		next.Past.Said = peer.Said
	}
}
