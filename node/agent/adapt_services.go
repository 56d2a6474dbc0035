package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/service"
	"gemel/node/service/exec"
	"gemel/node/service/health"
	"gemel/node/service/order"
	"gemel/node/service/supervisor"
	"gemel/node/service/systemd"
)

// services are the services of one volume, and who of them waits for whom.
type services struct {
	list []service.Driver // in the order of the configuration
	plan *order.Plan
	tell func(kind, text string) // into the history; nil: nobody wants to know
}

func newServices(cfg *config.Config, vol config.Volume, failed func(name, reason string), hold func(context.Context) error,
	tell func(kind, text string)) (services, error) {
	plan, err := config.Order(vol.Services)
	if err != nil {
		return services{}, fmt.Errorf("services of volume %s: %w", vol.Name, err)
	}
	s := services{plan: plan, tell: tell}
	for _, one := range vol.Services {
		onFailed := func(state service.State) { failed(one.Name, state.Reason) }
		driver, err := newDriver(cfg, vol.Name, &one, onFailed, hold)
		if err != nil {
			return services{}, err
		}
		s.list = append(s.list, driver)
	}
	return s, nil
}

func newDriver(cfg *config.Config, volume string, s *config.Service, onFailed func(service.State), hold func(context.Context) error) (service.Driver, error) {
	runDir := filepath.Join(cfg.RunDir, "services")
	keep := supervisor.Options{Volume: volume, Name: s.Name, Health: healthOf(s.Health), StartWait: s.StartWait, StopWait: s.StopWait,
		Restarts: s.Restarts, RestartsIn: s.RestartsIn, Hold: hold, OnFailed: onFailed}
	if s.Unit != "" {
		return systemd.New(systemd.Options{Options: keep, Unit: s.Unit, RunDir: runDir})
	}
	return exec.New(exec.Options{Options: keep, Command: s.Command, Environment: s.Environment, Directory: s.Directory,
		ReadyTCP: s.ReadyTCP, StopSignal: s.Signal(), RunDir: runDir, LogDir: filepath.Join(cfg.StateDir, "services")})
}

// Start starts every service once those that it waits for are ready. One that fails
// holds back those that wait for it, and nobody else: what runs in the end depends on
// what failed, and not on who was quicker.
func (s services) Start(ctx context.Context) error {
	run := s.plan.Start()
	err := s.walk(ctx, run, "start", func(driver service.Driver, _ int) error {
		if ctx.Err() != nil { // its time ended between the decision and now
			return fmt.Errorf("start service %s: %w", driver.Name(), context.Cause(ctx))
		}
		return driver.Start(ctx)
	})
	if held := run.Held(); len(held) > 0 {
		err = errors.Join(err, fmt.Errorf("%s not started: %w", s.names(held), whyHeld(ctx)))
	}
	return err
}

var errHeld = errors.New("what it waits for does not run")

func whyHeld(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errHeld
}

func (s services) names(list []int) string {
	names := make([]string, len(list))
	for n, i := range list {
		names[n] = s.list[i].Name()
	}
	return strings.Join(names, ", ")
}

// Stop stops every service once those that wait for it have ended; one that does not
// stop does not save the others, nor take their time.
func (s services) Stop(ctx context.Context) error {
	run := s.plan.Stop()
	return s.walk(context.WithoutCancel(ctx), run, "stop", func(driver service.Driver, i int) error {
		one, cancel := share(ctx, run.Turns(i))
		defer cancel()
		return driver.Stop(one)
	})
}

// walk carries a run out: whatever may begin does so at once, beside the others. When
// ctx ends nothing begins any more, and what is under way is waited for. The errors
// are in the order of the configuration.
func (s services) walk(ctx context.Context, run *order.Run, verb string, do func(driver service.Driver, i int) error) error {
	errs, took, ended := make([]error, len(s.list)), make([]time.Duration, len(s.list)), make(chan int)
	for {
		if ctx.Err() != nil {
			run.GiveUp()
		}
		for _, i := range run.Next() {
			go func() {
				begin := time.Now()
				errs[i] = do(s.list[i], i)
				took[i] = time.Since(begin)
				ended <- i
			}()
		}
		if run.Over() {
			s.tellTimes(verb, took, errs)
			return errors.Join(errs...)
		}
		i := <-ended
		run.Ended(i, errs[i] == nil)
	}
}

// tellTimes says how long each took, for those who want a shorter pause.
func (s services) tellTimes(verb string, took []time.Duration, errs []error) {
	var words []string
	for i, t := range took {
		switch {
		case t == 0: // it did not begin
		case errs[i] != nil:
			words = append(words, fmt.Sprintf("%s failed after %.2f s", s.list[i].Name(), t.Seconds()))
		default:
			words = append(words, fmt.Sprintf("%s %.2f s", s.list[i].Name(), t.Seconds()))
		}
	}
	if s.tell != nil && len(words) > 0 {
		s.tell("services."+verb, fmt.Sprintf("Time to %s: %s.", verb, strings.Join(words, ", ")))
	}
}

// share returns a context that has one of n equal parts of the time left.
func share(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	until, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(until)/time.Duration(n))
}

// Kill kills all at once.
func (s services) Kill(ctx context.Context) error {
	errs := make([]error, len(s.list))
	var wg sync.WaitGroup
	for i, driver := range s.list {
		wg.Go(func() { errs[i] = driver.Kill(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s services) State() []api.Running {
	list := make([]api.Running, len(s.list))
	for i, driver := range s.list {
		state := driver.State()
		list[i] = api.Running{Name: driver.Name(), State: state.Phase, PID: state.PID, Restarts: state.Restarts,
			Reason: state.Reason, Warning: state.Warning}
	}
	return list
}

// release ends the supervisors; what runs goes on and is adopted by the next agent.
func (s services) release() {
	for _, driver := range s.list {
		driver.Release()
	}
}

func healthOf(h config.Health) health.Check {
	return health.Check{TCP: h.TCP, Command: h.Command, Interval: h.Interval, Timeout: h.Timeout, Failures: h.Failures}
}

const (
	// checkServicesEvery is how often the set-up of services is looked at, also on a
	// node that does not run them.
	checkServicesEvery = time.Minute
	checkServicesWait  = 10 * time.Second
)

// checker is a driver that can tell what is wrong with how a service is set up on
// this box before it is needed.
type checker interface {
	Check(ctx context.Context) error
}

// checkServices looks at the set-up of services until ctx ends. What is wrong is in
// their states, and in the history once.
func (w *wiring) checkServices(ctx context.Context, a *Agent) error {
	told := map[service.Driver]string{}
	for ctx.Err() == nil {
		for i, list := range w.services {
			list.check(ctx, func(driver service.Driver, warning string) {
				if told[driver] != warning && warning != "" {
					a.owners[i].note("service.warning", "Service "+driver.Name()+" is not set up well on this node.", warning)
				}
				told[driver] = warning
			})
		}
		pause(ctx, checkServicesEvery)
	}
	return nil
}

func (s services) check(ctx context.Context, tell func(driver service.Driver, warning string)) {
	for _, driver := range s.list {
		c, ok := driver.(checker)
		if !ok {
			continue
		}
		once, cancel := context.WithTimeout(ctx, checkServicesWait)
		err := c.Check(once)
		cancel()
		switch warning := driver.State().Warning; {
		case ctx.Err() != nil:
			return
		case err != nil:
			tell(driver, err.Error())
		default:
			tell(driver, warning)
		}
	}
}
