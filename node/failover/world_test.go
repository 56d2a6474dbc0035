package failover

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"gemel/node/arbiter"
)

// world is two machines, three registers and a toy replica each, on one clock.
// A step of the course takes 40 ms, a message 10 ms.
type world struct {
	promoted arbiter.Epoch // newest reign that any replica served
	t        *testing.T
	now      time.Duration
	nodes    [2]*box
	wit      voter
	queue    []parcel
	cut      map[[2]arbiter.NodeID]bool // one-way: from, to
	notes    []string

	protocol string // weaker than C: what a follower notes that it may lack
	allowA   bool   // take-over under protocol A
	stay     bool   // on-disk-failure
	prefer   *arbiter.NodeID
	failback bool

	other  voter    // the third voter that may take the witness' place
	third  [2]int   // which one a node's configuration names: see thirds
	fenced bool     // each node can cut the other's power
	broken bool     // and the device does not
	unfit  bool     // and looks so
	shots  []string // who shot
}

// Third voters of a configuration.
const (
	byWitness = iota
	byOther
	byNobody
)

// voter is a register with its storage and its power.
type voter struct {
	reg arbiter.Register
	up  bool
}

type box struct {
	voter
	m       *Machine
	id      arbiter.NodeID
	boot    int
	nic     bool
	replica ReplicaReport
	linked  time.Duration // since when the replicas are connected; zero: not
	lease   time.Duration
	vip     bool
	mounted bool
	dead    bool // the replicator, not the box
	going   bool // the agent stops
	failing map[Step]string
	answers map[uint64]string
	steps   []Step
	mode    Mode
}

type parcel struct {
	at       time.Duration
	from, to arbiter.NodeID
	deliver  func()
}

const (
	tick    = 10 * time.Millisecond
	stepLen = 40 * time.Millisecond
	term    = 3 * time.Second
)

func newWorld(t *testing.T) *world { return newWorldOf(t, byWitness, false) }

func newWorldOf(t *testing.T, third int, fenced bool) *world {
	w := &world{t: t, now: time.Hour, cut: map[[2]arbiter.NodeID]bool{}, third: [2]int{third, third}, fenced: fenced}
	w.wit = voter{up: true, reg: arbiter.Boot(arbiter.Record{Fresh: true}, w.now, term)}
	w.other = w.wit
	for i := range w.nodes {
		b := &box{id: arbiter.NodeID(i), nic: true, failing: map[Step]string{}, answers: map[uint64]string{}}
		b.reg = arbiter.Boot(arbiter.Record{Fresh: true}, w.now, term)
		b.replica = ReplicaReport{Usable: true, Created: true, DiskWhole: false}
		w.nodes[i] = b
		w.powerOn(b.id)
	}
	return w
}

func (w *world) config(id arbiter.NodeID) Config {
	names, prefer := []string{"server1", "server2"}, PreferFirst
	if w.prefer != nil {
		prefer = map[bool]Preference{true: PreferSelf, false: PreferPeer}[*w.prefer == id]
	}
	boot := ""
	if b := w.nodes[id]; b != nil {
		boot = fmt.Sprint(b.boot)
	}
	return Config{Self: id, SelfName: names[id], PeerName: names[1-id], Volume: "data",
		WitnessName: []string{"witness", "other", ""}[w.third[id]], Third: arbiter.Third(w.third[id]),
		Boot: boot, Fences: w.fenced, StandIn: 4 * time.Second, FenceDelay: 2 * time.Second, FenceTime: 20 * time.Second,
		Links: []string{"private", "lan"}, Heartbeat: 250 * time.Millisecond, MinorBeats: 3, Major: 2 * time.Second,
		Lease: term, Renew: 500 * time.Millisecond, BootWait: 5 * time.Second, StepTimeout: 30 * time.Second,
		Prefer: prefer, FailBack: w.failback,
		TakeoverUnderA: w.allowA, StayDiskless: w.stay, CongestionFill: "16MiB"}
}

