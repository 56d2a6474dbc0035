package agent

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/service"
	"gemel/node/service/exec"
	"gemel/node/service/health"
	"gemel/node/service/systemd"
)

// services are the services of one volume in the order of the configuration.
type services []service.Driver

func newServices(cfg *config.Config, vol config.Volume, failed func(name, reason string), hold func(context.Context) error) (services, error) {
	var list services
	for _, s := range vol.Services {
		onFailed := func(state service.State) { failed(s.Name, state.Reason) }
		driver, err := newDriver(cfg, vol.Name, &s, onFailed, hold)
		if err != nil {
			return nil, err
		}
		list = append(list, driver)
	}
	return list, nil
}

func newDriver(cfg *config.Config, volume string, s *config.Service, onFailed func(service.State), hold func(context.Context) error) (service.Driver, error) {
	runDir := filepath.Join(cfg.RunDir, "services")
	if s.Unit != "" {
		return systemd.New(systemd.Options{Volume: volume, Name: s.Name, Unit: s.Unit, Health: healthOf(s.Health),
			StartWait: s.StartWait, StopWait: s.StopWait, Restarts: s.Restarts, RestartsIn: s.RestartsIn,
			RunDir: runDir, Hold: hold, OnFailed: onFailed})
	}
	return exec.New(exec.Options{Volume: volume, Name: s.Name, Command: s.Command,
		Environment: s.Environment, Directory: s.Directory, ReadyTCP: s.ReadyTCP, Health: healthOf(s.Health),
		StartWait: s.StartWait, StopWait: s.StopWait, StopSignal: s.Signal(), Restarts: s.Restarts, RestartsIn: s.RestartsIn,
		RunDir: runDir, LogDir: filepath.Join(cfg.StateDir, "services"), Hold: hold, OnFailed: onFailed})
}

func (s services) Start(ctx context.Context) error {
	for _, driver := range s {
		if err := driver.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stop stops in reverse order; one that does not stop does not save the others,
// nor take their time.
func (s services) Stop(ctx context.Context) error {
	var errs []error
	for i := len(s) - 1; i >= 0; i-- {
		one, cancel := share(ctx, i+1)
		errs = append(errs, s[i].Stop(one))
		cancel()
	}
	return errors.Join(errs...)
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
	errs := make([]error, len(s))
	var wg sync.WaitGroup
	for i, driver := range s {
		wg.Go(func() { errs[i] = driver.Kill(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s services) State() []api.Running {
	list := make([]api.Running, len(s))
	for i, driver := range s {
		state := driver.State()
		list[i] = api.Running{Name: driver.Name(), State: state.Phase, PID: state.PID, Restarts: state.Restarts,
			Reason: state.Reason, Warning: state.Warning}
	}
	return list
}

// release ends the supervisors; what runs goes on and is adopted by the next agent.
func (s services) release() {
	for _, driver := range s {
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
	for _, driver := range s {
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
