// Package systemd runs a service that is a unit of this box's systemd, over D-Bus:
// start, stop, kill, and a watch over its state. What the unit does and needs is
// the unit's business; when it runs is the volume's, so a unit that is enabled at
// boot gets a warning. It writes no unit files and enables nothing.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/service"
	"gemel/node/service/health"
)

// Options describe one service.
type Options struct {
	Volume, Name string // path elements; together unique on a box
	Unit         string // such as "smbd.service"
	// Health is looked at while the unit is active; one that does not answer is
	// killed and started again. It is not ready before a look has succeeded.
	Health    health.Check
	StartWait time.Duration // until ready; zero: 15 s
	StopWait  time.Duration // until SIGKILL; zero: 10 s
	// Restarts within RestartsIn before the service counts as failed. What systemd
	// restarts by itself counts too.
	Restarts   int
	RestartsIn time.Duration
	RunDir     string // remembers what was started; must not survive a reboot
	// Hold is called before a restart, and returns when it may go ahead; an error means
	// that ctx ended. nil: at once.
	Hold func(ctx context.Context) error
	// OnFailed is told once when the budget of restarts is used up, on the
	// supervisor's goroutine; it must not call Start, Stop, Kill or Release.
	OnFailed func(service.State)
	// Dial connects to systemd; nil: the box's own.
	Dial func() (Manager, error)
}

// Service is one supervised unit.
type Service struct {
	opts Options
	bus  bus

	op     sync.Mutex // Start, Stop, Kill and Release, one at a time
	cancel context.CancelFunc
	wg     sync.WaitGroup // the supervisor

	mu    sync.Mutex
	state service.State
}

var _ service.Driver = (*Service)(nil)

// New checks the options; nothing is started.
func New(o Options) (*Service, error) {
	for _, name := range []string{o.Volume, o.Name, o.Unit} {
		if name == "" || strings.ContainsAny(name, "/ \x00") || name[0] == '.' {
			return nil, fmt.Errorf("service %s/%s: %q is no path element", o.Volume, o.Name, name)
		}
	}
	if o.RunDir == "" {
		return nil, fmt.Errorf("service %s/%s: a run directory is needed", o.Volume, o.Name)
	}
	if o.StartWait <= 0 {
		o.StartWait = 15 * time.Second
	}
	if o.StopWait <= 0 {
		o.StopWait = 10 * time.Second
	}
	if o.OnFailed == nil {
		o.OnFailed = func(service.State) {}
	}
	if o.Dial == nil {
		o.Dial = system
	}
	o.Health = o.Health.WithDefaults()
	s := &Service{opts: o, bus: bus{dial: o.Dial}}
	s.enter(service.Stopped, 0, "")
	return s, nil
}

// Name returns the service's name.
func (s *Service) Name() string { return s.opts.Name }

// State returns what is known of the service.
func (s *Service) State() service.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *Service) enter(phase string, pid int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Phase, s.state.PID, s.state.Reason, s.state.Since = phase, pid, reason, time.Now()
}

func (s *Service) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Warning = text
}

func (s *Service) id() string { return s.opts.Volume + "/" + s.opts.Name }

// Start returns when the unit is active and well; see service.Driver. A unit that is
// active is adopted if an earlier life of the agent started it. One that ran before
// the volume was there has opened other files, and is started anew.
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
	s.mu.Lock()
	s.state.Restarts = 0
	s.mu.Unlock()
	ready, cancelReady := context.WithTimeout(ctx, s.opts.StartWait)
	defer cancelReady()
	u, err := s.bring(ready, "")
	if err != nil {
		s.giveUp(err.Error())
		return err
	}
	live, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wg.Go(func() { s.supervise(live, u) })
	return nil
}

// bring makes the unit active and waits until it is well.
func (s *Service) bring(ctx context.Context, reason string) (unit, error) {
	s.enter(service.Starting, 0, reason)
	u, err := s.bus.look(ctx, s.opts.Unit)
	if err != nil {
		return u, err
	}
	if u.load != "loaded" {
		return u, fmt.Errorf("systemd has no usable unit %s (it is %s); install what brings it on this node", s.opts.Unit, u.load)
	}
	if u.active != active || s.remembered() != u.invocation {
		if u, err = s.begin(ctx, u); err != nil {
			return u, err
		}
	}
	if err := s.waitWell(ctx); err != nil {
		return u, err
	}
	s.enter(service.Running, u.pid, reason)
	return u, nil
}

// begin stops what runs, if anything, and starts the unit.
func (s *Service) begin(ctx context.Context, u unit) (unit, error) {
	if !u.gone() {
		if err := s.end(ctx, true); err != nil {
			return u, fmt.Errorf("it ran before the volume was there, and does not end: %w", err)
		}
	}
	err := s.bus.do(func(m Manager) error {
		_ = m.ResetFailedUnitContext(ctx, s.opts.Unit) // most have not failed
		_, err := m.StartUnitContext(ctx, s.opts.Unit, "replace", nil)
		return err
	})
	if err != nil {
		return u, fmt.Errorf("systemd does not start %s: %w", s.opts.Unit, err)
	}
	u, err = s.bus.await(ctx, s.opts.Unit, func(u unit) bool { return u.active == active || u.gone() })
	switch {
	case err != nil:
		return u, fmt.Errorf("%w: unit %s is %s: %w", service.ErrNotReady, s.opts.Unit, u.active, err)
	case u.active != active:
		return u, fmt.Errorf("%w: unit %s is %s (%s); `journalctl -u %s` says why", service.ErrNotReady, s.opts.Unit,
			u.active, u.result, s.opts.Unit)
	}
	return u, s.remember(u.invocation)
}