func (w *world) powerOn(id arbiter.NodeID) {
	b := w.nodes[id]
	b.up, b.dead, b.replica.Usable, b.replica.Problem = true, false, true, ""
	b.reg = arbiter.Boot(b.reg.Record, w.now, term)
	w.restartAgent(id)
}

// restartAgent forgets the machine; replica, addresses and mounts live on.
func (w *world) restartAgent(id arbiter.NodeID) {
	b := w.nodes[id]
	b.boot++
	b.m = New(w.config(id))
	w.feed(id, b.mode)
	if !b.replica.Primary {
		b.vip, b.mounted = false, false
	}
}

// killReplicator ends the replicator alone; its device waits for the next.
func (w *world) killReplicator(b *box) {
	b.dead, b.linked = true, 0
	b.replica.CrashedPrimary = b.replica.CrashedPrimary || b.replica.Primary
	b.replica.Primary, b.replica.Epoch, b.replica.WantShrink, b.replica.ReadyToGrow = false, 0, false, false
	b.replica.Chosen, b.replica.Connected = arbiter.Accepted{}, false
}

func (w *world) startReplicator(b *box) {
	b.dead = false
	b.reg = arbiter.Boot(b.reg.Record, w.now, term)
}

func (w *world) powerOff(id arbiter.NodeID) {
	b := w.nodes[id]
	b.up, b.vip, b.mounted = false, false, false
	if b.replica.Primary {
		b.replica.CrashedPrimary = true
	}
	b.replica.Primary, b.replica.Epoch, b.replica.WantShrink, b.replica.ReadyToGrow = false, 0, false, false
	b.replica.Chosen = arbiter.Accepted{}
	b.linked = 0
}

func (w *world) send(from, to arbiter.NodeID, deliver func()) {
	if w.cut[[2]arbiter.NodeID{from, to}] || !w.isUp(from) {
		return
	}
	w.queue = append(w.queue, parcel{at: w.now + tick, from: from, to: to, deliver: deliver})
}

func (w *world) isUp(v arbiter.NodeID) bool { return w.voter(v).up }

func (w *world) voter(v arbiter.NodeID) *voter {
	if v == arbiter.Witness {
		return &w.wit
	}
	return &w.nodes[v].voter
}

func (w *world) split(a, b arbiter.NodeID, broken bool) {
	w.cut[[2]arbiter.NodeID{a, b}], w.cut[[2]arbiter.NodeID{b, a}] = broken, broken
}

func (w *world) feed(id arbiter.NodeID, ev Event) {
	b := w.nodes[id]
	if !b.up {
		return
	}
	for _, a := range b.m.Step(w.now, ev) {
		w.act(b, a)
	}
}

