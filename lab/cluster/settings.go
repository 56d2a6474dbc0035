package cluster

import (
	"fmt"
	"slices"
)

// Fencing says whether the servers' configuration names their power controls as
// fencing devices.
type Fencing string

// What Fencing may be. The empty value is FencingOff's.
const (
	FencingOff      Fencing = "off"
	FencingOn       Fencing = "on"       // a take-over waits for the proof, and goes on without it
	FencingRequired Fencing = "required" // no take-over without the proof
)

// NoWitness as the network of the third voter is a pair without one. Its boxes are there all the same.
const NoWitness = "none"

// Settings are what of a lab's configuration may change while it is up.
type Settings struct {
	Fencing   Fencing // empty: off
	WitnessOn string  // switch over which the third voter is reached, or NoWitness; empty: the LAN
}

func (s Settings) check() error {
	if !slices.Contains([]string{"", LAN, Management, NoWitness}, s.WitnessOn) {
		return fmt.Errorf("witness on %q: %w; it is on lan, on mgmt or none", s.WitnessOn, ErrNoCable)
	}
	if !slices.Contains([]Fencing{"", FencingOff, FencingOn, FencingRequired}, s.Fencing) {
		return fmt.Errorf("fencing %q: %w; it is off, on or required", s.Fencing, ErrNoSetting)
	}
	return nil
}

// Settings returns what may change of the lab's configuration, as it is now.
func (c *Cluster) Settings() (Settings, error) {
	state, err := loadState(c.dir)
	if err != nil {
		return Settings{}, err
	}
	return state.settings(), nil
}

func (s *State) settings() Settings {
	now := Settings{Fencing: s.Fencing, WitnessOn: s.WitnessOn}
	if now.Fencing == "" {
		now.Fencing = FencingOff
	}
	if now.WitnessOn == "" {
		now.WitnessOn = LAN
	}
	return now
}

// Reconfigure writes the configuration of every box anew. An agent reads it at its next
// start, see RestartProcess.
func (c *Cluster) Reconfigure(to Settings) error {
	if err := to.check(); err != nil {
		return fmt.Errorf("reconfigure lab %s: %w", c.lab, err)
	}
	var written error
	err := changeState(c.dir, func(s *State) {
		s.Fencing, s.WitnessOn = to.Fencing, to.WitnessOn
		written = writeConfig(c.lab, s)
	})
	if err == nil {
		err = written
	}
	if err != nil {
		return fmt.Errorf("reconfigure lab %s: %w", c.lab, err)
	}
	c.Note("reconfigure", "Fencing is %s and the witness is on %s in the boxes' configuration.", to.Fencing, to.WitnessOn)
	return nil
}
