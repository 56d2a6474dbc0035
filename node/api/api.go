// Package api is how boxes and people talk to an agent or a witness: HTTPS with
// JSON, TLS 1.3, both sides with certificates of the cluster; and the same over
// a unix socket for commands on the box itself. It checks who speaks and whether
// they may; what to answer is decided by a Handler. It decides nothing about
// reigns, and it carries no block data.
package api

import (
	"context"
	"net/netip"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/event"
	"gemel/node/identity"
	"gemel/node/replicator/control"
)

// Caller is who asks. The server has checked it before a Handler sees it.
type Caller struct {
	identity.Peer        // zero when Local
	Local         bool   // over the unix socket: root of this box
	Remote        string // address for logs
}

// Handler answers requests. An *Error reaches the caller as it is; any other
// error becomes one with the code CodeFailed, for orders CodeRefused. ctx ends
// with the route's time limit or with the connection.
type Handler interface {
	// Beat takes the heartbeat of the peer and returns one of our own. The
	// server has checked that its number is new.
	Beat(ctx context.Context, from Caller, b Beat) (Beat, error)

	// Votes come from data nodes only, for epochs that they own; see ballot.Caster.
	Votes(ctx context.Context, from Caller, votes []ballot.Vote, answer ballot.Answer) error

	// HandOver is the peer's word that a volume is free for this node.
	HandOver(ctx context.Context, from Caller, h HandOver) error

	// Reboot is the peer's request that this box reboots itself. The server has checked that the reign in whose name it
	// comes is the caller's own.
	Reboot(ctx context.Context, from Caller, o RebootOrder) error

	// Clients is the Primary's word on who is connected to a volume's addresses.
	Clients(ctx context.Context, from Caller, m Clients) (ClientsTaken, error)

	Status(ctx context.Context, from Caller) (Status, error)
	// Events returns the events numbered from and above; when there are none it
	// waits for one until ctx ends, and then returns an empty page, not an error.
	Events(ctx context.Context, from Caller, since uint64) (EventPage, error)

	// History returns what is kept on disk.
	History(ctx context.Context, from Caller, q HistoryQuery) (HistoryPage, error)

	// WhatIf rehearses a failure; Stage is this node's part of the peer's rehearsal.
	WhatIf(ctx context.Context, from Caller, q WhatIfQuery) ([]WhatIf, error)
	Stage(ctx context.Context, from Caller) (Stage, error)

	// Switchover and Grab return when the order is carried out or refused. An
	// order whose caller has the role node was forwarded by the peer's agent.
	Switchover(ctx context.Context, from Caller, o Order) error
	Grab(ctx context.Context, from Caller, o Order) error
	CreateVolume(ctx context.Context, from Caller, req control.CreateRequest) error
	Connect(ctx context.Context, from Caller, req control.ConnectRequest) error
	// Protocol changes a volume's protocol on both nodes; when the peer's agent
	// forwarded it, on this one.
	Protocol(ctx context.Context, from Caller, req control.ProtocolRequest) error
	// Verify and Resync go to the Primary, whichever node is asked.
	Verify(ctx context.Context, from Caller, req control.VerifyRequest) error
	Resync(ctx context.Context, from Caller, req control.ResyncRequest) error
	// Resize makes a volume larger; it goes to the Primary as well, and returns once
	// that is under way.
	Resize(ctx context.Context, from Caller, req control.GrowRequest) error
	// Outdate marks this node's replica as out of date by hand, or takes that back.
	Outdate(ctx context.Context, from Caller, req control.OutdateRequest) error
	// GiveUp lets this node's replica be overwritten by the peer's.
	GiveUp(ctx context.Context, from Caller, req control.GiveUpRequest) error
	// Drill switches volumes over if all is well, and tells what became of it.
	Drill(ctx context.Context, from Caller, o DrillOrder) ([]Drill, error)
	// Maintenance turns the watching mode of the pair on or off; Standby puts this node
	// on standby or ends that, and returns when its volumes are with the other node.
	Maintenance(ctx context.Context, from Caller, o MaintenanceOrder) (MaintenanceReply, error)
	Standby(ctx context.Context, from Caller, o StandbyOrder) (StandbyReply, error)
	// Fence looks at or switches the power of this node's peer, and returns when that is proved.
	Fence(ctx context.Context, from Caller, o FenceOrder) (Fencing, error)
}

// HandOver tells that the sender has let Volume go, cleanly, at the end of Epoch.
type HandOver struct {
	Volume string        `json:"volume"`
	Epoch  arbiter.Epoch `json:"epoch"`
}

// Clients tells what changed of the TCP connections to a volume's addresses.
type Clients struct {
	Volume string `json:"volume"`
	Boot   string `json:"boot"` // names a start of the sender's agent
	Seq    uint64 `json:"seq"`  // grows by one with each message of the volume
	// Whole: forget all that was told before. A message that is not whole counts only
	// after the one before it.
	Whole bool         `json:"whole,omitempty"`
	Add   []Connection `json:"add,omitempty"` // with Gone at most MaxClients
	Gone  []Connection `json:"gone,omitempty"`
}