func (w *world) act(b *box, a Action) {
	switch a := a.(type) {
	case SendPrepare:
		w.ask(b, a.Voter, func(v *voter) Event {
			reply, _ := v.reg.Prepare(w.now, a.Epoch, a.Known)
			return Prepared{Voter: a.Voter, Epoch: a.Epoch, Reply: reply}
		}, Prepared{Voter: a.Voter, Epoch: a.Epoch, Unreachable: true})
	case SendAccept:
		w.ask(b, a.Voter, func(v *voter) Event {
			reply, _ := v.reg.Accept(w.now, a.Proposal)
			reply.Volatile = a.Voter == b.id && !b.replica.Usable
			return AcceptedBy{Voter: a.Voter, Proposal: a.Proposal, Reply: reply}
		}, AcceptedBy{Voter: a.Voter, Proposal: a.Proposal, Unreachable: true})
	case SendRenew:
		sent := w.now
		w.ask(b, a.Voter, func(v *voter) Event {
			return Renewed{Voter: a.Voter, Epoch: a.Epoch, Sent: sent, Reply: v.reg.Renew(w.now, a.Epoch, a.Term)}
		}, Renewed{Voter: a.Voter, Epoch: a.Epoch, Unreachable: true})
	case SendRelease:
		w.send(b.id, a.Voter, func() { w.voterOf(b, a.Voter).reg.Release(a.Epoch) })
	case TellChosen:
		if b.replica.Primary && b.replica.Epoch == a.Chosen.Epoch {
			b.replica.Chosen = a.Chosen
			b.replica.WantShrink = false
		}
	case TellLease:
		b.lease = a.Until
	case TellHandOver:
		w.send(b.id, 1-b.id, func() { w.feed(1-b.id, HandOver(a)) })
	case Run:
		boot := b.boot
		w.queue = append(w.queue, parcel{at: w.now + stepLen, from: b.id, to: b.id, deliver: func() {
			if boot == b.boot {
				w.feed(b.id, StepDone{Step: a.Step, Err: w.run(b, a)})
			}
		}})
	case Fence:
		w.shoot(b)
	case Answer:
		b.answers[a.ID] = a.Err
	case Note:
		w.notes = append(w.notes, fmt.Sprintf("%7.2f %s %s: %s (%s)", (w.now-time.Hour).Seconds(), w.config(b.id).SelfName, a.Kind, a.Text, a.Reason))
	}
}

// voterOf is whom b asks as voter v.
func (w *world) voterOf(b *box, v arbiter.NodeID) *voter {
	if v == arbiter.Witness && w.third[b.id] == byOther {
		return &w.other
	}
	return w.voter(v)
}

// shoot cuts the peer's power after a while, proves it, and switches it on again.
func (w *world) shoot(b *box) {
	boot, peer, broken := b.boot, 1-b.id, w.broken
	w.shots = append(w.shots, w.config(b.id).SelfName)
	at := func(d time.Duration, f func()) {
		w.queue = append(w.queue, parcel{at: w.now + d, from: arbiter.Witness, to: arbiter.Witness, deliver: f})
	}
	result := Shot{Err: "the device does not answer"}
	if !broken {
		result = Shot{}
		at(300*time.Millisecond, func() {
			if w.nodes[peer].up {
				w.powerOff(peer)
			}
		})
		at(3*time.Second, func() {
			if !w.nodes[peer].up {
				w.powerOn(peer)
			}
		})
	}
	at(time.Second, func() {
		if boot == b.boot {
			w.feed(b.id, result)
		}
	})
}

// ask delivers a question and its answer, or tells that none will come.
func (w *world) ask(b *box, to arbiter.NodeID, answer func(*voter) Event, none Event) {
	boot := b.boot
	back := func(ev Event) func() {
		return func() {
			if boot == b.boot {
				w.feed(b.id, ev)
			}
		}
	}
	if w.cut[[2]arbiter.NodeID{b.id, to}] || !w.voterOf(b, to).up || to != arbiter.Witness && w.nodes[to].dead {
		w.queue = append(w.queue, parcel{at: w.now + 300*time.Millisecond, from: b.id, to: b.id, deliver: back(none)})
		return
	}
	w.send(b.id, to, func() {
		ev := answer(w.voterOf(b, to))
		w.send(to, b.id, back(ev))
	})
}

