package volume

import (
	"context"
	"errors"
	"time"

	"gemel/node/replicator/handshake"
	"gemel/node/replicator/link"
	"gemel/node/replicator/wire"
)

// Hello makes a hello from what the replica is at this moment; it may wait for
// the end of earlier I/O.
type Hello func() (wire.Hello, error)

// Dial is the Connect of node 0, which dials.
func Dial(d *link.Dialer) Connect {
	return func(ctx context.Context, hello Hello) (*link.Conn, error) {
		h, err := hello()
		if err != nil {
			return nil, err
		}
		return d.Dial(ctx, h)
	}
}

// offer is a connection that the peer dialed.
type offer struct {
	pending *link.Pending
	done    chan struct{}
}

// offerWait is how long a dialing peer waits while an earlier connection ends.
const offerWait = time.Second

// Accept is the Connect of node 1, which waits for the peer to dial. remove
// ends it.
func Accept(l *link.Listener, volume string) (connect Connect, remove func()) {
	offers := make(chan offer)
	remove = l.Handle(volume, func(p *link.Pending) {
		o := offer{p, make(chan struct{})}
		select {
		case offers <- o:
			<-o.done
		case <-time.After(offerWait):
			p.Refuse(errors.New("the volume is not ready for a connection; try again"))
		}
	})
	return func(ctx context.Context, hello Hello) (*link.Conn, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case o := <-offers:
			defer close(o.done)
			h, err := hello()
			if err != nil {
				o.pending.Refuse(err)
				return nil, err
			}
			return o.pending.Accept(h)
		}
	}, remove
}

// helloOf and stateOf are the two sides of one table.
func helloOf(s handshake.State) wire.Hello {
	h := wire.Hello{Node: s.Node, Disk: wire.DiskConsistent, DataSize: s.Usable, AgreedSize: s.Size,
		Generation: s.Generations, Promised: s.Promised, Reign: s.Reign}
	putClaims(&h, &s.Claims)
	if s.Inconsistent {
		h.Disk = wire.DiskInconsistent
	}
	for flag, set := range map[wire.HelloFlags]bool{wire.HelloPrimary: s.Primary, wire.HelloCreated: s.Created,
		wire.HelloCrashedPrimary: s.Crashed, wire.HelloDiscard: s.Discard, wire.HelloKeep: s.Keep} {
		if set {
			h.Flags |= flag
		}
	}
	if s.Bits {
		h.OutOfSync = max(h.OutOfSync, 1)
	}
	return h
}

func stateOf(h *wire.Hello) handshake.State {
	return handshake.State{
		Node: h.Node, Primary: h.Flags.Has(wire.HelloPrimary), Reign: h.Reign, Promised: h.Promised,
		Created: h.Flags.Has(wire.HelloCreated), Inconsistent: h.Disk == wire.DiskInconsistent,
		Crashed: h.Flags.Has(wire.HelloCrashedPrimary), Bits: h.OutOfSync > 0, Generations: h.Generation,
		Discard: h.Flags.Has(wire.HelloDiscard), Keep: h.Flags.Has(wire.HelloKeep), Size: h.AgreedSize, Usable: h.DataSize, Claims: claimsOf(h),
	}
}
