package sim

import (
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover"
)

// witness is the third voter: a register whose storage never forgets, but whose
// power may fail at any time.
type witness struct {
	w      *world
	on     bool
	power  int
	stable arbiter.Record
	reg    arbiter.Register
	booted time.Duration

	storing *arbiter.Record // on its way to the storage
	queue   []func()        // wait for that
}

func (v *witness) clock() time.Duration { return v.w.now - v.booted + time.Second }

func (v *witness) start() {
	if v.on {
		return
	}
	v.on, v.booted = true, v.w.now
	v.storing, v.queue = nil, nil
	v.reg = arbiter.Boot(v.stable, v.clock(), leaseTerm)
}

func (v *witness) powerOff() {
	if !v.on {
		return
	}
	v.w.tell("the witness loses power")
	v.on = false
	v.power++
	if v.storing != nil && v.w.chance.misc.one(2) {
		v.stored(*v.storing)
	}
}

func (v *witness) stored(r arbiter.Record) {
	v.stable = r
	v.w.recorded(arbiter.Witness, r.Accepted)
}

// vote works on a copy, stores what changed, and only then answers.
func (v *witness) vote(change func(*arbiter.Register) (failover.Event, bool), answer func(failover.Event)) {
	if v.storing != nil {
		v.queue = append(v.queue, func() { v.vote(change, answer) })
		return
	}
	next := v.reg
	ev, persist := change(&next)
	if !persist {
		v.reg = next
		answer(ev)
		return
	}
	v.storing = &next.Record
	power := v.power
	v.w.after(v.w.chance.misc.span(time.Millisecond, 15*time.Millisecond), func() {
		if v.power != power {
			return
		}
		v.storing = nil
		v.stored(next.Record)
		v.reg = next
		answer(ev)
		waiting := v.queue
		v.queue = nil
		for _, f := range waiting {
			f()
		}
	})
}

// question is what a voter is asked: change runs on its register at its boot
// time and gives the answer, and whether the record must be stored.
type question struct {
	change func(now time.Duration, reg *arbiter.Register) (failover.Event, bool)
	accept *arbiter.Accepted // what it asks to record, if it does
	none   failover.Event    // when no answer comes in time
	wait   time.Duration
}

// ask sends a question to a voter and feeds the machine with the answer.
func (a *agent) ask(to arbiter.NodeID, q question) {
	over := false
	end := func(ev failover.Event) {
		if !over {
			over = true
			a.feed(ev)
		}
	}
	if to == a.b.id {
		q.wait = time.Second
	}
	if q.none != nil {
		a.after(q.wait, func() { end(q.none) })
	}
	back := func(ev failover.Event) {
		a.w.parcel(to, a.b.id, func() {
			if a.b.agent == a && ev != nil {
				end(ev)
			}
		})
	}
	a.w.parcel(a.b.id, to, func() { a.w.put(to, q, back) })
}

// put brings a question before a voter's register.
func (w *world) put(to arbiter.NodeID, q question, answer func(failover.Event)) {
	if to == arbiter.Witness {
		if v := w.witness; v.on {
			v.vote(func(reg *arbiter.Register) (failover.Event, bool) { return q.change(v.clock(), reg) }, answer)
		}
		return
	}
	b := w.boxes[to]
	if b.agent == nil || b.repl == nil {
		return
	}
	r := b.repl
	if q.accept != nil && !r.core.MayAccept(*q.accept) {
		answer(failover.AcceptedBy{Voter: to, Proposal: *q.accept,
			Reply: arbiter.AcceptReply{Record: r.register.Record, Refusal: "peer-not-ready"}})
		return
	}
	ev, changed := q.change(b.clock(), &r.register)
	if a, ok := ev.(failover.AcceptedBy); ok && r.core.Problem() != nil && a.Proposal.Epoch.Owner() == to {
		a.Reply.Volatile = true
		r.core.Accepted(b.clock(), r.register.Record)
		r.run()
		answer(a)
		return
	}
	r.stableRecord(changed, func() { answer(ev) })
}

func (a *agent) askPrepare(m failover.SendPrepare) {
	a.ask(m.Voter, question{wait: 400 * time.Millisecond,
		none: failover.Prepared{Voter: m.Voter, Epoch: m.Epoch, Unreachable: true},
		change: func(now time.Duration, reg *arbiter.Register) (failover.Event, bool) {
			reply, changed := reg.Prepare(now, m.Epoch, m.Known)
			return failover.Prepared{Voter: m.Voter, Epoch: m.Epoch, Reply: reply}, changed
		}})
}

func (a *agent) askAccept(m failover.SendAccept) {
	a.ask(m.Voter, question{wait: time.Second, accept: &m.Proposal,
		none: failover.AcceptedBy{Voter: m.Voter, Proposal: m.Proposal, Unreachable: true},
		change: func(now time.Duration, reg *arbiter.Register) (failover.Event, bool) {
			reply, changed := reg.Accept(now, m.Proposal)
			return failover.AcceptedBy{Voter: m.Voter, Proposal: m.Proposal, Reply: reply}, changed
		}})
}

func (a *agent) askRenew(m failover.SendRenew) {
	sent := a.b.clock()
	a.ask(m.Voter, question{wait: 400 * time.Millisecond,
		none: failover.Renewed{Voter: m.Voter, Epoch: m.Epoch, Sent: sent, Unreachable: true},
		change: func(now time.Duration, reg *arbiter.Register) (failover.Event, bool) {
			reply := reg.Renew(now, m.Epoch, m.Term)
			return failover.Renewed{Voter: m.Voter, Epoch: m.Epoch, Sent: sent, Reply: reply}, false
		}})
}

func (a *agent) askRelease(m failover.SendRelease) {
	a.ask(m.Voter, question{change: func(_ time.Duration, reg *arbiter.Register) (failover.Event, bool) {
		reg.Release(m.Epoch)
		return nil, false
	}})
}
