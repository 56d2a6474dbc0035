// Package bmc is the power control of a lab's box: a small Redfish service that a
// fencing driver made for real boxes can use without knowing that it is in a lab. It can
// fail, lie and be slow, as such services do on the day they are needed.
//
// It serves one ComputerSystem and sessions, nothing else of Redfish: no sensors, no
// media, no console. What power is, its Machine knows.
package bmc

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Machine is the power of one box.
type Machine interface {
	On(ctx context.Context) (bool, error)
	PowerOn(ctx context.Context) error
	PowerOff(ctx context.Context) error // at once, as a pulled plug
}

// Faults are what is wrong with a power control. The zero value is a good one.
type Faults struct {
	Fail bool          `json:"fail,omitempty"` // orders are refused with an error
	Lie  bool          `json:"lie,omitempty"`  // orders to switch off are confirmed, and not done
	Slow time.Duration `json:"slow,omitempty"` // before every answer
}

// String tells what is wrong.
func (f Faults) String() string {
	var words []string
	if f.Fail {
		words = append(words, "fails")
	}
	if f.Lie {
		words = append(words, "lies")
	}
	if f.Slow > 0 {
		words = append(words, fmt.Sprintf("slow by %v", f.Slow))
	}
	if len(words) == 0 {
		return "good"
	}
	return strings.Join(words, ", ")
}

// Power states, as Redfish calls them.
const (
	stateOn         = "On"
	stateOff        = "Off"
	statePoweringOn = "PoweringOn"
)

// Kinds of reset, as Redfish calls them.
const (
	resetOn      = "On"
	resetOff     = "ForceOff"
	resetRestart = "ForceRestart"
	resetCycle   = "PowerCycle"
)

var resets = []string{resetOn, resetOff, resetRestart, resetCycle}

// power is the box as its power control sees it, or says that it sees it.
type power struct {
	machine Machine
	boot    time.Duration

	orders sync.Mutex // one order at a time
	mu     sync.Mutex
	claim  string // what is said instead of the truth; empty: the truth
	later  sync.WaitGroup
}

func (p *power) claimed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.claim
}

// confess ends the lie of a power control that was mended.
func (p *power) confess() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claim == stateOff {
		p.claim = ""
	}
}

func (p *power) setClaim(claim string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claim = claim
}

func (p *power) state(ctx context.Context, faults Faults) (string, error) {
	if !faults.Lie {
		p.confess()
	}
	if claim := p.claimed(); claim != "" {
		return claim, nil
	}
	on, err := p.machine.On(ctx)
	if err != nil {
		return "", err
	}
	if on {
		return stateOn, nil
	}
	return stateOff, nil
}

// reset carries an order out. Restarts return when the power is off; life is the
// context of the rest.
func (p *power) reset(ctx, life context.Context, kind string, faults Faults) error {
	p.orders.Lock()
	defer p.orders.Unlock()
	switch kind {
	case resetOn:
		p.setClaim("")
		return p.machine.PowerOn(ctx)
	case resetOff:
		if faults.Lie {
			p.setClaim(stateOff)
			return nil
		}
		p.setClaim("")
		return p.machine.PowerOff(ctx)
	}
	if faults.Lie {
		p.setClaim("")
		return nil
	}
	if err := p.machine.PowerOff(ctx); err != nil {
		return err
	}
	p.setClaim(statePoweringOn)
	p.later.Go(func() { p.comeBack(life) })
	return nil
}

// comeBack switches a box on again once it has booted. A newer order comes first.
func (p *power) comeBack(life context.Context) {
	timer := time.NewTimer(p.boot)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-life.Done():
	}
	p.orders.Lock()
	defer p.orders.Unlock()
	if p.claimed() != statePoweringOn {
		return
	}
	p.setClaim("")
	// There is nobody left to tell: who asks for the state hears that it is off.
	_ = p.machine.PowerOn(context.WithoutCancel(life))
}
