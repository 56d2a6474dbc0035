package sim

import (
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/failover"
	"gemel/node/replicator/control"
	"gemel/node/replicator/volume"
)

// agent carries out what the shipping failover machine decides, as package
// agent does.
type agent struct {
	b *box
	w *world
	m *failover.Machine

	last    failover.ReplicaReport
	known   bool // last is of the replicator that runs
	looking bool
	role    failover.Role

	ordered uint64 // number of an operator's order that is being carried out
	grabs   bool   // it is to grab the volume
}

func newAgent(b *box) *agent {
	a := &agent{b: b, w: b.w, m: failover.New(failover.Config{
		Self: b.id, SelfName: names[b.id], PeerName: names[1-b.id], WitnessName: names[2], Volume: "data",
		Links: []string{"private", "lan"}, Heartbeat: heartbeat, MinorBeats: 3, Major: major, Lease: leaseTerm,
		TakeoverUnderA: b.w.plan.TakeoverUnderA, StayDiskless: b.w.plan.Seed%2 == 0, Renew: renewEvery, BootWait: bootWait, StepTimeout: stepTimeout})}
	a.after(0, a.tick)
	a.after(b.dice.span(0, heartbeat), a.beat)
	a.after(0, a.poll)
	return a
}

func (a *agent) after(d time.Duration, f func()) {
	a.b.after(d, func() {
		if a.b.agent == a {
			f()
		}
	})
}

func (a *agent) tick() {
	a.feed(failover.Tick{})
	a.after(50*time.Millisecond, a.tick)
}

// feed gives the machine one event and starts what it asks for.
func (a *agent) feed(ev failover.Event) {
	if a.b.agent != a {
		return
	}
	for _, action := range a.m.Step(a.b.clock(), ev) {
		a.act(action)
	}
	if role := a.m.View().Role; role != a.role {
		a.role = role
		a.sendBeat()
	}
}

func (a *agent) act(action failover.Action) {
	switch x := action.(type) {
	case failover.SendPrepare:
		a.askPrepare(x)
	case failover.SendAccept:
		a.b.word = a.b.word || a.grabs
		a.askAccept(x)
	case failover.SendRenew:
		a.askRenew(x)
	case failover.SendRelease:
		a.askRelease(x)
	case failover.TellChosen:
		a.local(func(r *replicator) { _ = r.core.Chosen(a.b.clock(), x.Chosen) })
	case failover.TellLease:
		a.local(func(r *replicator) { _ = r.core.Lease(a.b.clock(), x.Epoch, x.Until) })
	case failover.Run:
		a.b.runStep(a, x)
	case failover.TellHandOver:
		a.w.parcel(a.b.id, 1-a.b.id, func() {
			if peer := a.w.boxes[1-a.b.id].agent; peer != nil {
				peer.feed(failover.HandOver(x))
			}
		})
	case failover.Answer:
		a.answered(x)
	case failover.Note:
		a.w.tell("%s: %s %s", names[a.b.id], x.Text, x.Reason)
	default:
		panic(fmt.Sprintf("the simulator does not know %T: extend lab/sim", action))
	}
}

// local speaks to the own replicator.
func (a *agent) local(f func(r *replicator)) {
	a.after(a.b.dice.span(50*time.Microsecond, 2*time.Millisecond), func() {
		if r := a.b.repl; r != nil {
			f(r)
			r.run()
		}
	})
}

// poll looks at the replica now and then, lookSoon after a change.
func (a *agent) poll() {
	a.look()
	a.after(500*time.Millisecond, a.poll)
}

func (a *agent) lookSoon() {
	if a.looking {
		return
	}
	a.looking = true
	a.after(a.b.dice.span(100*time.Microsecond, 3*time.Millisecond), func() {
		a.looking = false
		a.look()
	})
}