// run carries a step out and returns its error.
func (w *world) run(b *box, a Run) string {
	b.steps = append(b.steps, a.Step)
	if err := b.failing[a.Step]; err != "" {
		return err
	}
	switch a.Step {
	case StepPromote:
		if b.dead {
			return "the replicator is not running"
		}
		if b.reg.Record.Accepted.Epoch != a.Chosen.Epoch {
			return "register did not accept this reign"
		}
		if !b.replica.DiskWhole && !a.Birth {
			return "replica is not whole"
		}
		if !a.Birth && !a.Forced && a.Before < w.promoted && w.promoted != a.Chosen.Epoch {
			w.fail("epoch %d takes epoch %d for the reign before it; it was %d", a.Chosen.Epoch, a.Before, w.promoted)
		}
		w.promoted = max(w.promoted, a.Chosen.Epoch)
		b.replica.Primary, b.replica.Epoch, b.replica.Created, b.replica.DiskWhole = true, a.Chosen.Epoch, false, true
		b.replica.MayLack = ""
		if a.Chosen.Newer(b.replica.Chosen) {
			b.replica.Chosen = a.Chosen
		}
	case StepMount:
		b.mounted = true
	case StepAddress:
		b.vip = true
	case StepDropAddress, StepLetGoAddress:
		b.vip = false
	case StepUnmount, StepLetGoUnmount:
		b.mounted = false
	case StepDemote, StepLetGoIO:
		if p := w.nodes[1-b.id]; a.Step == StepDemote && b.linked != 0 {
			p.replica.MayLack = "" // all is flushed, and the peer is told
		}
		b.replica.Primary, b.replica.Epoch, b.replica.WantShrink, b.replica.ReadyToGrow = false, 0, false, false
		b.replica.MayYield, b.replica.Remote = false, false
	}
	return ""
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.now += tick
		due := w.queue
		w.queue = nil
		for _, p := range due {
			switch {
			case p.at > w.now:
				w.queue = append(w.queue, p)
			case p.from == arbiter.Witness && p.to == arbiter.Witness:
				p.deliver() // a fencing device
			case w.isUp(p.to) && !(p.from != p.to && w.cut[[2]arbiter.NodeID{p.from, p.to}]):
				p.deliver()
			}
		}
		w.replicas()
		for _, b := range w.nodes {
			b.replica.Record = b.reg.Record
			b.replica.Blank = w.blank()
			b.replica.LeaseLeft = b.lease - w.now
			if b.dead {
				w.feed(b.id, ReplicaDown{Reason: "killed", Gone: true})
			} else {
				w.feed(b.id, Replica{State: b.replica})
			}
			w.feed(b.id, AddressNIC{Up: b.nic})
			w.feed(b.id, Arbiter{Up: w.voterOf(b, arbiter.Witness).up && !w.cut[[2]arbiter.NodeID{b.id, arbiter.Witness}]})
			w.feed(b.id, FenceDevice{Fit: w.fenced && !w.unfit})
			w.feed(b.id, Tick{})
			if b.up && w.now%(250*time.Millisecond) == 0 {
				w.beat(b)
			}
		}
		w.check()
	}
}

// blank reports that both replicas are connected and were never used.
func (w *world) blank() bool {
	for _, b := range w.nodes {
		if !b.up || !b.replica.Created || w.cut[[2]arbiter.NodeID{b.id, 1 - b.id}] {
			return false
		}
	}
	return true
}

func (w *world) beat(b *box) {
	v := b.m.View()
	primary := v.Role == RoleTakingOver || v.Role == RoleServing || v.Role == RoleLeaving
	r := PeerReport{Boot: fmt.Sprint(b.boot), Primary: primary, Serving: v.Role == RoleServing,
		Leaving: v.Role == RoleLeaving, Epoch: v.Epoch, Chosen: v.Chosen, Fit: b.replica.DiskWhole || b.replica.Created, AddressNIC: b.nic,
		MayLack: b.replica.MayLack, ServicesFailed: v.ServicesFailed, Impaired: v.Impaired != "", Standby: b.mode.Standby,
		Assures: v.Assures, Third: v.Arbiter.Word, Speaks: true, Going: b.going}
	if !primary {
		r.Epoch = 0
	}
	for _, link := range []string{"private", "lan"} {
		w.send(b.id, 1-b.id, func() { w.feed(1-b.id, Beat{Link: link, Peer: r}) })
	}
}

