package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/config"
	"gemel/node/failover"
	"gemel/node/fencing"
	"gemel/node/fencing/watchdog"
	"gemel/node/replicator/control"
)

const (
	witnessEvery = 2 * time.Second
	witnessWait  = time.Second
	// stopGrace is added to the time the machine allows itself for leaving.
	stopGrace = 2 * time.Second
	dropWait  = 5 * time.Second // for the last drop of the addresses
	endWait   = 5 * time.Second // for goroutines to end at the very end
	// lingerWait bounds how long a stopping node waits for the peer's election.
	lingerWait = 3 * time.Second
)

// parts is everything an Agent is put together from.
type parts struct {
	config  *config.Config
	log     *slog.Logger
	clock   Clock
	boot    string // identifies this start
	replica Replica
	peers   map[string]Peer  // by link name
	witness Witness          // nil: none configured
	fence   []fencing.Device // that can switch the peer
	// watchdog opens this box's own; nil: the kernel's is opened.
	watchdog func(path string) (watchdog.Device, error)
	reboot   rebooter // of this box; nil: the configured one
	keep     []History
	// volume makes what is particular to one volume; failed is called when a
	// service has used up its restarts.
	volume func(v config.Volume, failed func(name, reason string)) (volumeParts, error)
	// interfaceOf names the interface that owns a local address, or "".
	interfaceOf func(address string) string
	// connected lists the TCP connections to some addresses of this box; nil: none is told.
	connected func([]netip.Addr) ([]api.Connection, error)
	// beside runs as long as the agent: API servers, carrier and conflict
	// watchers. An error of one of them ends the agent.
	beside []func(ctx context.Context, a *Agent) error
}

type volumeParts struct {
	machine   machine
	addresses Addresses
	services  Services
	mount     Mount
	discard   func(ctx context.Context) error // see course
}

// Agent carries out what failover decides on one node.
type Agent struct {
	cfg         *config.Config
	clock       Clock
	diary       *diary
	replica     Replica
	witness     Witness
	links       links
	owners      []*owner
	heart       *heart
	leases      *leases
	watcher     *watcher
	modes       *modes
	interfaceOf func(string) string
	connected   func([]netip.Addr) ([]api.Connection, error)
	arrivals    *arrivals
	beside      []func(context.Context, *Agent) error
	fencer      *fencer   // nil: none configured
	guard       *guard    // nil: no watchdog is configured
	asker       *asker    // nil: the peer does not reboot itself when asked
	obedient    *obedient // nil: this box does not
	started     time.Time
	version     string

	paced atomic.Int64 // boot time in ns at which all machines had taken a tick

	witnessSeen atomic.Int64 // unix ns of its newest answer
	witnessUp   atomic.Bool

	nicMu sync.Mutex
	nics  map[string]bool // carrier by interface; absent: not known, taken as up
}

// build puts an Agent together; nothing runs yet.
func build(p parts) (*Agent, error) {
	self := p.config.SelfIndex()
	if self < 0 || p.config.Peer() == nil {
		return nil, fmt.Errorf("%q is not one of the two nodes in the configuration; set node to one of %v",
			p.config.Node, p.config.NodeNames())
	}
	a := &Agent{cfg: p.config, clock: p.clock, replica: p.replica, witness: p.witness, started: time.Now(),
		interfaceOf: p.interfaceOf, connected: p.connected, arrivals: newArrivals(), beside: p.beside, nics: map[string]bool{},
		diary: &diary{node: p.config.Node, log: p.log, keep: p.keep}}
	a.modes = newModes(p.config.StateDir, p.config.Node, func(kind, text, reason string) { a.diary.note("", kind, text, reason) })
	for _, l := range p.config.Self().Links {
		if remote := p.config.Peer().Link(l.Name); remote != nil {
			a.links = append(a.links, newLink(l.Name, l.Address, remote.Address, p.peers[l.Name]))
		}
	}
	if len(p.fence) > 0 {
		a.fencer = newFencer(p.config.Peer().Name, p.fence, p.config.Fencing, a.peerHeard, a.peerStart,
			func(kind, text, reason string) { a.diary.note("", kind, text, reason) })
		a.fencer.decides, a.fencer.fit = a.fencingDecides, a.fencingFits
	}
	a.rebooting(p.reboot)
	var third Voter
	if p.witness != nil {
		third = p.witness
	}
	v := newVoters(arbiter.NodeID(self), p.replica, a.links, third)
	a.leases = &leases{tell: p.replica.Leases, lost: func(volume string, err error) {
		a.diary.note(volume, "replica.not-told", "The replica was not told of the lease.", err.Error())
	}}
	for _, vol := range p.config.Volumes {
		o, err := a.newOwner(p, vol, v)
		if err != nil {
			return nil, err
		}
		a.owners = append(a.owners, o)
	}
	a.heart = &heart{node: p.config.Node, peer: p.config.Peer().Name, boot: p.boot, every: p.config.Timing.Heartbeat,
		clock: p.clock, links: a.links, owners: a.owners, retired: map[string]bool{}, last: map[string]uint64{},
		mine: newSaid(len(a.owners)), theirs: heard{words: map[string]api.BeatVolume{}},
		modes: a.modes, log: func(kind, text, reason string) { a.diary.note("", kind, text, reason) }}
	a.paced.Store(int64(a.clock.Boot()))
	a.heart.lively = func() bool {
		return a.clock.Boot()-time.Duration(a.paced.Load()) < max(a.cfg.Timing.Major, stalledAfter)
	}
	a.modes.apply, a.modes.kick = a.setMode, a.heart.kickAll
	if m := a.modes.mode(); m != (failover.Mode{}) {
		a.setMode(m)
	}
	if a.guard = newGuard(p.config, p.clock, p.watchdog, func(kind, text, reason string) { a.diary.note("", kind, text, reason) }); a.guard != nil {
		a.guard.owners = a.owners
	}
	a.watcher = &watcher{replica: p.replica, owners: a.owners, clock: p.clock}
	return a, nil
}

