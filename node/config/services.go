package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"time"

	"gemel/node/service/order"
)

// Service runs where the volume is Primary: a child process of the agent (Command) or
// a unit of systemd (Unit).
type Service struct {
	Name        string   `mapstructure:"name"`
	Command     []string `mapstructure:"command"`
	Unit        string   `mapstructure:"unit"`
	Environment []string `mapstructure:"environment"` // "NAME=value"
	Directory   string   `mapstructure:"directory"`
	ReadyTCP    string   `mapstructure:"ready-tcp"` // "host:port" that answers when it is ready
	Health      Health   `mapstructure:"health"`
	// After names the services that must be ready before this one is started. nil: the one
	// before it in the file; empty and not nil: nobody.
	After      []string      `mapstructure:"after"`
	StartWait  time.Duration `mapstructure:"start-wait"`
	StopWait   time.Duration `mapstructure:"stop-wait"`   // the stop signal, then SIGKILL after this
	StopSignal string        `mapstructure:"stop-signal"` // see Signal
	Restarts   int           `mapstructure:"restarts"`    // within RestartsIn, before fail-over
	RestartsIn time.Duration `mapstructure:"restarts-in"`
}

// Health says how a running service is looked after; the zero value: not at all.
type Health struct {
	TCP      string        `mapstructure:"tcp"` // "host:port"
	Command  []string      `mapstructure:"command"`
	Interval time.Duration `mapstructure:"interval"`
	Timeout  time.Duration `mapstructure:"timeout"`
	Failures int           `mapstructure:"failures"` // in a row
}

var stopSignals = map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT,
	"HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH}

// Signal returns the signal that asks the service to end.
func (s *Service) Signal() syscall.Signal {
	return stopSignals[strings.TrimPrefix(s.StopSignal, "SIG")]
}

// Order is who waits for whom among the services of a volume.
func Order(list []Service) (*order.Plan, error) {
	items := make([]order.Item, len(list))
	for i := range list {
		items[i] = order.Item{Name: list[i].Name, After: list[i].After}
	}
	return order.Of(items)
}

// listOrder tells services that say nothing of an order from those that wait for
// nobody, and shows the former with what they wait for.
func (r *reader) listOrder(cfg *Config) {
	given, shown := map[string]bool{}, map[string]*value{}
	for i := range r.values {
		given[r.values[i].path], shown[r.values[i].path] = r.values[i].origin != FromDefault, &r.values[i]
	}
	for v := range cfg.Volumes {
		list := cfg.Volumes[v].Services
		for s := range list {
			path := fmt.Sprintf("volumes[%d].services[%d].after", v, s)
			if given[path] {
				continue
			}
			list[s].After = nil
			if at := shown[path]; at != nil && s > 0 {
				at.value = []any{list[s-1].Name}
			}
		}
	}
}

func checkOrder(list []Service, volume string, r *reader) {
	var e *order.Error
	if _, err := Order(list); errors.As(err, &e) {
		r.mistake(fmt.Sprintf("%s.services[%d].after", volume, e.At), "%s", e.Text)
	}
}

func checkServices(c *Config, list []Service, volume string, seen map[string]string, r *reader) {
	checkOrder(list, volume, r)
	for i, s := range list {
		path := fmt.Sprintf("%s.services[%d]", volume, i)
		r.name(path+".name", s.Name)
		r.once(seen, path+".name", s.Name)
		checkDriver(&s, path, r)
		for _, e := range s.Environment {
			if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
				r.mistake(path+".environment", "%q is not NAME=value", e)
			}
		}
		r.absolute(path+".directory", s.Directory)
		checkPort(s.ReadyTCP, path+".ready-tcp", r)
		if s.Signal() == 0 {
			r.mistake(path+".stop-signal", "%q is none of TERM, INT, QUIT, HUP, USR1, USR2, WINCH", s.StopSignal)
		}
		checkHealth(&s.Health, path+".health", r)
		if s.StartWait > c.Timing.StepTimeout {
			r.mistake(path+".start-wait", "%s is longer than timing.step-timeout (%s)", s.StartWait, c.Timing.StepTimeout)
		}
		if s.StopWait > c.Timing.StepTimeout {
			r.mistake(path+".stop-wait", "%s is longer than timing.step-timeout (%s)", s.StopWait, c.Timing.StepTimeout)
		}
		if s.Restarts < 0 {
			r.mistake(path+".restarts", "%d is negative", s.Restarts)
		}
	}
}

// unitName is the name of a unit of systemd, with its type.
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]+\.[a-z]+$`)

// checkDriver holds that a service is either a command or a unit.
func checkDriver(s *Service, path string, r *reader) {
	if s.Unit == "" {
		if len(s.Command) == 0 || s.Command[0] == "" {
			r.mistake(path+".command", "missing; give the program and its arguments as a list, or a unit of systemd")
		}
		return
	}
	if !unitName.MatchString(s.Unit) {
		r.mistake(path+".unit", "%q is not the name of a unit, such as smbd.service", s.Unit)
	}
	for name, given := range map[string]bool{"command": len(s.Command) > 0, "environment": len(s.Environment) > 0,
		"directory": s.Directory != "", "ready-tcp": s.ReadyTCP != ""} {
		if given {
			r.mistake(path+"."+name, "a service with a unit has none; it is in the unit's own file (or health, for ready-tcp)")
		}
	}
}

func checkHealth(h *Health, path string, r *reader) {
	checkPort(h.TCP, path+".tcp", r)
	if len(h.Command) > 0 && h.Command[0] == "" {
		r.mistake(path+".command", "missing; give the program and its arguments as a list")
	}
	r.between(path+".interval", h.Interval, 100*time.Millisecond, time.Hour)
	r.between(path+".timeout", h.Timeout, 100*time.Millisecond, 10*time.Minute)
	if h.Failures < 1 {
		r.mistake(path+".failures", "%d is less than 1", h.Failures)
	}
}

func checkPort(address, path string, r *reader) {
	if address == "" {
		return
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		r.mistake(path, "%q is not host:port, such as 127.0.0.1:2049", address)
	}
}
