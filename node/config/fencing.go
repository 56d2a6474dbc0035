package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"
)

// Fencing says when a node's power is cut and what follows; how is said with the node that is to be cut.
type Fencing struct {
	Required bool          `mapstructure:"required"` // no take-over without a proof
	Wait     time.Duration `mapstructure:"wait"`     // for the proof, when it is not required
	Delay    time.Duration `mapstructure:"delay"`    // without a third voter: how much longer than a Primary a Secondary waits
	Timeout  time.Duration `mapstructure:"timeout"`  // one device, order and proof together
	Restore  bool          `mapstructure:"restore"`  // switch the node on again after a proof
	Probe    time.Duration `mapstructure:"probe"`    // between looks at the devices; 0: none
	StandIn  time.Duration `mapstructure:"stand-in"` // silence of the third voter before fencing decides in its place; 0: never
}

// FenceDevice is one way to cut a node's power.
type FenceDevice struct {
	Driver       string   `mapstructure:"driver"`        // one of FenceDrivers
	Address      string   `mapstructure:"address"`       // redfish: URL; ipmi: IP address
	Port         int      `mapstructure:"port"`          // ipmi; 0: 623
	User         string   `mapstructure:"user"`          // redfish, ipmi
	PasswordFile string   `mapstructure:"password-file"` // redfish, ipmi: its first line
	CA           string   `mapstructure:"ca"`            // redfish: file of certificates in PEM
	Insecure     bool     `mapstructure:"insecure"`      // redfish: take any certificate
	System       string   `mapstructure:"system"`        // redfish: which one, where a controller has several
	Command      []string `mapstructure:"command"`       // command: program and first arguments; peer-reboot: all of it
	// Device is the node's own watchdog; Timeout is asked of it, 0: WatchdogLongest.
	Device  string        `mapstructure:"device"`
	Timeout time.Duration `mapstructure:"timeout"`
}

// Drivers of fencing devices.
const (
	FenceRedfish = "redfish"
	FenceIPMI    = "ipmi"
	FenceCommand = "command"
	// FenceWatchdog is the node's own: it resets the node, and proves nothing to the other one.
	FenceWatchdog = "watchdog"
	// FencePeerReboot: the node reboots itself when the other one asks for it, which proves nothing either.
	FencePeerReboot = "peer-reboot"
)

// WatchdogPing is the time between two pings of a watchdog.
const WatchdogPing = 250 * time.Millisecond

// FenceDrivers lists what a device's driver may be.
func FenceDrivers() []string {
	return []string{FenceRedfish, FenceIPMI, FenceCommand, FenceWatchdog, FencePeerReboot}
}

// Proves reports whether the driver can prove to the other node that this one is off.
func (d *FenceDevice) Proves() bool {
	return d.Driver == FenceRedfish || d.Driver == FenceIPMI || d.Driver == FenceCommand
}

// Proofs are the node's devices that can prove to the other node that it is off.
func (n *Node) Proofs() (devices []FenceDevice) {
	for i := range n.Fence {
		if n.Fence[i].Proves() {
			devices = append(devices, n.Fence[i])
		}
	}
	return devices
}

// Watchdog is the node's own watchdog; nil: none is configured.
func (n *Node) Watchdog() *FenceDevice { return n.fencedBy(FenceWatchdog) }

// PeerReboot says that the node reboots itself when the other one asks for it; nil: it does not.
func (n *Node) PeerReboot() *FenceDevice { return n.fencedBy(FencePeerReboot) }

func (n *Node) fencedBy(driver string) *FenceDevice {
	for i := range n.Fence {
		if n.Fence[i].Driver == driver {
			return &n.Fence[i]
		}
	}
	return nil
}

// WatchdogLongest is the longest timeout of a watchdog, in whole seconds, with which a node whose lease was renewed until
// its agent stopped moving is reset before that lease is over: the lease as its holder counts it, less the age that a
// renewal may have, less that of the last ping.
func (t *Timing) WatchdogLongest() time.Duration {
	return (t.Lease - t.Lease/50 - t.Renew - WatchdogPing).Truncate(time.Second)
}

