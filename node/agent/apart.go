package agent

import (
	"context"
	"fmt"

	"gemel/node/replicator/control"
)

// giveUp lets this node's replica be overwritten by the peer's.
func (a *Agent) giveUp(ctx context.Context, req control.GiveUpRequest) error {
	o, err := a.owner(req.Volume)
	if err != nil {
		return err
	}
	if err := a.replica.GiveUp(ctx, req); err != nil {
		return err
	}
	o.note("data.given-up", fmt.Sprintf("The data of %s on %s was given up; it is filled from %s.",
		req.Volume, a.cfg.Node, a.cfg.Peer().Name), "an operator's word")
	return nil
}

// noteApart tells the history when both sides are found apart, and where what
// was lost is kept.
func (o *owner) noteApart(old, state *control.VolumeState) {
	was := ""
	if old != nil && old.Apart != nil {
		was = old.Apart.Name
	}
	if apart := state.Apart; apart != nil && apart.Name != was {
		o.note("replication."+apart.Name, fmt.Sprintf("Both sides of %s stand alone: %s.", o.name, apart.Text), apart.Next,
			"changed_here", fmt.Sprint(apart.Here.Changed), "changed_there", fmt.Sprint(apart.There.Changed))
	}
	if state.UndoFile != "" && (old == nil || old.UndoFile != state.UndoFile) {
		o.note("data.kept", fmt.Sprintf("What this node loses of %s is kept.", o.name),
			"see `gemel undo show "+state.UndoFile+"`", "file", state.UndoFile)
	}
}
