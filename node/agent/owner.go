package agent

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/config"
	"gemel/node/failover"
	"gemel/node/replicator/control"
)

const (
	tickEvery = 25 * time.Millisecond
	// stalledAfter is how long the machines may have got no tick before it is worth
	// an event: the box was overloaded or suspended, and decisions came late.
	stalledAfter = time.Second
)

// owner runs one volume. One goroutine at a time calls the machine: the owner's own
// when an event came, the agent's at every tick. Everything else reads the copies
// in view, state and heard.
type owner struct {
	name    string
	vol     config.Volume
	self    arbiter.NodeID
	machine machine
	clock   Clock
	box     *mailbox
	voters  *voters
	links   links
	replica Replica
	course  *course
	diary   *diary
	turn    func(context.Context) // waits where the other node is to shoot first
	modes   *modes
	// heartbeats makes beats leave now on every link: the role changed, or must be known.
	heartbeats func()

	chosen *newest[control.ChosenRequest]
	leases *leases

	learning sync.Mutex // orders state and the events made of it

	view  atomic.Pointer[failover.View]
	state atomic.Pointer[control.VolumeState]
	heard atomic.Pointer[api.BeatVolume] // peer's newest word
	nic   atomic.Bool                    // carrier on every interface of the addresses

	ips     []netip.Addr // the volume's addresses
	clients clientele    // of the peer, while that serves

	conflictAt atomic.Int64 // boot time in ns at which a conflict was told last; 0: never

	roleSince atomic.Int64 // unix ns of the newest change of the role

	stretches chan struct{} // the file system shall fill its device

	orders   orders
	releases sync.WaitGroup // releases under way; a hand-over waits for them
	handOver sync.WaitGroup // hand-over under way; the agent's end waits for it
	wg       sync.WaitGroup

	stepping sync.Mutex // held while the machine is called
	over     bool       // the owner has ended
	lastStep time.Duration
	steps    atomic.Uint64 // steps that the machine has taken to their end
	// speaks: this owner tells the history what all machines see alike of the peer.
	speaks bool
}

// run owns the volume until ctx ends and then waits for everything it started.
func (o *owner) run(ctx context.Context) {
	defer o.wg.Wait()
	o.spawn(func() { o.chosen.run(ctx) })
	o.spawn(func() { o.keepStretched(ctx) })
	for {
		select {
		case <-ctx.Done():
			o.stepping.Lock()
			o.over = true
			o.stepping.Unlock()
			return
		case <-o.box.ready:
			o.stepping.Lock()
			o.drain(ctx)
			o.stepping.Unlock()
		}
	}
}

// tick lets time pass for the machine.
func (o *owner) tick(ctx context.Context) {
	o.stepping.Lock()
	defer o.stepping.Unlock()
	if o.over || ctx.Err() != nil {
		return
	}
	// What arrived before the tick is older than the tick: a beat that waits in
	// the box must not be mistaken for silence.
	o.drain(ctx)
	o.step(ctx, failover.Tick{})
}

// drain feeds the machine with what waits; o.stepping is held.
func (o *owner) drain(ctx context.Context) {
	for _, ev := range o.box.take() {
		o.step(ctx, ev)
	}
}

// step feeds the machine with one event and starts what it asks for.
func (o *owner) step(ctx context.Context, ev failover.Event) {
	now := o.clock.Boot()
	o.lastStep = now
	actions := o.machine.Step(now, ev)
	o.publish()
	for _, action := range actions {
		o.act(ctx, action)
	}
	o.steps.Add(1)
}

// publish copies the machine's view for everybody else.
func (o *owner) publish() {
	view := o.machine.View()
	old := o.view.Swap(&view)
	if old != nil && old.Role == view.Role {
		return
	}
	o.roleSince.Store(time.Now().UnixNano())
	if o.heartbeats != nil {
		o.heartbeats()
	}
}

func (o *owner) spawn(f func()) {
	o.wg.Add(1)
	go func() {
		defer o.wg.Done()
		f()
	}()
}

func (o *owner) note(kind, text, reason string, fields ...string) {
	o.diary.note(o.name, kind, text, reason, fields...)
}

// tell writes a note of the machine down. What it says of the peer as a whole all
// machines say; it is written once.
func (o *owner) tell(n failover.Note) {
	switch n.Kind {
	case "link.up", "carrier.up", "peer.alive", "failure.minor", "failure.major":
		if o.speaks {
			o.diary.keepNote("", n)
		}
		return
	}
	o.diary.keepNote(o.name, n)
}

