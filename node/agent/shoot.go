package agent

import (
	"context"
	"errors"
	"fmt"

	"gemel/node/failover"
	"gemel/node/fencing"
)

// errHeard: the peer came back while a shot waited for its turn.
var errHeard = errors.New("it was heard again")

// shoot has the peer's power cut for the volume's machine, which cannot decide
// without a proof, and tells it how that ended.
func (o *owner) shoot(ctx context.Context) {
	o.turn(ctx)
	err := error(fencing.ErrNone)
	switch {
	case o.view.Load().Peer.Alive:
		err = errHeard
	case o.course.fence != nil:
		err = o.course.fence.prove(ctx)
	}
	o.box.post(failover.Shot{Err: text(err)})
}

// waitTurn lets the other node shoot first where both reign, over different volumes:
// of two Primaries the one of the higher number waits as a Secondary would.
func (a *Agent) waitTurn(ctx context.Context, o *owner) {
	if o.self == 0 || !isPrimary(o.view.Load().Role) {
		return
	}
	for _, other := range a.owners {
		if heard := other.heard.Load(); heard != nil && heard.Role == rolePrimary {
			pause(ctx, a.cfg.Fencing.Delay)
			return
		}
	}
}

// prove cuts the peer's power and returns nil when it is proved to be off.
func (f *fencer) prove(ctx context.Context) error {
	proof, err := f.peer.Off(ctx)
	if err == nil && !proof.Verified() {
		err = fencing.ErrUnproved
	}
	if err != nil {
		return fmt.Errorf("%w (`gemel fence status %s`)", err, f.node)
	}
	return nil
}
