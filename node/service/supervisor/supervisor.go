// Package supervisor keeps one service running: it waits until it is ready, starts it
// again when it ends or does not answer, and gives up when that happens too often.
// What the service is, a child process or a unit of systemd, is the business of its
// Body. It is not a driver by itself; drivers are a Body and a Supervisor.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"gemel/node/service"
	"gemel/node/service/health"
)

// Body is what is supervised. No two of its methods are called at the same time, but
// for Explain; a Life's are beside them.
type Body interface {
	// Begin returns a life of the service: one that an earlier supervisor left
	// running, or a new one. It need not be ready yet.
	Begin(ctx context.Context) (Life, error)
	// Again replaces last, which ended or does not answer any more.
	Again(ctx context.Context, last Life) (Life, error)
	// End ends all that runs of the service, whoever started it, and forgets it. It asks
	// and waits for so long first; zero: it kills at once.
	End(ctx context.Context, polite time.Duration) error
	// Explain adds to why a life ended what the service itself said.
	Explain(why string) string
}

// Life is one run of a service.
type Life interface {
	PID() int // of the main process; zero when there is none
	// Ready says what is missing; nil: nothing. The health check is not its business.
	Ready(ctx context.Context) error
	// Wait returns how the life ended, in words, or nothing when ctx ended. It is called
	// once, beside other methods.
	Wait(ctx context.Context) string
}

// Options say how a service is kept running.
type Options struct {
	Volume, Name string // path elements; together unique on a box
	// Health is looked at while the service runs; one that does not answer is
	// killed and started again. It is not ready before a look has succeeded.
	Health    health.Check
	StartWait time.Duration // until ready; zero: 15 s
	StopWait  time.Duration // until SIGKILL; zero: 10 s
	// Restarts within RestartsIn before the service counts as failed.
	Restarts   int
	RestartsIn time.Duration
	// Hold is called before a restart, and returns when it may go ahead; an error means
	// that ctx ended. nil: at once.
	Hold func(ctx context.Context) error
	// OnFailed is told once when the budget of restarts is used up, on the
	// supervisor's goroutine; it must not call Start, Stop, Kill or Release.
	OnFailed func(service.State)
}

// Element refuses a name that cannot be part of a path.
func (o *Options) Element(names ...string) error {
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, "/ \x00") || name[0] == '.' {
			return fmt.Errorf("service %s: %q is no path element", o.ID(), name)
		}
	}
	return nil
}

// ID names the service on its box.
func (o *Options) ID() string { return o.Volume + "/" + o.Name }

func (o *Options) complete() {
	if o.StartWait <= 0 {
		o.StartWait = defaultStartWait
	}
	if o.OnFailed == nil {
		o.OnFailed = func(service.State) {}
	}
	o.Health = o.Health.WithDefaults()
}

// politeShare is the part of the time left that a service gets to end by itself.
const politeShare = 0.75

const (
	defaultStartWait = 15 * time.Second
	defaultStopWait  = 10 * time.Second
)

// Patience is how long a service is waited for before it is killed: StopWait,
// but not so long that no time would be left for that.
func (o *Options) Patience(ctx context.Context) time.Duration {
	wait := o.StopWait
	if wait <= 0 {
		wait = defaultStopWait
	}
	if until, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Duration(politeShare*float64(time.Until(until))))
	}
	return max(wait, time.Nanosecond) // it is asked all the same
}

// Supervisor keeps a Body running.
type Supervisor struct {
	opts Options
	body Body

	op     sync.Mutex // Start, Stop, Kill and Release, one at a time
	cancel context.CancelFunc
	wg     sync.WaitGroup // the loop, and who waits for the end of lives

	mu    sync.Mutex
	state service.State
}

// New checks the options; nothing is started.
func New(o Options, body Body) (*Supervisor, error) {
	if err := o.Element(o.Volume, o.Name); err != nil {
		return nil, err
	}
	o.complete()
	s := &Supervisor{opts: o, body: body}
	s.enter(service.Stopped, 0, "")
	return s, nil
}

// Name returns the service's name.
func (s *Supervisor) Name() string { return s.opts.Name }

// State returns what is known of the service.
func (s *Supervisor) State() service.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Warn notes what is wrong with how the service is set up on this box; empty: nothing.
func (s *Supervisor) Warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Warning = text
}

func (s *Supervisor) enter(phase string, pid int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Phase, s.state.PID, s.state.Reason, s.state.Since = phase, pid, reason, time.Now()
}

// Start returns when the service is ready. One that runs already is adopted.
func (s *Supervisor) Start(ctx context.Context) error {
	s.op.Lock()
	defer s.op.Unlock()
	if s.cancel != nil && s.State().Phase != service.Failed {
		return nil
	}
	s.halt()
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("start service %s: %w", s.opts.ID(), err)
	}
	return nil
}

func (s *Supervisor) start(ctx context.Context) error {
	s.mu.Lock()
	s.state.Restarts = 0
	s.mu.Unlock()
	live, cancel := context.WithCancel(context.Background())
	w, err := s.bring(ctx, live, "", s.body.Begin)
	if err != nil {
		cancel()
		s.wg.Wait()
		return errors.Join(err, s.giveUp(err.Error()))
	}
	s.cancel = cancel
	s.wg.Go(func() { s.supervise(live, w) })
	return nil
}

// halt ends the loop, so that nobody restarts what is being stopped.
func (s *Supervisor) halt() {
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
	s.wg.Wait()
}

// giveUpWait bounds the killing of a service that is given up; the ctx of whoever
// wanted it may have ended.
const giveUpWait = 5 * time.Second

// giveUp leaves nothing half running.
func (s *Supervisor) giveUp(reason string) error {
	ctx, cancel := context.WithTimeout(context.Background(), giveUpWait)
	defer cancel()
	err := s.body.End(ctx, 0)
	if err != nil {
		reason += "; " + err.Error()
	}
	s.enter(service.Failed, 0, reason)
	return err
}

// Stop asks the service to end, and kills what is left of it after StopWait.
func (s *Supervisor) Stop(ctx context.Context) error {
	return s.end(ctx, "stop", s.opts.Patience)
}

// Kill ends the service without asking.
func (s *Supervisor) Kill(ctx context.Context) error {
	return s.end(ctx, "kill", func(context.Context) time.Duration { return 0 })
}

func (s *Supervisor) end(ctx context.Context, verb string, polite func(context.Context) time.Duration) error {
	s.op.Lock()
	defer s.op.Unlock()
	s.halt()
	if err := s.body.End(ctx, polite(ctx)); err != nil {
		return fmt.Errorf("%s service %s: %w", verb, s.opts.ID(), err)
	}
	s.enter(service.Stopped, 0, "")
	return nil
}

// Release stops supervising and leaves the service running.
func (s *Supervisor) Release() {
	s.op.Lock()
	defer s.op.Unlock()
	s.halt()
}
