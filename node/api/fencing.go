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

// Watchdog is a box's own watchdog, which resets it when its agent hangs.
type Watchdog struct {
	Device  string        `json:"device"`
	Driver  string        `json:"driver,omitempty"`
	State   string        `json:"state"` // one of the Watchdog… words
	Problem string        `json:"problem,omitempty"`
	Asked   time.Duration `json:"timeout_asked_ns"`
	Granted time.Duration `json:"timeout_ns,omitempty"` // as read back
	Longest time.Duration `json:"timeout_longest_ns"`   // that the lease allows
	// StopsWithAgent: its driver stops it when the agent dies, so that only a hang is caught.
	StopsWithAgent bool `json:"stops_with_agent,omitempty"`
	NoWayOut       bool `json:"no_way_out,omitempty"`   // once it runs it cannot be stopped
	ResetBefore    bool `json:"reset_before,omitempty"` // the box's last reset came from it
}

// States of a Watchdog.
const (
	WatchdogIdle     = "idle"     // does not run: nothing is held that the peer could take over
	WatchdogArmed    = "armed"    // runs and is pinged
	WatchdogKept     = "kept"     // runs and is pinged only because it cannot be stopped
	WatchdogStarving = "starving" // is not pinged: the box is reset soon
	WatchdogUnfit    = "unfit"    // could not run
)

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
