// Package fencing is the door for drivers that power the peer off before this
// box takes over. A driver must prove that the peer is off: an accepted command
// is no proof. This package holds no driver of its own but None, for pairs
// without one; there the lease and the witness alone keep two boxes from
// serving at once.
package fencing

import (
	"context"
	"errors"
	"time"
)

// Power is what a driver knows of the peer's power.
type Power string

// The states of a peer's power.
const (
	On      Power = "on"
	Off     Power = "off"
	Unknown Power = "unknown" // the driver cannot tell; never taken for Off
)

// Proof says how it is known that the peer is off.
type Proof struct {
	Driver string    // name of the driver
	Method string    // what was asked and answered, in words
	At     time.Time // when the answer came
}

// Verified reports whether the proof says anything; the zero Proof does not.
func (p Proof) Verified() bool { return p.Driver != "" && p.Method != "" }

// Driver powers one peer off. Methods end soon after ctx does.
type Driver interface {
	Name() string
	// Off powers the peer off and returns a verified proof. An error means
	// that the peer may be running.
	Off(ctx context.Context) (Proof, error)
	// Status asks for the peer's power without changing it.
	Status(ctx context.Context) (Power, error)
}

// ErrNone: no driver is configured, so nothing can be proved.
var ErrNone = errors.New("no fencing driver is configured; " +
	"without one only the lease and the witness end the peer's reign")

// None is the Driver of a pair without fencing.
type None struct{}

// Name returns "none".
func (None) Name() string { return "none" }

// Off always fails with ErrNone.
func (None) Off(context.Context) (Proof, error) { return Proof{}, ErrNone }

// Status always answers Unknown.
func (None) Status(context.Context) (Power, error) { return Unknown, nil }
