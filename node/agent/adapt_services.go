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
)

// services are the services of one volume in the order of the configuration.
type services []service.Driver

func newServices(cfg *config.Config, vol config.Volume, failed func(name, reason string), hold func(context.Context) error) (services, error) {
	var list services
	for _, s := range vol.Services {
		driver, err := exec.New(exec.Options{Volume: vol.Name, Name: s.Name, Command: s.Command,
			Environment: s.Environment, Directory: s.Directory, ReadyTCP: s.ReadyTCP, Health: healthOf(s.Health),
			StartWait: s.StartWait, StopWait: s.StopWait, StopSignal: s.Signal(), Restarts: s.Restarts, RestartsIn: s.RestartsIn,
			RunDir: filepath.Join(cfg.RunDir, "services"), LogDir: filepath.Join(cfg.StateDir, "services"),
			Hold:     hold,
			OnFailed: func(state service.State) { failed(s.Name, state.Reason) }})
		if err != nil {
			return nil, err
		}
		list = append(list, driver)
	}
	return list, nil
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