// MaxClients bounds the connections in one message: some KiB.
const MaxClients = 100

// Connection is one TCP connection of a client.
type Connection struct {
	Address netip.AddrPort `json:"address"` // of the volume
	Client  netip.AddrPort `json:"client"`
}

// ClientsTaken answers Clients.
type ClientsTaken struct {
	// Seq is the number up to which all messages of this start were taken in; 0: none,
	// the next one has to be whole.
	Seq uint64 `json:"seq"`
}

// Order is an operator's command on one volume.
type Order struct {
	Volume string `json:"volume"`
	// Stale, for Grab: also take over with data that is known not to be current.
	Stale bool `json:"stale,omitempty"`
}

// EventPage is a run of events, oldest first.
type EventPage struct {
	Events []event.Event `json:"events"`
	Next   uint64        `json:"next"` // number to ask for next time
}

// Paths. All are POST with a JSON body except PathStatus and PathEvents (GET).
const (
	PathBeat       = "/v1/beat"
	PathVotes      = "/v1/votes" // []ballot.Vote → a line of JSON per answer, as they come; see ballot.Write
	PathHandOver   = "/v1/handover"
	PathClients    = "/v1/clients"
	PathReboot     = "/v1/reboot"
	PathStatus     = "/v1/status"
	PathEvents     = "/v1/events" // ?since=N&wait=MILLISECONDS
	PathSwitchover = "/v1/order/switchover"
	PathGrab       = "/v1/order/grab"
	PathCreate     = "/v1/volume/create"
	PathConnect    = "/v1/volume/connect"
	PathProtocol   = "/v1/volume/protocol"
	PathVerify     = "/v1/volume/verify"
	PathResync     = "/v1/volume/resync"
	PathResize     = "/v1/volume/resize"
	PathOutdate    = "/v1/volume/outdate"
	PathGiveUp     = "/v1/volume/give-up"
	PathFence      = "/v1/order/fence"
)

// Limits of a body in bytes. Replies may be larger: a status holds every volume.
const (
	MaxRequest = 64 << 10
	MaxReply   = 4 << 20
)

// Unsupported refuses everything. A Handler that does not answer all requests
// embeds it.
type Unsupported struct{}

var errUnsupported = &Error{Code: CodeUnsupported, Message: "this daemon does not do that; ask the agent of a data node"}

// Beat refuses.
func (Unsupported) Beat(context.Context, Caller, Beat) (Beat, error) { return Beat{}, errUnsupported }

// Votes refuses.
func (Unsupported) Votes(context.Context, Caller, []ballot.Vote, ballot.Answer) error {
	return errUnsupported
}

// HandOver refuses.
func (Unsupported) HandOver(context.Context, Caller, HandOver) error { return errUnsupported }

// Reboot refuses.
func (Unsupported) Reboot(context.Context, Caller, RebootOrder) error { return errUnsupported }

// Clients refuses.
func (Unsupported) Clients(context.Context, Caller, Clients) (ClientsTaken, error) {
	return ClientsTaken{}, errUnsupported
}

// Status refuses.
func (Unsupported) Status(context.Context, Caller) (Status, error) { return Status{}, errUnsupported }

// Events refuses.
func (Unsupported) Events(context.Context, Caller, uint64) (EventPage, error) {
	return EventPage{}, errUnsupported
}

// Fence refuses.
func (Unsupported) Fence(context.Context, Caller, FenceOrder) (Fencing, error) {
	return Fencing{}, errUnsupported
}

// Switchover refuses.
func (Unsupported) Switchover(context.Context, Caller, Order) error { return errUnsupported }

// Grab refuses.
func (Unsupported) Grab(context.Context, Caller, Order) error { return errUnsupported }

// CreateVolume refuses.
func (Unsupported) CreateVolume(context.Context, Caller, control.CreateRequest) error {
	return errUnsupported
}

// Connect refuses.
func (Unsupported) Connect(context.Context, Caller, control.ConnectRequest) error {
	return errUnsupported
}

// Protocol refuses.
func (Unsupported) Protocol(context.Context, Caller, control.ProtocolRequest) error {
	return errUnsupported
}

// Resize refuses.
func (Unsupported) Resize(context.Context, Caller, control.GrowRequest) error { return errUnsupported }

// Outdate refuses.
func (Unsupported) Outdate(context.Context, Caller, control.OutdateRequest) error {
	return errUnsupported
}

// GiveUp refuses.
func (Unsupported) GiveUp(context.Context, Caller, control.GiveUpRequest) error {
	return errUnsupported
}

// Verify refuses.
func (Unsupported) Verify(context.Context, Caller, control.VerifyRequest) error {
	return errUnsupported
}

// Resync refuses.
func (Unsupported) Resync(context.Context, Caller, control.ResyncRequest) error {
	return errUnsupported
}
