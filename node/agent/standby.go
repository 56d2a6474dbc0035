package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gemel/node/api"
	"gemel/node/failover"
)

// maintenance turns the watching mode of the pair on or off.
func (a *Agent) maintenance(ctx context.Context, o api.MaintenanceOrder) (api.MaintenanceReply, error) {
	until := time.Time{}
	if o.On && o.For > 0 {
		until = a.modes.now().Add(o.For).UTC().Truncate(time.Second)
	}
	told := a.modes.order(ctx, o.On, until)
	return api.MaintenanceReply{Maintenance: a.modes.word(), PeerTold: told}, nil
}

// goOnStandby gives all volumes of this node to the peer, in the order of the
// configuration, and takes none back until that is undone. Before anything moves,
// every volume is asked whether it could.
func (a *Agent) goOnStandby(ctx context.Context, undo bool) (api.StandbyReply, error) {
	reply := api.StandbyReply{Moved: []string{}}
	if undo {
		return reply, a.endStandby()
	}
	if !a.modes.standby().IsZero() {
		reply.Since = a.modes.standby()
		return reply, nil
	}
	if err := a.mayStandBy(ctx); err != nil {
		return reply, err
	}
	for _, o := range a.owners {
		if !o.primaryHere() {
			continue
		}
		if err := o.order(ctx, failover.OrderSwitchover); err != nil {
			return reply, fmt.Errorf("%s is not on standby: volume %s could not be given to %s: %w (given before: %s)",
				a.cfg.Node, o.name, a.cfg.Peer().Name, err, orNone(reply.Moved))
		}
		reply.Moved = append(reply.Moved, o.name)
	}
	if err := a.modes.setStandby(true); err != nil {
		return reply, fmt.Errorf("%s is not on standby, although its volumes were given away: %w", a.cfg.Node, err)
	}
	reply.Since = a.modes.standby()
	a.diary.note("", "standby.on", fmt.Sprintf("%s is on standby: it takes nothing over until that is undone.", a.cfg.Node),
		"an operator asked for it; given to "+a.cfg.Peer().Name+": "+orNone(reply.Moved))
	return reply, nil
}

func (a *Agent) endStandby() error {
	if a.modes.standby().IsZero() {
		return nil
	}
	if err := a.modes.setStandby(false); err != nil {
		return fmt.Errorf("%s is still on standby: %w", a.cfg.Node, err)
	}
	a.diary.note("", "standby.off", fmt.Sprintf("%s is not on standby any more: it takes over again when it is needed.", a.cfg.Node),
		"an operator asked for it")
	return nil
}

// mayStandBy refuses a standby that would leave a volume without a node.
func (a *Agent) mayStandBy(ctx context.Context) error {
	var reasons []string
	peer := a.cfg.Peer().Name
	view, _ := a.peerView()
	switch {
	case !view.Alive:
		reasons = append(reasons, peer+" is silent, so nobody else could serve")
	case a.peerOnStandby():
		reasons = append(reasons, fmt.Sprintf("%s is on standby itself; `gemel standby %s --undo` first", peer, peer))
	default:
		for _, o := range a.owners {
			if !o.primaryHere() {
				continue
			}
			if err := o.order(ctx, failover.OrderMayGive); err != nil {
				reasons = append(reasons, "volume "+o.name+": "+err.Error())
			}
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return &api.Error{Code: api.CodeRefused, Message: fmt.Sprintf("%s stays as it is, nothing was moved: %s",
		a.cfg.Node, strings.Join(reasons, "; "))}
}

func (a *Agent) peerOnStandby() bool {
	for _, o := range a.owners {
		if heard := o.heard.Load(); heard != nil && heard.Standby {
			return true
		}
	}
	return false
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// setMode tells every volume's machine.
func (a *Agent) setMode(m failover.Mode) {
	for _, o := range a.owners {
		o.box.post(m)
	}
}

// errServiceHeld ends the wait of a service that was stopped during maintenance.
var errServiceHeld = errors.New("stopped while maintenance was on")

// hold waits until maintenance is off; nil at once when it is.
func (m *modes) whileHeld(ctx context.Context) error {
	for {
		held := m.held()
		if held == nil {
			return nil
		}
		select {
		case <-held:
		case <-ctx.Done():
			return errServiceHeld
		}
	}
}
