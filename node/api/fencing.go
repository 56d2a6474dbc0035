package api

import (
	"time"

	"gemel/node/arbiter"
)

// Fencing is what a node knows of the other node's power.
type Fencing struct {
	Node     string        `json:"node"`     // whose power it is
	Required bool          `json:"required"` // no take-over without a proof
	Devices  []FenceDevice `json:"devices"`
	Looked   time.Time     `json:"looked,omitzero"`
	Proof    string        `json:"proof,omitempty"` // of the newest shot
	Proved   time.Time     `json:"proved,omitzero"`
	LeftOff  string        `json:"left_off,omitempty"` // why it was not switched on again
	// Reboot is nil where the peer is not asked to reboot itself.
	Reboot *FenceReboot `json:"reboot,omitempty"`
}

// FenceDevice is one device as of the last look.
type FenceDevice struct {
	Name    string `json:"name"`
	Power   string `json:"power"`
	Problem string `json:"problem,omitempty"` // why it would fail; empty: it is fit
}

// FenceReboot is what is known of the peer's readiness to reboot itself when it is asked. It never proves anything.
type FenceReboot struct {
	Looked  time.Time `json:"looked,omitzero"`
	Problem string    `json:"problem,omitempty"` // why it would not; empty: it would
	Asked   time.Time `json:"asked,omitzero"`    // in earnest, the last time
	Answer  string    `json:"answer,omitempty"`  // why it did not; empty: it said that it does
}

// RebootOrder asks the called box to reboot itself at once.
type RebootOrder struct {
	// Boot is the start of the called box's agent that is meant: a request that comes late finds another one.
	Boot string `json:"boot"`
	// The caller was elected for Volume in Epoch.
	Volume string        `json:"volume,omitempty"`
	Epoch  arbiter.Epoch `json:"epoch,omitempty"`
	ByHand bool          `json:"by_hand,omitempty"` // an operator wants it, whoever reigns
	Try    bool          `json:"try,omitempty"`     // only say whether it would
	Why    string        `json:"why"`
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
	Do   string `json:"do"` // FenceProbe, FenceOff, FenceOn or FenceReboots
	// Stay, with FenceOff: it is not switched on again by itself.
	Stay bool `json:"stay,omitempty"`
}

// What a FenceOrder does.
const (
	FenceProbe   = "probe" // look at the devices
	FenceOff     = "off"   // cut the power and prove it
	FenceOn      = "on"
	FenceReboots = "reboot" // ask it to reboot itself
)
