package agent

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/failover"
	"gemel/node/replicator/control"
	"gemel/node/service"
)

// A drill is a planned switchover for its own sake: whether the other node can take a
// volume is known only once it has. It is made only while nothing is amiss, so that
// a failure in the middle of it meets a pair that could bear one.

// drillLimit bounds one drill's switchover.
const drillLimit = 2 * time.Minute

// drill makes a drill of a volume, or of every one. Volumes that the peer serves it
// asks the peer for, unless the order came from there.
func (a *Agent) drill(ctx context.Context, volume string, forwarded bool) ([]api.Drill, error) {
	owners := a.owners
	if volume != "" {
		o, err := a.owner(volume)
		if err != nil {
			return nil, err
		}
		owners = []*owner{o}
	}
	drills := make([]api.Drill, 0, len(owners))
	for _, o := range owners {
		heard := o.heard.Load()
		if o.primaryHere() || forwarded || heard == nil || heard.Role != rolePrimary {
			drills = append(drills, a.drillOf(ctx, o, "an operator asked for it"))
			continue
		}
		there, err := a.drillThere(ctx, o.name)
		if err != nil {
			return drills, err
		}
		drills = append(drills, there...)
	}
	return drills, nil
}

// drillThere is not hedged: twice is once too often.
func (a *Agent) drillThere(ctx context.Context, volume string) ([]api.Drill, error) {
	best := a.links.best()
	if len(best) == 0 {
		return nil, errNoLink
	}
	there, err := best[0].peer.Drill(ctx, api.DrillOrder{Volume: volume})
	if err != nil {
		return nil, fmt.Errorf("%s was asked for a drill of volume %s: %w", a.cfg.Peer().Name, volume, err)
	}
	return there, nil
}

// drillOf makes the drill of a volume that this node serves.
func (a *Agent) drillOf(ctx context.Context, o *owner, why string) api.Drill {
	d := api.Drill{Volume: o.name, From: a.cfg.Node, To: a.cfg.Peer().Name}
	if d.Skipped = a.noDrill(ctx, o); d.Skipped != "" {
		o.note("drill.skipped", "A drill was not made.", d.Skipped)
		return d
	}
	ctx, cancel := context.WithTimeout(ctx, drillLimit)
	defer cancel()
	o.note("drill.start", fmt.Sprintf("A drill gives %s to %s.", o.name, d.To), why)
	begin := time.Now()
	err := o.order(ctx, failover.OrderSwitchover)
	d.Pause = time.Since(begin)
	pause := strconv.FormatInt(d.Pause.Milliseconds(), 10)
	if err != nil {
		d.Failed = err.Error()
		o.note("drill.failed", fmt.Sprintf("The drill of %s failed.", o.name), d.Failed, "from", d.From, "to", d.To, "pause_ms", pause)
		return d
	}
	o.note("drill.done", fmt.Sprintf("The drill succeeded: %s serves %s, after a pause of %v.", d.To, o.name, d.Pause.Round(time.Millisecond)),
		"", "from", d.From, "to", d.To, "pause_ms", pause)
	return d
}

// noDrill says what is amiss, so that no drill is made; empty: nothing.
func (a *Agent) noDrill(ctx context.Context, o *owner) string {
	if why := a.amiss(); why != "" {
		return why
	}
	view, state := o.view.Load(), o.state.Load()
	switch {
	case state == nil || view == nil:
		return "the replicator does not answer"
	case view.Role != failover.RoleServing:
		return fmt.Sprintf("%s does not serve it (%s)", a.cfg.Node, view.Phase)
	case view.Impaired != "":
		return "not all services run: " + view.Impaired
	case view.Chosen.Set != arbiter.Both || state.Connection != control.Connected:
		return "the two nodes are not in sync"
	case state.Resync != nil:
		return "a resync is under way"
	case state.Verify != nil && state.Verify.State == control.VerifyRunning:
		return "a verify is under way"
	case state.Disk != control.UpToDate || state.PeerDisk != control.UpToDate:
		return fmt.Sprintf("the disks are %s here and %s there", state.Disk, state.PeerDisk)
	}
	for _, s := range o.course.services.State() {
		if s.State != service.Running {
			return fmt.Sprintf("service %s is %s", s.Name, s.State)
		}
	}
	if err := o.order(ctx, failover.OrderMayGive); err != nil {
		return err.Error()
	}
	return ""
}

// amiss says what is wrong with the pair as a whole; empty: nothing.
func (a *Agent) amiss() string {
	view, links := a.peerView()
	switch {
	case a.modes.mode().Maintenance:
		return "maintenance is on"
	case a.modes.mode().Standby:
		return a.cfg.Node + " is on standby"
	case a.peerOnStandby():
		return a.cfg.Peer().Name + " is on standby"
	case !view.Alive:
		return a.cfg.Peer().Name + " is silent"
	case a.witness != nil && !a.witnessUp.Load():
		return fmt.Sprintf("the third voter, %s, does not answer", a.cfg.ArbiterName())
	}
	for _, l := range a.links {
		if seen, known := links[l.name]; known && !seen.up {
			return "link " + l.name + " is silent"
		}
	}
	return ""
}

// keepDrills makes the drills that are due, until ctx ends.
func (a *Agent) keepDrills(ctx context.Context) {
	when := a.cfg.Drill.When()
	c := calendar{when: when, next: when.Next(time.Now())}
	for ctx.Err() == nil && !c.next.IsZero() {
		due := c.next
		if c.due(time.Now()) {
			a.dueDrills(ctx, due)
		}
		pause(ctx, calendarEvery)
	}
}

// dueDrills drills what this node served at the time. What came here since came by the
// other node's drill, and is not sent back.
func (a *Agent) dueDrills(ctx context.Context, due time.Time) {
	for _, o := range a.owners {
		if o.primaryHere() && time.Unix(0, o.roleSince.Load()).Before(due) {
			a.drillOf(ctx, o, "it was due by drill.schedule")
		}
	}
}
