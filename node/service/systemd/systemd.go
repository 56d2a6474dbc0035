// Package systemd runs a service that is a unit of this box's systemd, over D-Bus:
// start, stop, kill, and a watch over its state. What the unit does and needs is
// the unit's business; when it runs is the volume's, so a unit that is enabled at
// boot gets a warning. It writes no unit files and enables nothing. Restarts are the
// supervisor's business.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/service"
	"gemel/node/service/supervisor"
)

// Options describe one service. What systemd restarts by itself counts as a restart
// too.
type Options struct {
	supervisor.Options
	Unit   string // such as "smbd.service"
	RunDir string // remembers what was started; must not survive a reboot
	// Dial connects to systemd; nil: the box's own.
	Dial func() (Manager, error)
}

// Service is one supervised unit.
type Service struct {
	*supervisor.Supervisor
	opts Options
	bus  bus
}

var _ service.Driver = (*Service)(nil)

// New checks the options; nothing is started.
func New(o Options) (*Service, error) {
	if err := o.Element(o.Unit); err != nil {
		return nil, err
	}
	if o.RunDir == "" {
		return nil, fmt.Errorf("service %s: a run directory is needed", o.ID())
	}
	if o.Dial == nil {
		o.Dial = system
	}
	s := &Service{opts: o, bus: bus{dial: o.Dial}}
	var err error
	s.Supervisor, err = supervisor.New(o.Options, body{s})
	return s, err
}

func (s *Service) id() string { return s.opts.ID() }

// Release stops supervising and leaves the unit running.
func (s *Service) Release() {
	s.Supervisor.Release()
	s.bus.close()
}

// body is a Service as its supervisor sees it.
type body struct{ *Service }

// life is one start of the unit.
type life struct {
	of *Service
	unit
}

func (l *life) PID() int { return l.pid }

// Ready has nothing to say: a life begins when systemd says that the unit is active.
func (l *life) Ready(context.Context) error { return nil }

// Wait returns how the unit ended, or that it is not the same start any more.
func (l *life) Wait(ctx context.Context) string {
	name := l.of.opts.Unit
	tick := time.NewTicker(pollSlow)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-tick.C:
		}
		now, err := l.of.bus.look(ctx, name)
		switch {
		case err != nil: // systemd is being restarted, say; the unit runs on
		case now.gone():
			return fmt.Sprintf("unit %s is %s (%s)", name, now.active, now.result)
		case now.invocation != l.invocation:
			return fmt.Sprintf("systemd started unit %s anew", name)
		}
	}
}

// Begin adopts a unit that is active if an earlier life of the agent started it. One
// that ran before the volume was there has opened other files, and is started anew.
func (b body) Begin(ctx context.Context) (supervisor.Life, error) {
	u, err := b.bus.look(ctx, b.opts.Unit)
	if err != nil {
		return nil, err
	}
	if u.load != "loaded" {
		return nil, fmt.Errorf("systemd has no usable unit %s (it is %s); install what brings it on this node", b.opts.Unit, u.load)
	}
	if u.active != active || b.remembered() != u.invocation {
		if u, err = b.begin(ctx, u); err != nil {
			return nil, err
		}
	}
	return &life{of: b.Service, unit: u}, nil
}

// Again starts the unit, unless systemd has done so already. One that is still
// active does not answer any more.
func (b body) Again(ctx context.Context, last supervisor.Life) (supervisor.Life, error) {
	now, err := b.bus.await(ctx, b.opts.Unit, func(u unit) bool { return u.active == active || u.gone() })
	if err != nil {
		return nil, err
	}
	was, _ := last.(*life)
	if now.active == active && was != nil && now.invocation == was.invocation {
		err = b.end(ctx, 0)
	} else if now.active == active {
		err = b.remember(now.invocation)
	}
	if err != nil {
		return nil, err
	}
	return b.Begin(ctx)
}

// End lets systemd stop the unit its own way, and kills all that is in it after that.
func (b body) End(ctx context.Context, polite time.Duration) error {
	if err := b.end(ctx, polite); err != nil {
		return err
	}
	return b.forget()
}

// Explain adds nothing: what a unit says is in the journal.
func (body) Explain(why string) string { return why }

// begin stops what runs, if anything, and starts the unit.
func (s *Service) begin(ctx context.Context, u unit) (unit, error) {
	if !u.gone() {
		if err := s.end(ctx, s.opts.Patience(ctx)); err != nil {
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

// end stops the unit; a stop job comes first also when it is killed, or systemd
// would start it again by its Restart=.
func (s *Service) end(ctx context.Context, polite time.Duration) error {
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
	if polite > 0 {
		soon, cancel := context.WithTimeout(ctx, polite)
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

// Check looks at how the unit is set up on this box, and whether it runs although
// the service is stopped; what is wrong is in State().Warning.
func (s *Service) Check(ctx context.Context) error {
	u, err := s.bus.look(ctx, s.opts.Unit)
	switch {
	case err != nil:
		return fmt.Errorf("service %s: %w", s.id(), err)
	case u.load != "loaded":
		s.Warn(fmt.Sprintf("systemd has no usable unit %s here (it is %s)", s.opts.Unit, u.load))
	case strings.HasPrefix(u.file, "enabled"):
		s.Warn(fmt.Sprintf("unit %s is enabled at boot and would start without the volume; `systemctl disable %s`", s.opts.Unit, s.opts.Unit))
	case u.active == active && s.State().Phase == service.Stopped:
		s.Warn(fmt.Sprintf("unit %s runs although the volume is not here; `systemctl stop %s`", s.opts.Unit, s.opts.Unit))
	default:
		s.Warn("")
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
