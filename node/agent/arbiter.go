package agent

import (
	"fmt"
	"slices"
	"strings"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/failover"
)

// arbiterStatus says who decides on a volume, and who is to.
func (a *Agent) arbiterStatus(v *failover.ArbiterView) api.ArbiterStatus {
	s := api.ArbiterStatus{Recorded: a.thirdName(v.Rule.Third), Configured: a.thirdName(v.Wanted), Change: v.Rule.Change,
		Differs: v.Differs, Assured: v.Assured, Shooting: v.Shooting, Failed: v.Failed}
	return s
}

func (a *Agent) thirdName(third arbiter.Third) string {
	switch {
	case third == arbiter.NoThird:
		return api.NoArbiter
	case a.cfg.HasArbiter() && third == arbiter.ThirdNamed(a.cfg.Arbiter()):
		return a.cfg.ArbiterName()
	}
	return api.AnotherArbiter
}

// aloneMeans says what a pair without a third voter survives, and what not.
func (a *Agent) aloneMeans(volumes []api.Volume) string {
	peer := a.cfg.Peer().Name
	if a.fencer == nil {
		return fmt.Sprintf("there is no third voter, and no fencing device for %s: when it dies or its cables do, service stops here "+
			"until a person takes over with `gemel grab`", peer)
	}
	if unfit := a.fencer.unfit(); unfit != "" {
		return fmt.Sprintf("there is no third voter, and fencing of %s would fail (%s): its loss would stop service here until that is "+
			"mended or a person takes over with `gemel grab`", peer, unfit)
	}
	var old []string
	for _, v := range volumes {
		if !v.Arbiter.Assured {
			old = append(old, v.Name)
		}
	}
	if len(old) > 0 {
		return fmt.Sprintf("there is no third voter; the data of %s is not known to be current here, so that proof that %s is off would "+
			"not do for a take-over", strings.Join(old, ", "), peer)
	}
	return fmt.Sprintf("there is no third voter: when %s falls silent, its power is cut, and service goes on when that is proved; "+
		"a power supply that takes the management controller along proves nothing", peer)
}

// fencingDecides reports whether a volume has no third voter, by its record.
func (a *Agent) fencingDecides() bool {
	return slices.ContainsFunc(a.owners, func(o *owner) bool { view := o.view.Load(); return view != nil && view.Arbiter.Rule.Alone() })
}

// fencingFits tells every volume's machine whether a device would cut the peer's power.
func (a *Agent) fencingFits(fit bool) {
	for _, o := range a.owners {
		o.box.post(failover.FenceDevice{Fit: fit})
	}
}

// unfit says which device would fail, when no device would do; empty: one would, or
// none was looked at yet.
func (f *fencer) unfit() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var why []string
	for _, h := range f.health {
		if h.Problem == "" {
			return ""
		}
		why = append(why, h.Device+": "+h.Problem)
	}
	return strings.Join(why, "; ")
}
