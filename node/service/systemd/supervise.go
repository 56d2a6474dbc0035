package systemd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gemel/node/service"
)

const (
	// restartPause keeps a unit that ends at once from using the processor.
	restartPause = 200 * time.Millisecond
	giveUpWait   = 5 * time.Second
)

// supervise starts the unit again when it ends or does not answer, until ctx ends
// or the budget is used up.
func (s *Service) supervise(ctx context.Context, u unit) {
	budget := service.Budget{Restarts: s.opts.Restarts, Within: s.opts.RestartsIn}
	for {
		reason := s.watch(ctx, u)
		if reason == "" {
			return
		}
		if s.opts.Hold != nil {
			s.enter(service.Stopped, 0, "not restarted for now; "+reason)
			if s.opts.Hold(ctx) != nil {
				return
			}
		}
		if ends, over := budget.Spend(time.Now()); over {
			s.giveUp(fmt.Sprintf("it ended or hung %d times within %s: %s", ends, s.opts.RestartsIn, reason))
			s.opts.OnFailed(s.State())
			return
		}
		var err error
		if u, err = s.restart(ctx, u, reason); ctx.Err() != nil {
			return // whoever ended ctx cleans up
		}
		if err != nil {
			s.giveUp(fmt.Sprintf("its restart failed: %v", err))
			s.opts.OnFailed(s.State())
			return
		}
	}
}

// watch says how the unit ended, or that it does not answer any more; empty when
// ctx ended.
func (s *Service) watch(ctx context.Context, was unit) string {
	ctx, cancel := context.WithCancel(ctx)
	sick := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if s.opts.Health.Set() {
		wg.Go(func() { sick <- s.opts.Health.Watch(ctx) })
	}
	tick := time.NewTicker(pollSlow)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case err := <-sick:
			if err == nil {
				return ""
			}
			return err.Error()
		case <-tick.C:
		}
		now, err := s.bus.look(ctx, s.opts.Unit)
		if err != nil {
			continue // systemd is being restarted, say; the unit runs on
		}
		switch {
		case now.gone():
			return fmt.Sprintf("unit %s is %s (%s)", s.opts.Unit, now.active, now.result)
		case now.invocation != was.invocation:
			return fmt.Sprintf("systemd started unit %s anew", s.opts.Unit)
		}
	}
}

// restart starts the unit again, unless systemd has done so already. One that is
// still active does not answer any more.
func (s *Service) restart(ctx context.Context, was unit, reason string) (unit, error) {
	s.mu.Lock()
	s.state.Restarts++
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return unit{}, ctx.Err()
	case <-time.After(restartPause):
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.StartWait)
	defer cancel()
	now, err := s.bus.await(ctx, s.opts.Unit, func(u unit) bool { return u.active == active || u.gone() })
	if err != nil {
		return now, err
	}
	if now.active == active && now.invocation == was.invocation {
		err = s.end(ctx, false)
	} else if now.active == active {
		err = s.remember(now.invocation)
	}
	if err != nil {
		return now, err
	}
	return s.bring(ctx, reason)
}

// giveUp leaves nothing half running.
func (s *Service) giveUp(reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), giveUpWait)
	defer cancel()
	if err := s.end(ctx, false); err != nil {
		reason += "; " + err.Error()
	}
	s.enter(service.Failed, 0, reason)
}
