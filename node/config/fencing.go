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
	Command      []string `mapstructure:"command"`       // command: program and first arguments
}

// Drivers of fencing devices.
const (
	FenceRedfish = "redfish"
	FenceIPMI    = "ipmi"
	FenceCommand = "command"
)

// FenceDrivers lists what a device's driver may be.
func FenceDrivers() []string { return []string{FenceRedfish, FenceIPMI, FenceCommand} }

// Fenced reports whether each node has a device that can cut it.
func (c *Config) Fenced() bool {
	return len(c.Nodes) == 2 && len(c.Nodes[0].Fence) > 0 && len(c.Nodes[1].Fence) > 0
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
	}
	if c.Fencing.Required && !c.Fenced() {
		r.mistake("fencing.required", "a node has no device under nodes[].fence, so no take-over could ever prove "+
			"that it is off; give both nodes one, or leave this out")
	}
}

func checkDevice(d FenceDevice, path string, r *reader) {
	if !slices.Contains(FenceDrivers(), d.Driver) {
		r.mistake(path+".driver", "there is no driver %q; write one of %v", d.Driver, FenceDrivers())
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
