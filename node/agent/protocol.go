package agent

import (
	"context"
	"fmt"

	"gemel/node/replicator/control"
)

// protocol changes a volume's protocol on both nodes, so that it lasts over a
// switchover; forwarded: the peer was told already. It lasts until a replicator
// restarts: then that one takes what the configuration says.
func (a *Agent) protocol(ctx context.Context, req control.ProtocolRequest, forwarded bool) error {
	o, err := a.owner(req.Volume)
	if err != nil {
		return err
	}
	if err := a.replica.Protocol(ctx, req); err != nil {
		return fmt.Errorf("protocol of volume %s on %s: %w", req.Volume, a.cfg.Node, err)
	}
	o.note("protocol.changed", fmt.Sprintf("Volume %s has protocol %s on %s until its replicator restarts.", req.Volume,
		req.Protocol, a.cfg.Node), "an operator asked for it")
	if forwarded {
		return nil
	}
	if err := o.links.protocol(ctx, req); err != nil {
		return fmt.Errorf("volume %s has protocol %s on %s, but %s could not be told, and has its own when it becomes Primary; "+
			"repeat the command when it answers: %w", req.Volume, req.Protocol, a.cfg.Node, a.cfg.Peer().Name, err)
	}
	return nil
}