func (a *Agent) newOwner(p parts, vol config.Volume, v *voters) (*owner, error) {
	o := &owner{name: vol.Name, vol: vol, self: v.self, clock: a.clock, box: newMailbox(), stretches: make(chan struct{}, 1),
		modes: a.modes, voters: v, leases: a.leases, links: a.links, replica: a.replica, diary: a.diary, speaks: len(a.owners) == 0}
	own, err := p.volume(vol, func(name, reason string) {
		o.box.post(failover.ServiceFailed{Name: name, Reason: reason})
	})
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", vol.Name, err)
	}
	o.machine = own.machine
	o.turn = func(ctx context.Context) { a.waitTurn(ctx, o) }
	o.course = &course{vol: vol, replica: a.replica, addresses: own.addresses, services: own.services,
		mount: own.mount, discard: own.discard, fence: a.fencer, ask: a.asker, mounted: o.stretch, note: o.note, clients: o.clients.leave,
		cradle: newCradle(p.config.StateDir, vol.Name), peerLeft: o.peerLeft}
	o.chosen = newNewest(20, func(ctx context.Context, r control.ChosenRequest) error { return a.replica.Chosen(ctx, r) },
		func(err error) {
			o.note("replica.not-told", "The replica was not told of the recorded set.", text(err))
		})
	for _, addr := range vol.Addresses {
		if ip, err := netip.ParseAddr(addr.Address); err == nil { // checked by config
			o.ips = append(o.ips, ip.Unmap())
		}
	}
	o.nic.Store(true)
	o.publish()
	o.heartbeats = func() { a.heart.kickAll() }
	return o, nil
}

func (a *Agent) owner(volume string) (*owner, error) {
	for _, o := range a.owners {
		if o.name == volume {
			return o, nil
		}
	}
	return nil, &api.Error{Code: api.CodeUnknownVolume,
		Message: fmt.Sprintf("there is no volume %q on %s; the configuration names %v", volume, a.cfg.Node, a.volumeNames())}
}

func (a *Agent) volumeNames() []string {
	names := make([]string, len(a.owners))
	for i, o := range a.owners {
		names[i] = o.name
	}
	return names
}

