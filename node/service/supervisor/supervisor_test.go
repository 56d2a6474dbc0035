package supervisor

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/service"
	"gemel/node/service/health"
)

// fakeBody is a service in memory.
type fakeBody struct {
	mu      sync.Mutex
	now     *fakeLife // the life that runs; nil: none
	begun   int
	ends    []time.Duration // how politely it was ended each time
	ready   error
	noBegin error
	noEnd   error
}

type fakeLife struct {
	of    *fakeBody
	pid   int
	ended chan string
}

func (l *fakeLife) PID() int { return l.pid }

func (l *fakeLife) Ready(context.Context) error {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	return l.of.ready
}

func (l *fakeLife) Wait(ctx context.Context) string {
	select {
	case how := <-l.ended:
		return how
	case <-ctx.Done():
		return ""
	}
}

func (b *fakeBody) Begin(context.Context) (Life, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.noBegin != nil {
		return nil, b.noBegin
	}
	if b.now == nil {
		b.begun++
		b.now = &fakeLife{of: b, pid: 1000 + b.begun, ended: make(chan string, 1)}
	}
	return b.now, nil
}

func (b *fakeBody) Again(ctx context.Context, last Life) (Life, error) {
	b.mu.Lock()
	if b.now == last {
		b.now = nil
	}
	b.mu.Unlock()
	return b.Begin(ctx)
}

func (b *fakeBody) End(_ context.Context, polite time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ends = append(b.ends, polite)
	if b.noEnd == nil {
		b.now = nil
	}
	return b.noEnd
}

func (b *fakeBody) Explain(why string) string { return why + "; it said so" }

// end lets the life that runs end by itself.
func (b *fakeBody) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.ended <- "out of memory"
}

func (b *fakeBody) asked() []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ends
}

