package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/fencing/watchdog"
)

// watchdogWords says in one sentence what a box's watchdog does.
func watchdogWords(w *api.Watchdog) string {
	name := w.Device
	if w.Driver != "" {
		name += " (" + w.Driver + ")"
	}
	limit := fmt.Sprintf("%v", w.Granted)
	if w.Granted != w.Asked {
		limit += fmt.Sprintf(" (%v was asked)", w.Asked)
	}
	switch w.State {
	case api.WatchdogArmed:
		name += ": armed, resets this box " + limit + " after the last ping"
	case api.WatchdogKept:
		name += ": pinged for nothing, since it cannot be stopped; resets this box " + limit + " after the last ping"
	case api.WatchdogStarving:
		return name + ": NOT PINGED, resets this box within " + limit
	case api.WatchdogUnfit:
		return name + ": UNFIT: " + w.Problem
	case api.WatchdogIdle:
		name += ": ready; nothing is held here that the peer could take over"
	}
	if w.Problem != "" {
		return name + "; " + w.Problem
	}
	return name + watchdogLimits(w)
}

// watchdogLimits says what a device that works cannot do.
func watchdogLimits(w *api.Watchdog) string {
	text := ""
	if w.StopsWithAgent {
		text += "; its driver stops it when the agent dies, so only an agent that hangs is caught"
	}
	if w.NoWayOut && w.State != api.WatchdogKept {
		text += "; once armed it cannot be stopped (nowayout): an agent that is stopped must start again in time"
	}
	return text
}

func (o *screen) watchdog(s *api.Status) {
	w := s.Watchdog
	if w == nil {
		return
	}
	if s.Fencing == nil {
		o.line("")
	}
	colour := o.paint.bad
	if w.Problem == "" && w.State != api.WatchdogStarving {
		colour = nil
	}
	o.item("watchdog", watchdogWords(w), colour)
	if w.ResetBefore {
		o.item("", "the last reset of this box came from it", o.paint.warn)
	}
}

func judgeWatchdog(v *verdict, s *api.Status) {
	switch w := s.Watchdog; {
	case w == nil:
	case w.State == api.WatchdogStarving:
		v.add(degraded, "the watchdog of %s is not pinged and will reset it", s.Node)
	case w.Problem != "":
		v.add(degraded, "%s has no watchdog that works", s.Node)
	}
}

// ownWatchdog says what the watchdog of the node itself does, as that node's agent tells; nothing where none is
// configured. It is no device of the other node's: whatever it says, `gemel fence` proves nothing by it.
func (a *app) ownWatchdog(ctx context.Context, cfg *config.Config, node string) {
	if at := cfg.NodeIndex(node); at < 0 || cfg.Nodes[at].Watchdog() == nil {
		return
	}
	ask := node
	if node == cfg.Node {
		ask = ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := a.ask(ctx, ask)
	switch {
	case err != nil:
		a.printf("%s's own watchdog: not known, its agent does not answer: %v\n", node, err)
	case s.Watchdog == nil:
		a.printf("%s's own watchdog: its agent runs with a configuration that has none; restart it\n", node)
	default:
		a.printf("%s's own watchdog: %s\n", node, watchdogWords(s.Watchdog))
	}
}

// checkWatchdog says what this box has of the watchdog that its configuration names. It does not open it: that
// would start its timer.
func (a *app) checkWatchdog(cfg *config.Config) {
	if cfg.SelfIndex() < 0 || cfg.Self().Watchdog() == nil {
		return
	}
	device := cfg.Self().Watchdog().Device
	found, err := watchdog.Look(device)
	if err != nil {
		a.printf("Warning: %s.\n", watchdog.Diagnose(device, err))
		return
	}
	name, use := found.Identity, "not running"
	if name == "" {
		name = "a driver that does not tell its name here"
	}
	if found.Active {
		use = "running: the agent, or another program, has it"
	}
	a.printf("Watchdog %s is %s, %s.\n", device, name, use)
	if found.NoWayOut {
		a.printf("Warning: once it runs it cannot be stopped (nowayout): when the agent is stopped for longer than the timeout, the box is reset.\n")
	}
}

// onlyWatchdog reports whether the node has a watchdog and nothing that the other node could use.
func onlyWatchdog(cfg *config.Config, node string) bool {
	at := cfg.NodeIndex(node)
	return at >= 0 && cfg.Nodes[at].Watchdog() != nil && len(cfg.Nodes[at].Proofs()) == 0
}

var errNoProof = errors.New("neither a watchdog nor the node's own word proves that it is off, and no device is configured that could; see docs/operating/fencing.md")
