// Package exec supervises a service that is a child process. The child outlives
// the agent and is adopted by the next one, so that an agent's restart costs no
// outage. It runs in a session of its own; what it forks is found through marks
// in the environment even when it leaves that session, and ends with it. It is
// not an init system: no dependencies, no sockets, no users; it runs what the
// configuration says, as the agent's user.
package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/service"
	"gemel/node/service/health"
)

// Options describe one service.
type Options struct {
	Volume, Name string // path elements; together unique on a box
	Command      []string
	Environment  []string // "NAME=value", added to the agent's
	Directory    string   // working directory; empty: /
	// ReadyTCP is "host:port" on which a process of this service answers once
	// it is ready; empty: ready when started.
	ReadyTCP string
	// Health is looked at while the service runs; one that does not answer is
	// killed and started again. It is not ready before a look has succeeded.
	Health     health.Check
	StartWait  time.Duration  // until ready; zero: 15 s
	StopWait   time.Duration  // after StopSignal until SIGKILL; zero: 10 s
	StopSignal syscall.Signal // asks it to end; zero: SIGTERM
	// Restarts within RestartsIn before the service counts as failed.
	Restarts   int
	RestartsIn time.Duration
	RunDir     string // pid files; must not survive a reboot
	LogDir     string // logs, 8 MiB and one older part for each service
	// Hold is called before a restart, and returns when it may go ahead; an error means
	// that ctx ended. nil: at once.
	Hold func(ctx context.Context) error
	// OnFailed is told once when the budget of restarts is used up, on the
	// supervisor's goroutine; it must not call Start, Stop, Kill or Release.
	OnFailed func(service.State)
}

// Service is one supervised service.
type Service struct {
	opts Options

	op     sync.Mutex // Start, Stop, Kill and Release, one at a time
	cancel context.CancelFunc
	wg     sync.WaitGroup // the supervisor and its watchers

	mu    sync.Mutex
	state service.State
	// session of the main process while anything of it may run, else zero: the
	// number of an ended session can come back as somebody else's.
	session int
	// kin are the processes that belonged to the service when it was last looked
	// at, by pid, with their start times. Some programs overwrite their own
	// environment, leave the session and lose their parent.
	kin map[int]uint64
}

var _ service.Driver = (*Service)(nil)

// New checks the options; nothing is started.
func New(o Options) (*Service, error) {
	for _, name := range []string{o.Volume, o.Name} {
		if name == "" || strings.ContainsAny(name, "/ \x00") || name[0] == '.' {
			return nil, fmt.Errorf("service %s/%s: %q is no path element", o.Volume, o.Name, name)
		}
	}
	if len(o.Command) == 0 || o.RunDir == "" || o.LogDir == "" {
		return nil, fmt.Errorf("service %s/%s: command, run directory and log directory are needed", o.Volume, o.Name)
	}
	setDefaults(&o)
	s := &Service{opts: o, kin: map[int]uint64{}}
	marks := s.marks() // so that a look that hangs ends with the service
	s.opts.Health.Environment = append(slices.Clip(o.Environment), marks[:]...)
	s.enter(service.Stopped, 0, "")
	return s, nil
}

func setDefaults(o *Options) {
	if o.StartWait <= 0 {
		o.StartWait = 15 * time.Second
	}
	if o.StopWait <= 0 {
		o.StopWait = 10 * time.Second
	}
	if o.StopSignal == 0 {
		o.StopSignal = syscall.SIGTERM
	}
	o.Health = o.Health.WithDefaults()
	if o.Directory == "" {
		o.Directory = "/" // a working directory on the volume would hold its mount
	}
	if o.OnFailed == nil {
		o.OnFailed = func(service.State) {}
	}
}

// Name returns the service's name.
func (s *Service) Name() string { return s.opts.Name }

// State returns what is known of the service.
func (s *Service) State() service.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// begin notes a main process that is not known to be ready yet.
func (s *Service) begin(p *process, reason string) {
	s.setSession(p.pid)
	s.enter(service.Starting, p.pid, reason)
}

func (s *Service) setSession(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = pid
}

func (s *Service) getSession() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}

func (s *Service) enter(phase string, pid int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Phase, s.state.PID, s.state.Reason, s.state.Since = phase, pid, reason, time.Now()
}