func supervised(t *testing.T, b *fakeBody, change func(*Options)) *Supervisor {
	t.Helper()
	o := Options{Volume: "vol", Name: "web", StartWait: 30 * time.Second, StopWait: 7 * time.Second, RestartsIn: time.Hour}
	if change != nil {
		change(&o)
	}
	s, err := New(o, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return s
}

func start(t *testing.T, s *Supervisor) int {
	t.Helper()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := s.State()
	if st.Phase != service.Running || st.PID == 0 {
		t.Fatalf("state after start: %+v", st)
	}
	return st.PID
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestStartStopKill(t *testing.T) {
	b := &fakeBody{}
	s := supervised(t, b, nil)
	if pid := start(t, s); start(t, s) != pid {
		t.Error("a second start began a second life")
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.State(); st.Phase != service.Stopped || st.PID != 0 {
		t.Errorf("state after stop: %+v", st)
	}
	if err := s.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.asked(); len(got) != 2 || got[0] != 7*time.Second || got[1] != 0 {
		t.Errorf("ended with patience %v", got)
	}
}

// TestReleaseLeavesItRunning, and the next supervisor finds it.
func TestReleaseLeavesItRunning(t *testing.T) {
	b := &fakeBody{}
	first := supervised(t, b, nil)
	pid := start(t, first)
	first.Release()
	if second := supervised(t, b, nil); start(t, second) != pid {
		t.Error("the next supervisor began a second life")
	}
	if len(b.asked()) != 0 {
		t.Error("it was ended")
	}
}

// TestNotReady: whatever keeps it from being ready, nothing runs afterwards, and what
// was missing is said.
func TestNotReady(t *testing.T) {
	missing := errors.New("nothing answers")
	for name, c := range map[string]struct {
		body   *fakeBody
		wait   time.Duration
		during func(*fakeBody)
		says   string
		is     error
	}{
		"time":   {body: &fakeBody{ready: missing}, wait: 30 * time.Millisecond, says: "nothing answers; it said so", is: service.ErrNotReady},
		"ends":   {body: &fakeBody{ready: missing}, wait: time.Hour, during: (*fakeBody).end, says: "it ended: out of memory; it said so", is: service.ErrNotReady},
		"begin":  {body: &fakeBody{noBegin: missing}, wait: time.Hour, says: "nothing answers", is: missing},
		"remain": {body: &fakeBody{ready: missing, noEnd: errors.New("process 7 still runs")}, wait: 30 * time.Millisecond, says: "process 7 still runs", is: service.ErrNotReady},
	} {
		b := c.body
		s := supervised(t, b, func(o *Options) { o.StartWait = c.wait })
		var wg sync.WaitGroup
		if c.during != nil {
			wg.Go(func() {
				for s.State().PID == 0 {
					time.Sleep(time.Millisecond)
				}
				c.during(b)
			})
		}
		err := s.Start(t.Context())
		wg.Wait()
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if st := s.State(); st.Phase != service.Failed || !strings.Contains(st.Reason, c.says) {
			t.Errorf("%s: state %+v", name, st)
		}
		if got := b.asked(); len(got) != 1 || got[0] != 0 {
			t.Errorf("%s: ended with patience %v", name, got)
		}
	}
}

// TestAGivenUpStart ends with its caller's time.
func TestAGivenUpStart(t *testing.T) {
	b := &fakeBody{ready: errors.New("nothing answers")}
	s := supervised(t, b, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	turned := errors.New("the course turned back")
	go func() {
		for s.State().PID == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel(turned)
	}()
	if err := s.Start(ctx); !errors.Is(err, turned) {
		t.Errorf("start: %v", err)
	}
	b.mu.Lock()
	b.ready = nil
	b.mu.Unlock()
	start(t, s)
}

func TestBudget(t *testing.T) {
	b, failed := &fakeBody{}, make(chan service.State, 1)
	s := supervised(t, b, func(o *Options) { o.Restarts, o.OnFailed = 1, func(st service.State) { failed <- st } })
	pid := start(t, s)
	b.end()
	eventually(t, "the restart", func() bool {
		st := s.State()
		return st.Phase == service.Running && st.PID != pid && st.Restarts == 1 && st.Reason == "out of memory; it said so"
	})
	b.end()
	if st := <-failed; st.Phase != service.Failed || !strings.Contains(st.Reason, "2 times") {
		t.Errorf("state %+v", st)
	}
	if pid = start(t, s); s.State().Restarts != 0 {
		t.Errorf("state after a new start of %d: %+v", pid, s.State())
	}
}

func TestARestartThatFails(t *testing.T) {
	b, failed := &fakeBody{}, make(chan service.State, 1)
	s := supervised(t, b, func(o *Options) { o.Restarts, o.OnFailed = 5, func(st service.State) { failed <- st } })
	start(t, s)
	b.mu.Lock()
	b.noBegin = errors.New("its program is gone")
	b.mu.Unlock()
	b.end()
	if st := <-failed; st.Phase != service.Failed || !strings.Contains(st.Reason, "its restart failed: its program is gone") {
		t.Errorf("state %+v", st)
	}
}

// TestOneThatHangs is replaced, and not ready again before it is well.
func TestOneThatHangs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "well")
	b := &fakeBody{}
	s := supervised(t, b, func(o *Options) {
		o.Restarts = 3
		// It is well once per life: the look itself makes it ill.
		o.Health = health.Check{Command: []string{"sh", "-c", "mkdir " + file + " 2>/dev/null || { rmdir " + file + "; false; }"},
			Interval: 10 * time.Millisecond, Timeout: 20 * time.Second, Failures: 1}
	})
	pid := start(t, s)
	eventually(t, "the restart", func() bool {
		st := s.State()
		return st.PID > pid && strings.Contains(st.Reason, "health check failed")
	})
}

func TestHeldBack(t *testing.T) {
	b, wanted := &fakeBody{}, make(chan struct{})
	s := supervised(t, b, func(o *Options) {
		o.Restarts, o.Hold = 3, func(ctx context.Context) error {
			select {
			case <-wanted:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	pid := start(t, s)
	b.end()
	eventually(t, "the service to be held back", func() bool {
		st := s.State()
		return st.Phase == service.Stopped && strings.Contains(st.Reason, "not restarted for now; out of memory")
	})
	close(wanted)
	eventually(t, "the restart", func() bool { st := s.State(); return st.Phase == service.Running && st.PID != pid })
}

// TestPatience leaves time for a kill, and asks even when there is none.
func TestPatience(t *testing.T) {
	past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	soon, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for _, c := range []struct {
		ctx      context.Context
		wait     time.Duration
		min, max time.Duration
	}{
		{t.Context(), 0, defaultStopWait, defaultStopWait},
		{t.Context(), time.Hour, time.Hour, time.Hour},
		{soon, 2 * time.Hour, time.Minute, 45 * time.Minute},
		{past, time.Hour, 1, 1},
	} {
		o := Options{StopWait: c.wait}
		if got := o.Patience(c.ctx); got < c.min || got > c.max {
			t.Errorf("patience of %v is %v, want %v to %v", c.wait, got, c.min, c.max)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []Options{{}, {Volume: "v", Name: "../x"}, {Volume: "a b", Name: "n"}, {Volume: ".", Name: "n"}} {
		if _, err := New(o, &fakeBody{}); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
