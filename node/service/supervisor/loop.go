package supervisor

import (
	"context"
	"fmt"
	"time"

	"gemel/node/service"
)

// restartPause keeps a service that ends at once from using the processor.
const restartPause = 200 * time.Millisecond

// watched is a life whose end somebody waits for.
type watched struct {
	Life
	ended chan string // gets how it ended; empty when nobody wants to know any more
	leave context.CancelFunc
}

func (s *Supervisor) observe(ctx context.Context, life Life) *watched {
	ctx, cancel := context.WithCancel(ctx)
	w := &watched{Life: life, ended: make(chan string, 1), leave: cancel}
	s.wg.Go(func() { w.ended <- life.Wait(ctx) })
	return w
}

// bring has a life begun and waits until it is ready; its end is awaited until live
// ends, or until it is left.
func (s *Supervisor) bring(ctx, live context.Context, reason string, begin func(context.Context) (Life, error)) (*watched, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.StartWait)
	defer cancel()
	s.enter(service.Starting, 0, reason)
	life, err := begin(ctx)
	if err != nil {
		return nil, err
	}
	s.enter(service.Starting, life.PID(), reason)
	w := s.observe(live, life)
	if err := s.awaitReady(ctx, w); err != nil {
		w.leave()
		return nil, err
	}
	s.enter(service.Running, life.PID(), reason)
	return w, nil
}

// awaitReady looks until nothing is missing any more.
func (s *Supervisor) awaitReady(ctx context.Context, w *watched) error {
	begin, why := time.Now(), error(nil)
	for {
		look := time.Now()
		missing := s.missing(ctx, w)
		if missing == nil {
			return nil
		}
		if ctx.Err() == nil || why == nil { // a look cut short says nothing
			why = missing
		}
		select {
		case how := <-w.ended:
			if how != "" {
				return fmt.Errorf("%w: %s", service.ErrNotReady, s.body.Explain("it ended: "+how))
			}
			return fmt.Errorf("%w: %s", service.ErrNotReady, s.body.Explain(why.Error()))
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %w", service.ErrNotReady, s.body.Explain(why.Error()), context.Cause(ctx))
		case <-time.After(service.Pace(time.Since(begin), time.Since(look))):
		}
	}
}

func (s *Supervisor) missing(ctx context.Context, life Life) error {
	if err := life.Ready(ctx); err != nil || !s.opts.Health.Set() {
		return err
	}
	return s.opts.Health.Look(ctx)
}

// supervise starts the service again when its life ends or does not answer, until ctx
// ends or the budget is used up.
func (s *Supervisor) supervise(ctx context.Context, w *watched) {
	budget := service.Budget{Restarts: s.opts.Restarts, Within: s.opts.RestartsIn}
	for {
		why := s.watch(ctx, w)
		w.leave()
		if why == "" {
			return
		}
		reason := s.body.Explain(why)
		if s.heldBack(ctx, reason) {
			return
		}
		if ends, over := budget.Spend(time.Now()); over {
			s.fail(fmt.Sprintf("it ended or hung %d times within %s: %s", ends, s.opts.RestartsIn, reason))
			return
		}
		next, err := s.again(ctx, w.Life, reason)
		if ctx.Err() != nil {
			return // whoever ended ctx cleans up
		}
		if err != nil {
			s.fail(fmt.Sprintf("its restart failed: %v", err))
			return
		}
		w = next
	}
}

// fail is the end of the loop.
func (s *Supervisor) fail(reason string) {
	_ = s.giveUp(reason) // the state says it
	s.opts.OnFailed(s.State())
}

// watch says how the life ended or that it does not answer any more; empty when ctx
// ended.
func (s *Supervisor) watch(ctx context.Context, w *watched) string {
	ctx, cancel := context.WithCancel(ctx)
	sick, looks := make(chan error, 1), make(chan struct{})
	go func() { // ends with ctx, and is waited for
		defer close(looks)
		if s.opts.Health.Set() {
			sick <- s.opts.Health.Watch(ctx)
		}
	}()
	defer func() {
		cancel()
		<-looks
	}()
	select {
	case <-ctx.Done():
		return ""
	case how := <-w.ended:
		if ctx.Err() != nil {
			return ""
		}
		return how
	case err := <-sick:
		if err == nil {
			return ""
		}
		return err.Error()
	}
}

// heldBack waits until restarts are wanted; true: ctx ended before.
func (s *Supervisor) heldBack(ctx context.Context, reason string) bool {
	if s.opts.Hold == nil {
		return false
	}
	s.enter(service.Stopped, 0, "not restarted for now; "+reason)
	return s.opts.Hold(ctx) != nil
}

// again replaces a life by the next.
func (s *Supervisor) again(ctx context.Context, last Life, reason string) (*watched, error) {
	s.mu.Lock()
	s.state.Restarts++
	s.mu.Unlock()
	s.enter(service.Starting, 0, reason)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(restartPause):
	}
	return s.bring(ctx, ctx, reason, func(ctx context.Context) (Life, error) { return s.body.Again(ctx, last) })
}
