package agent

import (
	"context"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/failover"
	"gemel/node/fencing/watchdog"
)

// guard gives this box's watchdog its words. A ping is worth no more than what it rests on, so each one is earned: every
// volume's machine must have taken a step since the one before, and say that what is held here is held rightly.
type guard struct {
	dog    *watchdog.Dog
	owners []*owner
	clock  Clock
	moved  []uint64 // steps of each machine at the last word
}

// newGuard returns the guard of a node; nil when no watchdog is configured.
func newGuard(cfg *config.Config, clock Clock, open func(string) (watchdog.Device, error), note func(kind, text, reason string)) *guard {
	device := cfg.Self().Watchdog()
	if device == nil {
		return nil
	}
	longest := cfg.Timing.WatchdogLongest()
	timeout := device.Timeout
	if timeout == 0 {
		timeout = longest
	}
	return &guard{clock: clock, dog: watchdog.New(watchdog.Options{Path: device.Device, Timeout: timeout, Longest: longest, Open: open, Note: note})}
}

// run gives a word for every ping that is due, until ctx ends.
func (g *guard) run(ctx context.Context) {
	tick := time.NewTicker(config.WatchdogPing)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.dog.Turn(g.clock.Boot(), g.word())
		}
	}
}

// end gives the last word when the machines have stopped.
func (g *guard) end() { g.dog.End(g.clock.Boot(), g.worst(func(int, *owner) bool { return true })) }

// word is what all machines together say now.
func (g *guard) word() watchdog.Word {
	if g.moved == nil {
		g.moved = make([]uint64, len(g.owners))
	}
	return g.worst(func(i int, o *owner) bool {
		steps := o.steps.Load()
		moves := steps != g.moved[i]
		g.moved[i] = steps
		return moves
	})
}

// worst is the word of the volume that is worst off. One that holds nothing may stand still: it takes nothing either.
func (g *guard) worst(moves func(int, *owner) bool) watchdog.Word {
	word := watchdog.Rest
	for i, o := range g.owners {
		moved := moves(i, o)
		switch o.view.Load().Guard {
		case failover.GuardNone:
		case failover.GuardUnknown:
			word = max(word, watchdog.Stay)
		case failover.GuardHeld:
			if moved {
				word = max(word, watchdog.Hold)
				continue
			}
			word = watchdog.Over
		case failover.GuardOver:
			word = watchdog.Over
		}
	}
	return word
}

// status is what `gemel status` shows.
func (g *guard) status() *api.Watchdog {
	s := g.dog.State()
	return &api.Watchdog{Device: s.Path, Driver: s.Identity, State: s.Phase, Problem: s.Problem, Asked: s.Asked, Granted: s.Granted,
		Longest: s.Longest, StopsWithAgent: s.Granted != 0 && !s.Magic, NoWayOut: s.NoWayOut, ResetBefore: s.BitBefore}
}