// replicas connects the two replicas when one is Primary and both are up.
func (w *world) replicas() {
	for _, b := range w.nodes {
		p := w.nodes[1-b.id]
		if !b.up || !b.replica.Primary {
			b.linked = 0
			continue
		}
		up := p.up && !p.dead && p.replica.Usable && (b.replica.Usable || b.replica.MayYield) && !w.cut[[2]arbiter.NodeID{b.id, p.id}] && !w.cut[[2]arbiter.NodeID{p.id, b.id}] &&
			!p.replica.Primary && p.reg.Record.Promised <= b.replica.Epoch
		inForce := b.replica.Chosen.Set | b.reg.Record.Accepted.Set
		switch {
		case !up:
			if b.replica.NewerPromise = 0; p.up && p.reg.Record.Promised > b.replica.Epoch &&
				!w.cut[[2]arbiter.NodeID{b.id, p.id}] && !w.cut[[2]arbiter.NodeID{p.id, b.id}] {
				b.replica.NewerPromise = p.reg.Record.Promised
			}
			b.linked, b.replica.ReadyToGrow = 0, false
			b.replica.MayYield, b.replica.Remote = false, false
			b.replica.WantShrink = inForce.Has(p.id) && b.replica.Usable
			b.replica.Connected = false
		case b.linked == 0:
			b.linked, b.replica.NewerPromise = w.now, 0
			b.replica.Connected = true
			p.reg.Raise(b.replica.Epoch)
			p.replica.MayLack = w.protocol
			p.replica.DiskWhole = p.replica.DiskWhole && !p.replica.Created && !p.replica.CrashedPrimary
		case w.now-b.linked > 400*time.Millisecond && !b.replica.WantShrink:
			b.replica.ReadyToGrow = !b.replica.Chosen.Set.Has(p.id)
			p.replica.DiskWhole, p.replica.Created, p.replica.CrashedPrimary = true, false, false
			b.replica.Remote = b.replica.MayYield && b.replica.Chosen.Set == arbiter.Only(p.id)
		}
	}
}

// check holds what must hold at every instant.
func (w *world) check() {
	if w.nodes[0].vip && w.nodes[1].vip {
		w.fail("both nodes answer for the address")
	}
	for _, b := range w.nodes {
		if own, other := b.m.View(), w.nodes[1-b.id]; b.up && other.up && own.Guard == GuardHeld &&
			isReign(other.m.role) && other.m.prop.Epoch() > own.Epoch {
			w.fail("node %d's watchdog is pinged for a reign although node %d was elected after it", b.id, other.id)
		}
	}
}

func isReign(r Role) bool { return r == RoleTakingOver || r == RoleServing || r == RoleLeaving }

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	from := max(0, len(w.notes)-60)
	for _, n := range w.notes[from:] {
		w.t.Log(n)
	}
	w.t.Fatalf("%7.2f: %s", (w.now - time.Hour).Seconds(), fmt.Sprintf(format, args...))
}

func (w *world) order(id arbiter.NodeID, kind OrderKind) uint64 {
	n := rand.Uint64()
	w.feed(id, Order{ID: n, Kind: kind})
	return n
}

func (w *world) setMode(id arbiter.NodeID, mode Mode) {
	w.nodes[id].mode = mode
	w.feed(id, mode)
}

// serving returns the node that serves, or nil.
func (w *world) serving() *box {
	for _, b := range w.nodes {
		if b.up && b.m.View().Role == RoleServing && b.vip {
			return b
		}
	}
	return nil
}

// healthy waits until one node serves and both are in sync.
func (w *world) healthy(within time.Duration) *box {
	w.t.Helper()
	for end := w.now + within; w.now < end; w.pass(tick) {
		if b := w.serving(); b != nil && b.m.View().Chosen.Set == arbiter.Both && w.nodes[1-b.id].up {
			return b
		}
	}
	for _, b := range w.nodes {
		w.t.Logf("%s: up %v %+v replica %+v reg %+v", w.config(b.id).SelfName, b.up, b.m.View(), b.replica, b.reg)
	}
	w.fail("not healthy within %v", within)
	return nil
}
