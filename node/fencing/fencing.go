// Package fencing powers the peer off and proves it. A device (see the rooms redfish, ipmi and command) carries
// out orders and tells the power's state; a Peer is one node with all devices that can switch it, and takes only a
// state that was read back for a proof: an accepted order is none. This package does not decide when to shoot, and
// does not know who votes: node/failover and node/agent do.
package fencing

import (
	"context"
	"errors"
	"time"
)

// Power is what a device knows of a node's power.
type Power string

// The states of a node's power.
const (
	On      Power = "on"
	Off     Power = "off"
	Unknown Power = "unknown" // the device cannot tell; never taken for Off
)

// Proof says how it is known that the peer is off.
type Proof struct {
	Driver string    // name of the device
	Method string    // what was asked and answered, in words
	At     time.Time // when the last answer came
}

// Verified reports whether the proof says anything; the zero Proof does not.
func (p Proof) Verified() bool { return p.Driver != "" && p.Method != "" }

// Device switches one node's power and tells its state. Methods end soon after ctx does. An order that returns nil
// was accepted, no more; whether it was carried out is for Status to say.
type Device interface {
	// Name is the device in words, such as "redfish 192.0.2.7".
	Name() string
	// Status asks for the power without changing it.
	Status(ctx context.Context) (Power, error)
	// PowerOff orders the power cut at once, without asking the operating system.
	PowerOff(ctx context.Context) error
	// PowerOn orders the power on.
	PowerOn(ctx context.Context) error
}

// Driver powers one peer off. Methods end soon after ctx does.
type Driver interface {
	Name() string
	// Off powers the peer off and returns a verified proof. An error means
	// that the peer may be running.
	Off(ctx context.Context) (Proof, error)
	// Status asks for the peer's power without changing it.
	Status(ctx context.Context) (Power, error)
}

// Errors that callers decide on.
var (
	// ErrNone: no device is configured, so nothing can be proved.
	ErrNone = errors.New("no fencing device is configured; " +
		"without one only the lease and the witness end the peer's reign")
	// ErrAlive: a device says off while the node still speaks.
	ErrAlive = errors.New("the node still sends heartbeats although its power is reported as off")
	// ErrDistrusted: a device that was caught lying says off of a node that was silent anyhow.
	ErrDistrusted = errors.New("it says off, and its word proves nothing: it was caught lying, and the node was silent before " +
		"the order; `gemel fence test` clears this when it tells the truth again")
	// ErrUnproved: no device proved that the node is off.
	ErrUnproved = errors.New("no fencing device proved that the node is off")
)

// None is the Driver of a pair without fencing.
type None struct{}

// Name returns "none".
func (None) Name() string { return "none" }

// Off always fails with ErrNone.
func (None) Off(context.Context) (Proof, error) { return Proof{}, ErrNone }

// Status always answers Unknown.
func (None) Status(context.Context) (Power, error) { return Unknown, nil }
