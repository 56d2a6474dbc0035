package agent

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/failover"
	"gemel/node/fencing/watchdog"
)

// fakeDog is a watchdog that runs while it is open, and counts pings.
type fakeDog struct {
	mu      sync.Mutex
	running bool
	pings   int
}

func (f *fakeDog) Info() (watchdog.Info, error) {
	return watchdog.Info{Identity: "fake", Magic: true}, nil
}
func (f *fakeDog) SetTimeout(int) error  { return nil }
func (f *fakeDog) Timeout() (int, error) { return 2, nil }
func (f *fakeDog) Ping() error           { f.mu.Lock(); defer f.mu.Unlock(); f.pings++; return nil }
func (f *fakeDog) Disable() error        { return nil }
func (f *fakeDog) Close() error          { f.mu.Lock(); defer f.mu.Unlock(); f.running = false; return nil }

func (f *fakeDog) open(string) (watchdog.Device, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = true
	return f, nil
}

func (f *fakeDog) now() (running bool, pings int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running, f.pings
}

// guarded gives the stage's agent a watchdog.
func (s *stage) guarded(f *fakeDog) *guard {
	cfg := stageConfig()
	cfg.Nodes[0].Fence = []config.FenceDevice{{Driver: config.FenceWatchdog, Device: "/dev/watchdog"}}
	cfg.Timing.Lease, cfg.Timing.Renew = 3*time.Second, 500*time.Millisecond
	g := newGuard(cfg, s.agent.clock, f.open, func(kind, text, reason string) { s.agent.diary.note("", kind, text, reason) })
	g.owners = s.agent.owners
	s.agent.guard = g
	return g
}

func (s *script) setGuard(g failover.Guard) { s.mu.Lock(); defer s.mu.Unlock(); s.view.Guard = g }

// until polls what must come true.
func until(t *testing.T, what string, true func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !true(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestTheWorstVolumeSpeaksForTheBox(t *testing.T) {
	const none, held, over, unknown = failover.GuardNone, failover.GuardHeld, failover.GuardOver, failover.GuardUnknown
	for _, c := range []struct {
		guards []failover.Guard
		stands int // the one that takes no step; -1: none
		want   watchdog.Word
	}{
		{nil, -1, watchdog.Rest},
		{[]failover.Guard{none, none}, -1, watchdog.Rest},
		{[]failover.Guard{none, held}, -1, watchdog.Hold},
		{[]failover.Guard{held, unknown}, -1, watchdog.Hold},
		{[]failover.Guard{none, unknown}, -1, watchdog.Stay},
		{[]failover.Guard{held, over, held}, -1, watchdog.Over},
		{[]failover.Guard{held, held}, 0, watchdog.Over},
		{[]failover.Guard{held, held}, 1, watchdog.Over},
		{[]failover.Guard{none, held}, 0, watchdog.Hold}, // it stands still, and takes nothing either
		{[]failover.Guard{unknown}, 0, watchdog.Stay},
	} {
		g := &guard{}
		for _, guard := range c.guards {
			o := &owner{}
			o.view.Store(&failover.View{Guard: guard})
			g.owners = append(g.owners, o)
		}
		step := func() {
			for i, o := range g.owners {
				if i != c.stands {
					o.steps.Add(1)
				}
			}
		}
		step()
		g.word()
		step()
		if got := g.word(); got != c.want {
			t.Errorf("%v, %d stands still: word %d, want %d", c.guards, c.stands, got, c.want)
		}
		if got := g.word(); slices.Contains(c.guards, held) && got != watchdog.Over {
			t.Errorf("%v: a second ping for one step, word %d", c.guards, got)
		}
	}
}

// TestAHungMachineIsNotPingedFor hangs the machine inside a step.
func TestAHungMachineIsNotPingedFor(t *testing.T) {
	hang, hung := make(chan struct{}), make(chan struct{})
	stop := make(chan struct{}, 1)
	s := newStage(t, func(failover.Event) []failover.Action {
		select {
		case <-stop:
			close(hung)
			<-hang
		default:
		}
		return nil
	})
	g := s.guarded(&fakeDog{})
	s.script.setGuard(failover.GuardHeld)
	s.runOwner(t)
	until(t, "a ping is due", func() bool { return g.word() == watchdog.Hold })
	stop <- struct{}{}
	<-hung
	g.word()
	for range 3 {
		if w := g.word(); w != watchdog.Over {
			t.Errorf("word %d for a machine that hangs", w)
		}
	}
	close(hang)
	until(t, "it is pinged again", func() bool { return g.word() == watchdog.Hold })
}

// TestTheAgentKeepsItsWatchdog runs an agent from its start to its end.
func TestTheAgentKeepsItsWatchdog(t *testing.T) {
	for name, lets := range map[string]bool{"lets the volume go": true, "cannot let the volume go": false} {
		t.Run(name, func(t *testing.T) {
			var s *stage
			s = newStage(t, func(ev failover.Event) []failover.Action {
				o, ok := ev.(failover.Order)
				if !ok || o.Kind != failover.OrderLeave {
					return nil
				}
				why := "the unmount hangs"
				if lets {
					why, s.script.view.Guard = "", failover.GuardNone
				}
				return []failover.Action{failover.Answer{ID: o.ID, Err: why}}
			})
			dog := &fakeDog{}
			s.guarded(dog)
			s.script.setGuard(failover.GuardHeld)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.agent.serve(ctx) }()
			until(t, "the watchdog is armed", func() bool { _, pings := dog.now(); return pings > 2 })
			if w := s.agent.status().Watchdog; w == nil || w.State != api.WatchdogArmed || w.Driver != "fake" || w.Granted != 2*time.Second {
				t.Errorf("status %+v", w)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if running, _ := dog.now(); running == lets {
				t.Errorf("running %v in the end", running)
			}
		})
	}
}

func TestWithoutAWatchdogThereIsNone(t *testing.T) {
	s := newStage(t, nil)
	if s.agent.guard != nil || s.agent.status().Watchdog != nil {
		t.Error("a watchdog that is not configured")
	}
}

func TestTheWordsOfTheStatusAreTheWatchdogs(t *testing.T) {
	for ours, theirs := range map[string]string{api.WatchdogIdle: watchdog.Idle, api.WatchdogArmed: watchdog.Armed, api.WatchdogKept: watchdog.Kept,
		api.WatchdogStarving: watchdog.Starving, api.WatchdogUnfit: watchdog.Unfit} {
		if ours != theirs {
			t.Errorf("%q is called %q", theirs, ours)
		}
	}
}
