package exec

import (
	"context"
	"fmt"
	"time"

	"gemel/node/service"
)

const (
	// restartPause keeps a service that ends at once from using the processor.
	restartPause = 200 * time.Millisecond
	rotateEvery  = 30 * time.Second
)

// supervise restarts the service when its main process ends, until ctx ends or
// the budget is used up.
func (s *Service) supervise(ctx context.Context, p *process) {
	var ends []time.Time
	for {
		if !s.watch(ctx, p) {
			return
		}
		reason := fmt.Sprintf("%s; its last words: %s", p.reason, s.lastWords())
		if s.heldBack(ctx, reason) {
			return
		}
		now := time.Now()
		ends = append(recent(ends, now.Add(-s.opts.RestartsIn)), now)
		if len(ends) > s.opts.Restarts {
			s.giveUp(fmt.Sprintf("it ended %d times within %s: %s", len(ends), s.opts.RestartsIn, reason))
			return
		}
		if p = s.restart(ctx, reason); p == nil {
			return
		}
	}
}

// watch returns true when the process ended, and false when ctx did.
func (s *Service) watch(ctx context.Context, p *process) bool {
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-p.exited:
			return ctx.Err() == nil
		case <-tick.C:
			_ = s.rotate() // tried again at the next tick
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

func recent(times []time.Time, since time.Time) []time.Time {
	for len(times) > 0 && times[0].Before(since) {
		times = times[1:]
	}
	return times
}
