package agent

import (
	"context"
	"fmt"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/failover"
	"gemel/node/replicator/control"
)

// What the agent answers to the peer, and to people.

// takeHandOver passes the peer's word on that a volume is free for this node.
func (a *Agent) takeHandOver(volume string, epoch arbiter.Epoch) error {
	o, err := a.owner(volume)
	if err != nil {
		return err
	}
	o.box.post(failover.HandOver{Epoch: epoch})
	return nil
}

// switchover gives a volume to the other node; forwarded marks an order that
// the peer's agent passed on.
func (a *Agent) switchover(ctx context.Context, volume string, forwarded bool) error {
	o, err := a.owner(volume)
	if err != nil {
		return err
	}
	return o.switchover(ctx, forwarded)
}

// grab makes this node Primary by an operator's word.
func (a *Agent) grab(ctx context.Context, volume string, stale bool) error {
	o, err := a.owner(volume)
	if err != nil {
		return err
	}
	kind := failover.OrderGrab
	if stale {
		kind = failover.OrderGrabStale
	}
	return o.order(ctx, kind)
}

// create makes a new replica on the configured device.
func (a *Agent) create(ctx context.Context, req control.CreateRequest) error {
	if _, err := a.owner(req.Volume); err != nil {
		return err
	}
	if err := a.replica.Create(ctx, req); err != nil {
		return fmt.Errorf("create volume %s: %w", req.Volume, err)
	}
	a.diary.note(req.Volume, "volume.created", fmt.Sprintf("Volume %s was created on %s.", req.Volume, a.cfg.Node),
		"an operator asked for it")
	return nil
}

// outdate marks this node's replica as out of date by a person's word, or takes
// that back.
func (a *Agent) outdate(ctx context.Context, req control.OutdateRequest) error {
	o, err := a.owner(req.Volume)
	if err != nil {
		return err
	}
	if err := a.replica.Outdate(ctx, req); err != nil {
		return err
	}
	if req.Undo {
		o.note("volume.not-outdated", "The replica here is not marked Outdated any more.", "an operator asked for it")
		return nil
	}
	o.note("volume.outdated", "The replica here is marked Outdated: it does not take over until it has followed a Primary.",
		"an operator asked for it")
	return nil
}

// connect asks a StandAlone volume to try again.
func (a *Agent) connect(ctx context.Context, volume string) error {
	if _, err := a.owner(volume); err != nil {
		return err
	}
	return a.replica.Connect(ctx, control.ConnectRequest{Volume: volume})
}

// errNotPeer refuses what only the other node may ask. The API's server has
// checked the same before; a second look costs nothing.
var errNotPeer = &api.Error{Code: api.CodeForbidden, Message: "only the other node of the pair may ask this"}

// fromPeer checks who speaks.
func (a *Agent) fromPeer(name string) error {
	if name != a.cfg.Peer().Name {
		return fmt.Errorf("%q asked %s: %w", name, a.cfg.Node, errNotPeer)
	}
	return nil
}

// takeBeat answers a heartbeat with one of our own.
func (a *Agent) takeBeat(from string, b api.Beat) (api.Beat, error) {
	if err := a.fromPeer(from); err != nil {
		return api.Beat{}, err
	}
	return a.heart.answer(b)
}