// Fenced reports whether each node has a device that can cut it and prove that.
func (c *Config) Fenced() bool {
	return len(c.Nodes) == 2 && len(c.Nodes[0].Proofs()) > 0 && len(c.Nodes[1].Proofs()) > 0
}

func checkFencing(c *Config, r *reader) {
	if f := c.Fencing; f.Timeout < time.Second {
		r.mistake("fencing.timeout", "%v is too short for a box to lose its power; at least 1s", f.Timeout)
	}
	if d := c.Fencing.Delay; d < time.Second || d > time.Minute {
		r.mistake("fencing.delay", "%v is out of range; 1s to 1m", d)
	}
	if d := c.Fencing.StandIn; d != 0 && (d < time.Second || d > time.Hour) {
		r.mistake("fencing.stand-in", "%v is out of range; 1s to 1h, or 0 for never", d)
	}
	for i, n := range c.Nodes {
		for j, d := range n.Fence {
			checkDevice(d, fmt.Sprintf("nodes[%d].fence[%d]", i, j), r)
		}
		checkWatchdog(c, i, r)
	}
	if c.Fencing.Required && !c.Fenced() {
		r.mistake("fencing.required", "a node has no device under nodes[].fence that proves anything, so no take-over could ever prove "+
			"that it is off; give both nodes one, or leave this out")
	}
}

func checkDevice(d FenceDevice, path string, r *reader) {
	if !slices.Contains(FenceDrivers(), d.Driver) {
		r.mistake(path+".driver", "there is no driver %q; write one of %v", d.Driver, FenceDrivers())
		return
	}
	if d.Driver == FenceWatchdog {
		r.absolute(path+".device", d.Device)
		return
	}
	if d.Driver == FencePeerReboot {
		if len(d.Command) > 0 {
			r.absolute(path+".command", d.Command[0])
		}
		return
	}
	if d.Driver == FenceCommand {
		if len(d.Command) == 0 {
			r.mistake(path+".command", "missing; give the program that switches the power")
		} else {
			r.absolute(path+".command", d.Command[0])
		}
		return
	}
	if d.User == "" || d.PasswordFile == "" {
		r.mistake(path+".user", "missing; %s needs user and password-file", d.Driver)
	}
	r.absolute(path+".password-file", d.PasswordFile)
	r.absolute(path+".ca", d.CA)
	checkController(d, path+".address", r)
}

func checkWatchdog(c *Config, node int, r *reader) {
	found := 0
	for j, d := range c.Nodes[node].Fence {
		if d.Driver != FenceWatchdog {
			continue
		}
		path := fmt.Sprintf("nodes[%d].fence[%d].", node, j)
		if found++; found > 1 {
			r.mistake(path+"driver", "a node has one watchdog at most")
		}
		switch longest := c.Timing.WatchdogLongest(); {
		case longest < time.Second:
			r.mistake(path+"driver", "timing.lease (%v) is too short for a watchdog, whose shortest timeout is 1s: the peer would take over "+
				"before the node is reset; make the lease %v or longer, or leave the watchdog out", c.Timing.Lease, c.Timing.leaseFor(time.Second))
		case d.Timeout > longest:
			r.mistake(path+"timeout", "%v is more than the lease allows (%v): the peer would take over before the node is reset; make "+
				"timing.lease %v or longer", d.Timeout, longest, c.Timing.leaseFor(d.Timeout))
		case d.Timeout%time.Second != 0:
			r.mistake(path+"timeout", "%v is not a number of whole seconds, and a watchdog knows no others", d.Timeout)
		}
	}
}

// leaseFor is a lease that allows a watchdog's timeout, in tenths of a second.
func (t *Timing) leaseFor(timeout time.Duration) time.Duration {
	exact := (timeout + t.Renew + WatchdogPing) * 50 / 49
	return exact.Truncate(100*time.Millisecond) + 100*time.Millisecond
}

func checkController(d FenceDevice, path string, r *reader) {
	if d.Driver == FenceIPMI {
		if _, err := netip.ParseAddr(d.Address); err != nil {
			r.mistake(path, "%q is not an IP address; give the controller's, such as 192.0.2.7", d.Address)
		}
		return
	}
	if u, err := url.Parse(d.Address); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		r.mistake(path, "%q is not the address of a Redfish service; write it like https://192.0.2.7", d.Address)
	}
}