// serve runs the agent until ctx ends or something beside it fails; then it
// lets every volume go cleanly and, in any case, drops the addresses.
func (a *Agent) serve(ctx context.Context) error {
	a.diary.note("", "agent.start", fmt.Sprintf("The agent of %s starts.", a.cfg.Node), "")
	if a.guard != nil {
		a.guard.dog.Begin(a.clock.Boot())
	}
	a.clean(ctx)
	a.paced.Store(int64(a.clock.Boot()))
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	var wg sync.WaitGroup
	failed := make(chan error, len(a.beside))
	for _, run := range a.background() {
		wg.Go(func() { run(work) })
	}
	for _, run := range a.beside {
		wg.Go(func() {
			if err := run(work, a); err != nil && work.Err() == nil {
				failed <- err
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		a.diary.note("", "agent.failed", "A part of the agent ended; the agent stops.", err.Error())
	}
	a.leave(work)
	stopWork()
	a.end(&wg)
	if a.guard != nil {
		a.guard.end()
	}
	return err
}

func (a *Agent) background() []func(context.Context) {
	run := []func(context.Context){a.watcher.run, a.keepTime, a.modes.run, a.keepDrills}
	for _, o := range a.owners {
		run = append(run, o.run, o.keepCalendar)
	}
	for _, l := range a.links {
		run = append(run, func(ctx context.Context) { a.heart.send(ctx, l) })
	}
	if a.witness != nil {
		run = append(run, a.pingWitness)
	}
	if a.fencer != nil {
		run = append(run, a.fencer.run)
	}
	if a.connected != nil {
		run = append(run, a.shareClients)
	}
	if a.guard != nil {
		run = append(run, a.guard.run)
	}
	if a.asker != nil {
		run = append(run, a.asker.run)
	}
	if a.obedient != nil {
		run = append(run, a.obedient.run)
	}
	return run
}

// keepTime lets time pass for every volume's machine, one after the other: two
// hundred goroutines that wake forty times a second cost more than what they do.
func (a *Agent) keepTime(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	last := a.clock.Boot()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := a.clock.Boot()
		if now-last > stalledAfter {
			a.diary.note("", "agent.stalled", fmt.Sprintf("The agent did not run for %v.", (now-last).Round(time.Millisecond)),
				"the box was overloaded, stopped or suspended")
		}
		last = now
		for _, o := range a.owners {
			o.tick(ctx)
		}
		a.paced.Store(int64(a.clock.Boot()))
	}
}

// leave lets every volume go cleanly, within the time the machine allows
// itself. What could not leave loses its addresses and services all the same.
func (a *Agent) leave(ctx context.Context) {
	a.diary.note("", "agent.stop", fmt.Sprintf("The agent of %s stops and lets its volumes go.", a.cfg.Node), "")
	a.heart.stopping.Store(true)
	ctx, cancel := context.WithTimeout(ctx, 2*a.cfg.Timing.StepTimeout+stopGrace)
	defer cancel()
	var wg sync.WaitGroup
	for _, o := range a.owners {
		wg.Go(func() { o.leave(ctx) })
	}
	wg.Wait()
}

func (o *owner) leave(ctx context.Context) {
	was := o.primaryHere()
	left := o.order(ctx, failover.OrderLeave)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWait)
	defer cancel()
	err := wrap("drop the addresses", o.course.addresses.Drop(ctx))
	if left != nil {
		// The mount and the device stay: the replica may still serve this
		// reign, and the agent's next start resumes or clears it.
		err = errors.Join(left, err, wrap("kill the services", o.course.services.Kill(ctx)))
	}
	if err != nil {
		o.note("agent.stop-hard", "The volume was not let go cleanly; its addresses and services were taken down.", err.Error())
	}
	o.releases.Wait()
	o.handOver.Wait()
	switch {
	case was && left == nil:
		o.linger(ctx)
	case !was:
		o.lingerInSet(ctx)
	}
}

// lingerInSet keeps a Secondary's vote at hand until the Primary has taken it out of
// the set, where without a third voter nobody else could vote for that.
func (o *owner) lingerInSet(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lingerWait)
	defer cancel()
	for ctx.Err() == nil {
		view, heard := o.view.Load(), o.heard.Load()
		if !view.Arbiter.Rule.Alone() || !view.Peer.Alive || heard == nil || heard.Role != rolePrimary || !heard.Chosen.Set.Has(o.self) {
			return
		}
		pause(ctx, tickEvery)
	}
}

// linger keeps this node's vote at hand until the peer has been elected: without
// the witness nobody else could give it.
func (o *owner) linger(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lingerWait)
	defer cancel()
	for ctx.Err() == nil && o.view.Load().Peer.Alive {
		if heard := o.heard.Load(); heard != nil && heard.Role == rolePrimary {
			return
		}
		pause(ctx, tickEvery)
	}
}

// end waits for all goroutines, but not for ever: a step that hangs in the
// kernel must not keep the process.
func (a *Agent) end(wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		for _, o := range a.owners {
			o.course.wg.Wait()
		}
		close(done)
	}()
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		a.diary.note("", "agent.stop-hard", "The agent ends although a step still hangs.",
			"the kernel did not return from it")
	}
}

// pingWitness watches the third voter, also while no lease needs it: people
// must see that it is gone before they need it.
func (a *Agent) pingWitness(ctx context.Context) {
	first := true
	for ctx.Err() == nil {
		once, cancel := context.WithTimeout(ctx, witnessWait)
		err := a.witness.Ping(once)
		cancel()
		if ctx.Err() != nil {
			return
		}
		a.witnessAnswered(err, first)
		first = false
		pause(ctx, witnessEvery)
	}
}

func (a *Agent) witnessAnswered(err error, first bool) {
	if err == nil {
		a.witnessSeen.Store(time.Now().UnixNano())
	}
	if was := a.witnessUp.Swap(err == nil); was == (err == nil) && !first {
		return
	}
	for _, o := range a.owners {
		o.box.post(failover.Arbiter{Up: err == nil})
	}
	if err == nil {
		a.diary.note("", "witness.up", fmt.Sprintf("The third voter, %s, answers.", a.cfg.ArbiterName()), "")
		return
	}
	a.diary.note("", "witness.down", fmt.Sprintf("The third voter, %s, does not answer.", a.cfg.ArbiterName()), err.Error())
}