// waitWell waits for the first good look.
func (s *Service) waitWell(ctx context.Context) error {
	for s.opts.Health.Set() {
		err := s.opts.Health.Look(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", service.ErrNotReady, err)
		case <-time.After(pollFast):
		}
	}
	return nil
}

// halt ends the supervisor, so that nobody restarts what is being stopped.
func (s *Service) halt() {
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
	s.wg.Wait()
}

// Stop lets systemd stop the unit its own way, and kills it after StopWait.
func (s *Service) Stop(ctx context.Context) error { return s.endFor(ctx, "stop", true) }

// Kill sends SIGKILL to everything in the unit.
func (s *Service) Kill(ctx context.Context) error { return s.endFor(ctx, "kill", false) }

func (s *Service) endFor(ctx context.Context, verb string, polite bool) error {
	s.op.Lock()
	defer s.op.Unlock()
	s.halt()
	if err := s.end(ctx, polite); err != nil {
		return fmt.Errorf("%s service %s: %w", verb, s.id(), err)
	}
	s.enter(service.Stopped, 0, "")
	if err := s.forget(); err != nil {
		return fmt.Errorf("%s service %s: %w", verb, s.id(), err)
	}
	return nil
}

// politeShare is the part of the time left in which the unit may end by itself.
const politeShare = 0.75

// end stops the unit; a stop job comes first also when it is killed, or systemd
// would start it again by its Restart=.
func (s *Service) end(ctx context.Context, polite bool) error {
	u, err := s.bus.look(ctx, s.opts.Unit)
	if err != nil || u.gone() {
		return err
	}
	err = s.bus.do(func(m Manager) error {
		_, err := m.StopUnitContext(ctx, s.opts.Unit, "replace", nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("systemd does not stop %s: %w", s.opts.Unit, err)
	}
	if polite {
		wait := s.opts.StopWait
		if until, ok := ctx.Deadline(); ok {
			wait = min(wait, time.Duration(politeShare*float64(time.Until(until))))
		}
		soon, cancel := context.WithTimeout(ctx, wait)
		_, err := s.bus.await(soon, s.opts.Unit, unit.gone)
		cancel()
		if err == nil {
			return nil
		}
	}
	err = s.bus.do(func(m Manager) error {
		return m.KillUnitWithTarget(ctx, s.opts.Unit, all, int32(unix.SIGKILL))
	})
	if u, lookErr := s.bus.await(ctx, s.opts.Unit, unit.gone); lookErr != nil {
		return errors.Join(fmt.Errorf("unit %s is %s: %w", s.opts.Unit, u.active, lookErr), err)
	}
	return nil
}

// Release stops supervising and leaves the unit running.
func (s *Service) Release() {
	s.op.Lock()
	defer s.op.Unlock()
	s.halt()
	s.bus.close()
}

// Check looks at how the unit is set up on this box, and whether it runs although
// the service is stopped; what is wrong is in State().Warning.
func (s *Service) Check(ctx context.Context) error {
	u, err := s.bus.look(ctx, s.opts.Unit)
	switch {
	case err != nil:
		return fmt.Errorf("service %s: %w", s.id(), err)
	case u.load != "loaded":
		s.warn(fmt.Sprintf("systemd has no usable unit %s here (it is %s)", s.opts.Unit, u.load))
	case strings.HasPrefix(u.file, "enabled"):
		s.warn(fmt.Sprintf("unit %s is enabled at boot and would start without the volume; `systemctl disable %s`", s.opts.Unit, s.opts.Unit))
	case u.active == active && s.State().Phase == service.Stopped:
		s.warn(fmt.Sprintf("unit %s runs although the volume is not here; `systemctl stop %s`", s.opts.Unit, s.opts.Unit))
	default:
		s.warn("")
	}
	return nil
}

func (s *Service) memory() string {
	return filepath.Join(s.opts.RunDir, "service-"+s.opts.Volume+"."+s.opts.Name+".unit")
}

// remember writes down which start of the unit is ours.
func (s *Service) remember(invocation string) error {
	if err := os.MkdirAll(s.opts.RunDir, 0o750); err != nil {
		return fmt.Errorf("remember unit %s: %w", s.opts.Unit, err)
	}
	fresh := s.memory() + ".new"
	if err := os.WriteFile(fresh, []byte(invocation), 0o600); err != nil {
		return fmt.Errorf("remember unit %s: %w", s.opts.Unit, err)
	}
	if err := os.Rename(fresh, s.memory()); err != nil {
		return fmt.Errorf("remember unit %s: %w", s.opts.Unit, err)
	}
	return nil
}

// remembered returns the invocation that an earlier life started; "-" when none did.
func (s *Service) remembered() string {
	text, err := os.ReadFile(s.memory())
	if err != nil || len(text) == 0 {
		return "-"
	}
	return string(text)
}

func (s *Service) forget() error {
	if err := os.Remove(s.memory()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget unit %s: %w", s.opts.Unit, err)
	}
	return nil
}