func (a *agent) look() {
	r := a.b.repl
	if r == nil && a.b.problem == "" {
		a.replicatorGone()
		return
	}
	now := failover.ReplicaReport{Problem: a.b.problem, Record: arbiter.Record{Fresh: true}}
	if r != nil {
		now = r.report()
	}
	same := a.last
	same.LeaseLeft = now.LeaseLeft
	if !a.known || same != now {
		a.last, a.known = now, true
		a.feed(failover.Replica{State: now})
	}
}

func (a *agent) replicatorGone() {
	if !a.known {
		return
	}
	a.known = false
	a.feed(failover.ReplicaDown{Reason: "the replicator is not running"})
}

// report is the replica's state, reduced to what decisions need.
func (r *replicator) report() failover.ReplicaReport {
	now := r.b.clock()
	v := r.core.View(now)
	disk := volume.DiskState(v, r.b.id, r.register.Record)
	out := failover.ReplicaReport{
		Usable: v.Problem == nil, Created: v.Created, Blank: v.Blank, DiskWhole: disk != control.Inconsistent && disk != control.Diskless && !v.Discard,
		Primary: v.Primary, Epoch: v.Reign, Record: r.record, Chosen: v.Chosen, WantShrink: v.WantShrink,
		ReadyToGrow: v.ReadyToGrow, CrashedPrimary: v.Crashed, Connected: v.Connected, LeaseLeft: v.Lease - now,
	}
	if v.MayLack != block.ProtocolC {
		out.MayLack = v.MayLack.String()
	}
	if v.Problem != nil {
		out.MayYield, out.Remote = v.MayYield, v.Remote
		if v.Primary {
			out.Record = r.register.Record
		}
		out.Problem = v.Problem.Error()
	}
	if v.Primary && r.promise > v.Reign && !v.Connected {
		out.NewerPromise = r.promise
	}
	return out
}

func (a *agent) beat() {
	a.sendBeat()
	a.after(heartbeat, a.beat)
}

func (a *agent) sendBeat() {
	word := a.word()
	for link, name := range [links]string{"private", "lan"} {
		if !a.w.net.reaches(link, a.b.id) || !a.w.calm && a.w.chance.net.one(100) {
			a.w.stats.Lost++
			continue
		}
		peer := a.w.boxes[1-a.b.id]
		a.w.after(a.w.delay(), func() {
			if peer.on && a.w.net.reaches(link, a.b.id) {
				peer.run(peer.power, func() {
					if peer.agent != nil {
						peer.agent.feed(failover.Beat{Link: name, Peer: word})
					}
				})
			}
		})
	}
}

// word is what this node says of the volume in its heartbeat.
func (a *agent) word() failover.PeerReport {
	v := a.m.View()
	primary := v.Role == failover.RoleTakingOver || v.Role == failover.RoleServing || v.Role == failover.RoleLeaving
	idle := v.Role == failover.RoleSecondary || v.Role == failover.RoleCampaigning
	word := failover.PeerReport{Boot: fmt.Sprint(a.b.id, a.b.boots), Primary: primary || idle && a.known && a.last.Primary,
		Serving: v.Role == failover.RoleServing, Leaving: v.Role == failover.RoleLeaving, Epoch: v.Epoch,
		Chosen: v.Chosen, AddressNIC: a.b.nicUp}
	if !a.known {
		return word
	}
	word.MayLack = a.last.MayLack
	if a.last.Chosen.Newer(word.Chosen) {
		word.Chosen = a.last.Chosen
	}
	known := a.last.Record.Accepted.Set
	outdated := known != 0 && !known.Has(a.b.id) && !a.last.Primary
	going := v.Role == failover.RoleLeaving || v.Role == failover.RoleLettingGo
	word.Fit = !going && a.last.Usable && (a.last.Created || a.last.DiskWhole && !outdated)
	return word
}

// reigns reports whether epoch's owner would be its node; for the oracles.
func reigns(id arbiter.NodeID, e arbiter.Epoch) bool { return e != 0 && e.Owner() == id }
