package agent

import (
	"context"

	"gemel/node/api"
	"gemel/node/arbiter/ballot"
	"gemel/node/event"
	"gemel/node/identity"
	"gemel/node/replicator/control"
)

// handler answers the API. The server has checked who speaks; votes go straight
// to the replicator, whose register is this node's voter.
type handler struct {
	a       *Agent
	history *event.History
}

var _ api.Handler = handler{}

func (h handler) Beat(_ context.Context, from api.Caller, b api.Beat) (api.Beat, error) {
	return h.a.takeBeat(from.Name, b)
}

func (h handler) Votes(ctx context.Context, from api.Caller, votes []ballot.Vote, answer ballot.Answer) error {
	if err := h.a.fromPeer(from.Name); err != nil {
		return err
	}
	return h.a.replica.Votes(ctx, votes, answer)
}

func (h handler) HandOver(_ context.Context, from api.Caller, w api.HandOver) error {
	if err := h.a.fromPeer(from.Name); err != nil {
		return err
	}
	return h.a.takeHandOver(w.Volume, w.Epoch)
}

func (h handler) Reboot(_ context.Context, from api.Caller, o api.RebootOrder) error {
	if err := h.a.fromPeer(from.Name); err != nil {
		return err
	}
	return h.a.takeReboot(o)
}

func (h handler) Clients(_ context.Context, from api.Caller, m api.Clients) (api.ClientsTaken, error) {
	if err := h.a.fromPeer(from.Name); err != nil {
		return api.ClientsTaken{}, err
	}
	return h.a.takeClients(&m)
}

func (h handler) Status(ctx context.Context, _ api.Caller) (api.Status, error) {
	h.a.look(ctx)
	s := h.a.status()
	if err := h.history.Problem(); err != nil {
		s.HistoryProblem = err.Error()
	}
	return s, nil
}

func (h handler) Events(ctx context.Context, _ api.Caller, since uint64) (api.EventPage, error) {
	events, next := h.history.Wait(ctx, since)
	return api.EventPage{Events: events, Next: next}, nil
}

func (h handler) History(_ context.Context, _ api.Caller, q api.HistoryQuery) (api.HistoryPage, error) {
	events, err := h.history.From(q.From)
	if err != nil {
		return api.HistoryPage{}, err
	}
	page := q.PageOf(events)
	if page.Lost = h.history.Lost(); h.history.Problem() != nil {
		page.Problem = h.history.Problem().Error()
	}
	return page, nil
}

func (h handler) WhatIf(ctx context.Context, _ api.Caller, q api.WhatIfQuery) ([]api.WhatIf, error) {
	return h.a.whatIf(ctx, q)
}

func (h handler) Stage(context.Context, api.Caller) (api.Stage, error) { return h.a.stageForPeer() }

func (h handler) Switchover(ctx context.Context, from api.Caller, o api.Order) error {
	return h.a.switchover(ctx, o.Volume, !from.Local && from.Role == identity.RoleNode)
}

func (h handler) Grab(ctx context.Context, _ api.Caller, o api.Order) error {
	return h.a.grab(ctx, o.Volume, o.Stale)
}

func (h handler) CreateVolume(ctx context.Context, _ api.Caller, req control.CreateRequest) error {
	return h.a.create(ctx, req)
}

func (h handler) Protocol(ctx context.Context, from api.Caller, req control.ProtocolRequest) error {
	return h.a.protocol(ctx, req, !from.Local && from.Role == identity.RoleNode)
}

func (h handler) Verify(ctx context.Context, from api.Caller, req control.VerifyRequest) error {
	return h.a.verify(ctx, req, !from.Local && from.Role == identity.RoleNode)
}

func (h handler) Resync(ctx context.Context, from api.Caller, req control.ResyncRequest) error {
	return h.a.resync(ctx, req, !from.Local && from.Role == identity.RoleNode)
}

func (h handler) Drill(ctx context.Context, from api.Caller, o api.DrillOrder) ([]api.Drill, error) {
	return h.a.drill(ctx, o.Volume, !from.Local && from.Role == identity.RoleNode)
}

func (h handler) Maintenance(ctx context.Context, _ api.Caller, o api.MaintenanceOrder) (api.MaintenanceReply, error) {
	return h.a.maintenance(ctx, o)
}

func (h handler) Standby(ctx context.Context, _ api.Caller, o api.StandbyOrder) (api.StandbyReply, error) {
	return h.a.goOnStandby(ctx, o.Undo)
}

func (h handler) Fence(ctx context.Context, _ api.Caller, o api.FenceOrder) (api.Fencing, error) {
	return h.a.fence(ctx, o)
}

func (h handler) Resize(ctx context.Context, from api.Caller, req control.GrowRequest) error {
	return h.a.resize(ctx, req, !from.Local && from.Role == identity.RoleNode)
}

func (h handler) Connect(ctx context.Context, _ api.Caller, req control.ConnectRequest) error {
	return h.a.connect(ctx, req.Volume)
}

func (h handler) Outdate(ctx context.Context, _ api.Caller, req control.OutdateRequest) error {
	return h.a.outdate(ctx, req)
}

func (h handler) GiveUp(ctx context.Context, _ api.Caller, req control.GiveUpRequest) error {
	return h.a.giveUp(ctx, req)
}
