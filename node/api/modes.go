package api

import (
	"context"
	"net/http"
	"time"
)

// Paths of what operators tell a pair or a node to leave alone.
const (
	PathMaintenance = "/v1/order/maintenance"
	PathStandby     = "/v1/order/standby"
)

// Maintenance is the watching mode of the pair: nothing is taken over by itself, and
// no service is restarted. Both nodes carry the same word; the newest wins.
type Maintenance struct {
	Serial uint64    `json:"serial"` // of the order; zero: there never was one
	On     bool      `json:"on"`
	Until  time.Time `json:"until,omitzero"` // when it ends by itself; zero: never
}

// Newer reports whether m takes the place of o. Orders that were given on both nodes
// at once have one number; the careful one wins, and the longer one.
func (m Maintenance) Newer(o Maintenance) bool {
	switch {
	case m.Serial != o.Serial:
		return m.Serial > o.Serial
	case m.On != o.On:
		return m.On
	case m.Until.IsZero() || o.Until.IsZero():
		return m.Until.IsZero() && !o.Until.IsZero()
	}
	return m.Until.After(o.Until)
}

// MaintenanceOrder turns it on, for a time or until further notice (zero), or off.
type MaintenanceOrder struct {
	On  bool          `json:"on"`
	For time.Duration `json:"for_ns,omitempty"`
}

// MaintenanceReply is the word that holds now.
type MaintenanceReply struct {
	Maintenance
	// PeerTold: the other node says the same. If not, it hears it with the next
	// heartbeat that arrives.
	PeerTold bool `json:"peer_told"`
}

// StandbyOrder puts the called node on standby, or ends that.
type StandbyOrder struct {
	Undo bool `json:"undo,omitempty"`
}

// StandbyReply tells which volumes were given to the other node.
type StandbyReply struct {
	Moved []string  `json:"moved"`
	Since time.Time `json:"since,omitzero"`
}

// Maintenance refuses.
func (Unsupported) Maintenance(context.Context, Caller, MaintenanceOrder) (MaintenanceReply, error) {
	return MaintenanceReply{}, errUnsupported
}

// Standby refuses.
func (Unsupported) Standby(context.Context, Caller, StandbyOrder) (StandbyReply, error) {
	return StandbyReply{}, errUnsupported
}

// Maintenance turns the watching mode of the pair on or off.
func (c *Client) Maintenance(ctx context.Context, o MaintenanceOrder) (MaintenanceReply, error) {
	return call[MaintenanceReply](ctx, c, http.MethodPost, PathMaintenance, o)
}

// Standby puts the called node on standby, or ends that; it returns when its volumes
// are served by the other node.
func (c *Client) Standby(ctx context.Context, o StandbyOrder) (StandbyReply, error) {
	return call[StandbyReply](ctx, c, http.MethodPost, PathStandby, o)
}
