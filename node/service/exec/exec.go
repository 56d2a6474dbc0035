// Package exec runs a service that is a child process. The child outlives
// the agent and is adopted by the next one, so that an agent's restart costs no
// outage. It runs in a session of its own; what it forks is found through marks
// in the environment even when it leaves that session, and ends with it. It is
// not an init system: no dependencies, no sockets, no users; it runs what the
// configuration says, as the agent's user. Restarts are the supervisor's business.
package exec

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/service"
	"gemel/node/service/supervisor"
)

// Options describe one service.
type Options struct {
	supervisor.Options
	Command     []string
	Environment []string // "NAME=value", added to the agent's
	Directory   string   // working directory; empty: /
	// ReadyTCP is "host:port" on which a process of this service answers once
	// it is ready; empty: ready when started.
	ReadyTCP   string
	StopSignal syscall.Signal // asks it to end; zero: SIGTERM
	RunDir     string         // pid files; must not survive a reboot
	LogDir     string         // logs, 8 MiB and one older part for each service
}

// Service is one supervised service.
type Service struct {
	*supervisor.Supervisor
	opts Options

	looking sync.Mutex // one look at the family at a time
	mu      sync.Mutex
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
	if len(o.Command) == 0 || o.RunDir == "" || o.LogDir == "" {
		return nil, fmt.Errorf("service %s: command, run directory and log directory are needed", o.ID())
	}
	if o.StopSignal == 0 {
		o.StopSignal = syscall.SIGTERM
	}
	if o.Directory == "" {
		o.Directory = "/" // a working directory on the volume would hold its mount
	}
	s := &Service{opts: o, kin: map[int]uint64{}}
	marks := s.marks() // so that a look that hangs ends with the service
	s.opts.Health.Environment = append(slices.Clip(o.Environment), marks[:]...)
	var err error
	s.Supervisor, err = supervisor.New(s.opts.Options, body{s})
	return s, err
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

// body is a Service as its supervisor sees it.
type body struct{ *Service }

func (b body) Begin(ctx context.Context) (supervisor.Life, error) {
	for _, dir := range []string{b.opts.RunDir, b.opts.LogDir} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("make its directory: %w", err)
		}
	}
	if p := b.adopt(); p != nil {
		b.setSession(p.pid)
		return p, nil
	}
	return b.Again(ctx, nil)
}

// Again starts the service after ending what is left of it.
func (b body) Again(ctx context.Context, _ supervisor.Life) (supervisor.Life, error) {
	if err := b.waitGone(ctx, true); err != nil {
		return nil, fmt.Errorf("end what is left of it: %w", err)
	}
	p, err := b.spawn()
	if err != nil {
		return nil, err
	}
	b.setSession(p.pid)
	return p, nil
}

// End sends the stop signal to the main process's group, and SIGKILL to whatever is
// left after that.
func (b body) End(ctx context.Context, polite time.Duration) error {
	if pid := b.mainPID(); polite > 0 && pid != 0 {
		_ = unix.Kill(-pid, b.opts.StopSignal) // it may have ended
		soon, cancel := context.WithTimeout(ctx, polite)
		err := b.waitGone(soon, false)
		cancel()
		if err == nil {
			return b.forget()
		}
	}
	if err := b.waitGone(ctx, true); err != nil {
		return err
	}
	return b.forget()
}

func (b body) Explain(why string) string {
	return fmt.Sprintf("%s; its last words: %s", why, b.lastWords())
}

// mainPID finds the main process, also that of an earlier life; zero: there is none.
func (s *Service) mainPID() int {
	if pid := s.getSession(); pid != 0 {
		return pid
	}
	if p := s.adopt(); p != nil {
		return p.pid
	}
	return 0
}
