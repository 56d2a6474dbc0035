package tour

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gemel/lab/checker"
	"gemel/lab/cluster"
	"gemel/node/event"
)

// ending is what the tour has to account for.
type ending struct {
	first, again *meter // first sync, and the resync after the reset
	was          string // Primary that was reset
	now          view   // last look at the other
	unfinished   bool   // the resync went on when the tour stopped waiting
	wrote        checker.Report
}

// stage is the reset while it is shown: one goroutine owns it, the others send.
type stage struct {
	*tour
	story  *story
	writer *writer
	end    ending
	events chan []event.Event
	views  chan view
	cut    chan error // the reset is through, the box boots
	booted time.Time  // zero until then
	since  time.Time
}

// reset shows the Primary dying under a writing client, until the pair is in sync
// again or the bound is reached.
func (t *tour) reset(ctx context.Context) (ending, error) {
	v, err := t.lookAny(ctx)
	if err != nil {
		return ending{}, err
	}
	t.screen.Text(fmt.Sprintf("The client writes up to 100 records of 4 KiB a second, each on stable storage before the next. "+
		"In %.0f seconds %s, the Primary, is reset; times count from then.", calm.Seconds(), v.primary()))
	w, err := t.startWriter(ctx)
	if err != nil {
		return ending{}, err
	}
	s := &stage{tour: t, story: newStory(t.screen), writer: w, since: time.Now(),
		end: ending{was: v.primary(), again: &meter{label: "resync"}}, events: make(chan []event.Event),
		views: make(chan view), cut: make(chan error, 1)}
	err = s.play(ctx)
	report, stopErr := w.stop(ctx)
	s.end.wrote = report
	return s.end, errors.Join(err, stopErr)
}

// play runs the watchers around the show and waits for them.
func (s *stage) play(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer cancel()
	for _, node := range servers {
		watchers.Go(func() { s.follow(ctx, node) })
	}
	watchers.Go(func() { s.watch(ctx, otherOf(s.end.was)) })
	if err := s.calm(ctx); err != nil {
		return err
	}
	s.story.add(moment{at: s.story.zero, who: "you", as: red, text: "press RESET on " + s.end.was})
	watchers.Go(func() { s.press(ctx) })
	return s.trouble(ctx)
}

// follow sends a box's events again and again; the story knows which are new.
func (s *stage) follow(ctx context.Context, node string) {
	for {
		if list := s.tour.events(ctx, node); list != nil {
			select {
			case s.events <- list:
			case <-ctx.Done():
			}
		}
		if !sleep(ctx, 400*time.Millisecond) {
			return
		}
	}
}

// watch sends the survivor's view of the pair.
func (s *stage) watch(ctx context.Context, node string) {
	for {
		if v, err := s.look(ctx, node); err == nil {
			select {
			case s.views <- v:
			case <-ctx.Done():
			}
		}
		if !sleep(ctx, 400*time.Millisecond) {
			return
		}
	}
}

// press resets the box even when the tour is being ended: a box must not stay off.
func (s *stage) press(ctx context.Context) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_, err := s.lab.PressReset(limited, s.end.was)
	s.cut <- err
}

// calm shows the client at work until the time of the reset.
func (s *stage) calm(ctx context.Context) error {
	var pressAt <-chan time.Time
	giveUp := time.After(patience)
	for {
		select {
		case p, ok := <-s.writer.progress:
			if !ok {
				return s.writer.gone()
			}
			if pressAt == nil && p.AckedTotal > 0 {
				s.story.zero = time.Now().Add(calm - time.Second)
				pressAt = time.After(calm - time.Second)
			}
			if pressAt != nil {
				s.story.progress(p)
				s.story.flush(time.Now().Add(time.Second))
			}
		case list := <-s.events:
			s.story.events(list, s.since)
		case <-s.views:
		case <-pressAt:
			return nil
		case <-giveUp:
			return fmt.Errorf("the client gets no acknowledgement on %s", clusterAddress())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// trouble shows the fail-over and the resync after it.
func (s *stage) trouble(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var after <-chan time.Time
	for {
		select {
		case p, ok := <-s.writer.progress:
			if !ok {
				return s.writer.gone()
			}
			s.story.progress(p)
		case list := <-s.events:
			s.story.events(list, s.since)
		case err := <-s.cut:
			if err != nil {
				return err
			}
			s.booted = time.Now()
			s.story.add(moment{at: s.booted, who: s.end.was, text: fmt.Sprintf("is on again (a lab's box takes %.0f s to boot)", cluster.BootTime.Seconds())})
		case s.end.now = <-s.views:
			s.resync(s.end.now)
			if over, err := s.over(); after == nil && (over || err != nil) {
				if err != nil {
					return err
				}
				after = time.After(2 * lateness)
			}
		case <-after:
			s.curtain()
			return nil
		case <-tick.C:
			s.story.flush(time.Now().Add(-lateness))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *stage) resync(v view) {
	if s.booted.IsZero() {
		return
	}
	s.end.again.add(v.status.Time, v.volume.Resync)
	if v.volume.Resync != nil {
		s.screen.Bar(s.end.again.progress(v.volume.Resync))
	}
}

// over says whether the show can end, or why it never will.
func (s *stage) over() (bool, error) {
	v := s.end.now
	survivor := otherOf(s.end.was)
	served := v.primary() == survivor && v.volume.Phase == "serving"
	if !served && time.Since(s.story.zero) > patience {
		return false, fmt.Errorf("%s does not serve %v after the reset of %s: %s", survivor, patience, s.end.was, v.missing())
	}
	if s.booted.IsZero() || !served {
		return false, nil
	}
	if v.missing() == "" {
		return true, nil
	}
	if waited := time.Since(s.booted); waited < boundary {
		return false, nil
	} else if v.volume.Resync == nil && waited < patience {
		return false, nil // it has yet to begin
	} else if v.volume.Resync == nil {
		return false, fmt.Errorf("%s is not in sync %v after its reset: %s", s.end.was, patience, v.missing())
	}
	s.end.unfinished = true
	return true, nil
}

// curtain tells the rest and ends the bar.
func (s *stage) curtain() {
	if s.end.again.halted {
		s.screen.Bar(s.end.again.finished())
	}
	s.screen.EndBar()
	s.story.flush(time.Now())
	if s.end.unfinished {
		s.screen.Line(fmt.Sprintf("The resync goes on without the tour; see it with: %s server1 gemel status --watch", s.exec()))
	}
}
