package api

import "time"

// Fencing is what a node knows of the other node's power.
type Fencing struct {
	Node     string        `json:"node"`     // whose power it is
	Required bool          `json:"required"` // no take-over without a proof
	Devices  []FenceDevice `json:"devices"`
	Looked   time.Time     `json:"looked,omitzero"`
	Proof    string        `json:"proof,omitempty"` // of the newest shot
	Proved   time.Time     `json:"proved,omitzero"`
	LeftOff  string        `json:"left_off,omitempty"` // why it was not switched on again
}

// FenceDevice is one device as of the last look.
type FenceDevice struct {
	Name    string `json:"name"`
	Power   string `json:"power"`
	Problem string `json:"problem,omitempty"` // why it would fail; empty: it is fit
}

// FenceOrder is an operator's command on the power of Node, the called node's peer.
type FenceOrder struct {
	Node string `json:"node"`
	Do   string `json:"do"` // FenceProbe, FenceOff or FenceOn
	// Stay, with FenceOff: it is not switched on again by itself.
	Stay bool `json:"stay,omitempty"`
}

// What a FenceOrder does.
const (
	FenceProbe = "probe" // look at the devices
	FenceOff   = "off"   // cut the power and prove it
	FenceOn    = "on"
)
