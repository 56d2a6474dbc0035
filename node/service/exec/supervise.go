package exec

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gemel/node/service"
)

const (
	// restartPause keeps a service that ends at once from using the processor.
	restartPause = 200 * time.Millisecond
	// tendEvery is the time between looks at the log's size and at which processes
	// belong to the service.
	tendEvery = 10 * time.Second
)

// supervise restarts the service when its main process ends, until ctx ends or
// the budget is used up.
func (s *Service) supervise(ctx context.Context, p *process) {
	budget := service.Budget{Restarts: s.opts.Restarts, Within: s.opts.RestartsIn}
	for {
		why := s.watch(ctx, p)
		if why == "" {
			return
		}
		reason := fmt.Sprintf("%s; its last words: %s", why, s.lastWords())
		if s.heldBack(ctx, reason) {
			return
		}
		if ends, over := budget.Spend(time.Now()); over {
			s.giveUp(fmt.Sprintf("it ended or hung %d times within %s: %s", ends, s.opts.RestartsIn, reason))
			return
		}
		if p = s.restart(ctx, reason); p == nil {
			return
		}
	}
}

// watch says how the process ended or that it does not answer any more; empty
// when ctx ended.
func (s *Service) watch(ctx context.Context, p *process) string {
	ctx, cancel := context.WithCancel(ctx)
	sick := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if s.opts.Health.Set() {
		wg.Go(func() { sick <- s.opts.Health.Watch(ctx) })
	}
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-p.exited:
			if ctx.Err() != nil {
				return ""
			}
			return p.reason
		case err := <-sick:
			if err == nil {
				return ""
			}
			return err.Error()
		case <-tick.C: // both are tried again at the next tick
			_ = s.rotate()
			_, _ = s.family()
		}
	}
}

// heldBack waits until restarts are wanted; true: ctx ended before.
func (s *Service) heldBack(ctx context.Context, reason string) bool {
	if s.opts.Hold == nil {
		return false
	}
	s.enter(service.Stopped, 0, "not restarted for now; "+reason)
	return s.opts.Hold(ctx) != nil
}

// restart returns nil when ctx ended or the service could not be started.
func (s *Service) restart(ctx context.Context, reason string) *process {
	s.mu.Lock()
	s.state.Restarts++
	s.mu.Unlock()
	s.enter(service.Starting, 0, reason)
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(restartPause):
	}
	p, err := s.fresh(ctx)
	if err == nil {
		s.begin(p, reason)
		err = s.waitReady(ctx, p)
	}
	if ctx.Err() != nil {
		return nil // whoever ended ctx cleans up
	}
	if err != nil {
		s.giveUp(fmt.Sprintf("its restart failed: %v", err))
		return nil
	}
	s.enter(service.Running, p.pid, reason)
	return p
}

// giveUp leaves nothing half running.
func (s *Service) giveUp(reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), abandonWait)
	defer cancel()
	if err := s.waitGone(ctx, true); err != nil {
		reason += "; " + err.Error()
	}
	s.enter(service.Failed, 0, reason)
	s.opts.OnFailed(s.State())
}