// Start returns when the service is ready; see service.Driver. What is left of
// an earlier reign is killed first. A service that does not become ready is
// killed and the error is service.ErrNotReady.
func (s *Service) Start(ctx context.Context) error {
	s.op.Lock()
	defer s.op.Unlock()
	if phase := s.State().Phase; s.cancel != nil && phase != service.Failed {
		return nil
	}
	s.halt()
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("start service %s: %w", s.id(), err)
	}
	return nil
}

func (s *Service) start(ctx context.Context) error {
	for _, dir := range []string{s.opts.RunDir, s.opts.LogDir} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("make its directory: %w", err)
		}
	}
	live, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	s.state.Restarts = 0
	s.mu.Unlock()
	p := s.adopt(live)
	var err error
	if p == nil {
		p, err = s.fresh(ctx)
	}
	if err == nil {
		s.begin(p, "")
		err = s.waitReady(ctx, p)
	}
	if err != nil {
		cancel()
		return errors.Join(err, s.abandon(err))
	}
	s.enter(service.Running, p.pid, "")
	s.cancel = cancel
	s.wg.Go(func() { s.supervise(live, p) })
	return nil
}

// fresh starts the service after ending what is left of it.
func (s *Service) fresh(ctx context.Context) (*process, error) {
	if err := s.waitGone(ctx, true); err != nil {
		return nil, fmt.Errorf("end what is left of it: %w", err)
	}
	return s.spawn()
}

// abandonWait bounds the killing of a service that did not become ready; the
// caller's ctx may have ended.
const abandonWait = 5 * time.Second

func (s *Service) abandon(why error) error {
	ctx, cancel := context.WithTimeout(context.Background(), abandonWait)
	defer cancel()
	err := s.waitGone(ctx, true)
	s.wg.Wait()
	s.enter(service.Failed, 0, why.Error())
	return errors.Join(err, s.forget())
}

// halt ends the supervisor, so that nobody restarts what is being stopped.
func (s *Service) halt() {
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
	s.wg.Wait()
}

// politeShare is the part of the time left that a service gets to end by itself.
const politeShare = 0.75

// politeness is how long a service is waited for before it is killed: StopWait,
// but not so long that no time would be left for that.
func (s *Service) politeness(ctx context.Context) time.Duration {
	wait := s.opts.StopWait
	if until, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Duration(politeShare*float64(time.Until(until))))
	}
	return wait
}

// Stop sends the stop signal to the main process's group, and SIGKILL to whatever
// is left after StopWait.
func (s *Service) Stop(ctx context.Context) error {
	s.op.Lock()
	defer s.op.Unlock()
	s.halt()
	pid := s.State().PID
	if pid == 0 {
		pid = s.rememberedPID()
	}
	if pid != 0 {
		_ = unix.Kill(-pid, s.opts.StopSignal) // it may have ended
		polite, cancel := context.WithTimeout(ctx, s.politeness(ctx))
		defer cancel()
		if s.waitGone(polite, false) == nil {
			return s.ended("stop")
		}
	}
	return s.kill(ctx, "stop")
}

// Kill sends SIGKILL to everything that belongs to the service.
func (s *Service) Kill(ctx context.Context) error {
	s.op.Lock()
	defer s.op.Unlock()
	s.halt()
	return s.kill(ctx, "kill")
}

func (s *Service) kill(ctx context.Context, verb string) error {
	if err := s.waitGone(ctx, true); err != nil {
		return fmt.Errorf("%s service %s: %w", verb, s.id(), err)
	}
	return s.ended(verb)
}

func (s *Service) ended(verb string) error {
	s.enter(service.Stopped, 0, "")
	if err := s.forget(); err != nil {
		return fmt.Errorf("%s service %s: %w", verb, s.id(), err)
	}
	return nil
}

// rememberedPID finds the main process of an earlier life without adopting it.
func (s *Service) rememberedPID() int {
	ctx, cancel := context.WithCancel(context.Background())
	p := s.adopt(ctx)
	cancel()
	s.wg.Wait()
	if p == nil {
		return 0
	}
	return p.pid
}

// Release stops supervising and leaves the service running.
func (s *Service) Release() {
	s.op.Lock()
	defer s.op.Unlock()
	s.halt()
}
