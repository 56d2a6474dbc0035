// Package service says what a service is to the course of action: something
// that starts, is ready, stops, and can be killed. It is not a supervisor;
// drivers are packages below this one (exec supervises a child process).
package service

import (
	"context"
	"errors"
	"time"
)

// Phases of a service, as shown to users.
const (
	Stopped  = "stopped"
	Starting = "starting"
	Running  = "running"
	Failed   = "failed" // ended more often than its budget of restarts allows
)

// State is what is known of a service.
type State struct {
	Phase    string
	PID      int       // of the main process; zero when there is none
	Restarts int       // since Start
	Reason   string    // why it failed or was last restarted, in words
	Since    time.Time // when the phase began
	Warning  string    // what is wrong with how it is set up on this box; empty: nothing
}

// ErrNotReady: the service was started and did not become ready in time. It
// has been stopped again.
var ErrNotReady = errors.New("service did not become ready")

// Driver runs one service. Every method is idempotent, returns soon after its
// ctx ends, and is safe for concurrent use.
type Driver interface {
	Name() string
	// Start returns when the service is ready. One that runs already, started
	// by an earlier life of the agent, is adopted as it is.
	Start(ctx context.Context) error
	// Stop asks the service to end, insists after its stop wait, and returns
	// when nothing of it runs any more.
	Stop(ctx context.Context) error
	// Kill ends the service without asking, and also what an earlier life of
	// the agent left of it.
	Kill(ctx context.Context) error
	State() State
	// Release stops supervising and leaves the service running, for the
	// agent's own restart.
	Release()
}