// act starts one action; nothing here waits.
func (o *owner) act(ctx context.Context, action failover.Action) {
	switch a := action.(type) {
	case failover.SendPrepare:
		o.sendPrepare(ctx, a)
	case failover.SendAccept:
		o.sendAccept(ctx, a)
	case failover.SendRenew:
		o.sendRenew(ctx, a)
	case failover.SendRelease:
		o.sendRelease(ctx, a)
	case failover.TellChosen:
		o.chosen.set(control.ChosenRequest{Volume: o.name, Chosen: a.Chosen})
	case failover.TellLease:
		o.leases.set(ctx, control.LeaseRequest{Volume: o.name, Epoch: a.Epoch, Until: int64(a.Until)})
	case failover.Run:
		o.course.start(ctx, a, func(err error) { o.stepDone(ctx, a.Step, err) })
	case failover.TellHandOver:
		o.handOver.Add(1)
		o.spawn(func() { o.tellHandOver(ctx, a) })
	case failover.Fence:
		o.spawn(func() { o.shoot(ctx) })
	case failover.Answer:
		o.orders.answer(a.ID, a.Err)
	case failover.Note:
		o.tell(a)
	default:
		panic(fmt.Sprintf("agent: unknown action %T", action))
	}
}

func (o *owner) stepDone(ctx context.Context, s failover.Step, err error) {
	if pairOf(s) == pairDevice {
		o.refresh(ctx)
	}
	o.box.post(failover.StepDone{Step: s, Err: text(err)})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// ask sends a vote; the owner's end waits for the answer.
func (o *owner) ask(ctx context.Context, voter arbiter.NodeID, vote ballot.Vote, done func(ballot.Reply, error)) {
	o.wg.Add(1)
	o.voters.ask(ctx, voter, vote, func(r ballot.Reply, err error) {
		defer o.wg.Done()
		done(r, err)
	})
}

func (o *owner) sendPrepare(ctx context.Context, a failover.SendPrepare) {
	req := arbiter.PrepareRequest{Volume: o.name, Epoch: a.Epoch, Known: a.Known}
	o.ask(ctx, a.Voter, ballot.Vote{Prepare: &req}, func(r ballot.Reply, err error) {
		ev := failover.Prepared{Voter: a.Voter, Epoch: a.Epoch, Unreachable: err != nil || r.Prepare == nil}
		if r.Prepare != nil {
			ev.Reply = *r.Prepare
		}
		o.box.post(ev)
	})
}

func (o *owner) sendAccept(ctx context.Context, a failover.SendAccept) {
	req := arbiter.AcceptRequest{Volume: o.name, Accepted: a.Proposal}
	o.ask(ctx, a.Voter, ballot.Vote{Accept: &req}, func(r ballot.Reply, err error) {
		ev := failover.AcceptedBy{Voter: a.Voter, Proposal: a.Proposal, Unreachable: err != nil || r.Accept == nil}
		if r.Accept != nil {
			ev.Reply = *r.Accept
		}
		o.box.post(ev)
	})
}

// sendRenew takes the time of the step as the time of sending, which is before
// any request leaves: the grantor counts from its receipt, so the holder's lease
// always ends first.
func (o *owner) sendRenew(ctx context.Context, a failover.SendRenew) {
	sent := o.lastStep
	req := arbiter.RenewRequest{Volume: o.name, Epoch: a.Epoch, Term: a.Term}
	o.ask(ctx, a.Voter, ballot.Vote{Renew: &req}, func(r ballot.Reply, err error) {
		ev := failover.Renewed{Voter: a.Voter, Epoch: a.Epoch, Sent: sent, Unreachable: err != nil || r.Renew == nil}
		if r.Renew != nil {
			ev.Reply = *r.Renew
		}
		o.box.post(ev)
	})
}

// voterName names a voter by its number, for people.
func (o *owner) voterName(v arbiter.NodeID) string {
	switch v {
	case o.self:
		return "This node's own register"
	case arbiter.Witness:
		return "The witness"
	default:
		return "The peer"
	}
}

func (o *owner) sendRelease(ctx context.Context, a failover.SendRelease) {
	o.releases.Add(1)
	req := arbiter.ReleaseRequest{Volume: o.name, Epoch: a.Epoch}
	o.ask(ctx, a.Voter, ballot.Vote{Release: &req}, func(_ ballot.Reply, err error) {
		defer o.releases.Done()
		if err != nil { // a lost release only costs the rest of the lease
			o.note("lease.release-lost", o.voterName(a.Voter)+" was not told that the lease is over.", err.Error())
		}
	})
}

// tellHandOver follows the releases: the peer's campaign must not meet a lease
// that has just been given up.
func (o *owner) tellHandOver(ctx context.Context, a failover.TellHandOver) {
	defer o.handOver.Done()
	o.releases.Wait()
	ctx, cancel := context.WithTimeout(ctx, handOverWait)
	defer cancel()
	var err error
	for ctx.Err() == nil {
		try, done := context.WithTimeout(ctx, handOverWait/3)
		err = o.links.handOver(try, o.name, a.Epoch)
		done()
		if err == nil {
			o.note("handover.sent", "The peer was told that the volume is free for it.", "")
			return
		}
		pause(ctx, hedgeAfter)
	}
	o.note("handover.lost", "The peer could not be told that the volume is free for it.",
		fmt.Sprintf("%v; it will notice by itself that nobody is Primary", err))
}

// pause waits for d; false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
