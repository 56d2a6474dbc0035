package rehearsal

import (
	"maps"
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover"
)

// world is the pair on a simulated clock.
type world struct {
	stage   Stage
	now     time.Duration
	begin   time.Duration // of the fault; zero: still before it
	nodes   [2]*box
	witness voter
	queue   []parcel
	cut     map[string]bool // links
	severed [2]bool         // nodes without any cable
	lines   []Line
	beatAt  time.Duration
}

// boot is what every agent's start is called here.
const boot = "now"

type voter struct {
	reg arbiter.Register
	up  bool
}

type box struct {
	voter
	m       *failover.Machine
	id      arbiter.NodeID
	replica failover.ReplicaReport
	down    string // the replicator
	nic     bool
	linked  time.Duration // since when the replicas are connected; zero: they are not
	lease   time.Duration
	address bool
	fails   map[failover.Step]string
	took    map[failover.Step]time.Duration
}

type parcel struct {
	at       time.Duration
	from, to arbiter.NodeID
	deliver  func()
}

func newWorld(s Stage) *world {
	w := &world{stage: s, now: 100 * time.Hour, cut: map[string]bool{}}
	for link, silent := range s.Silent {
		w.cut[link] = silent
	}
	if s.Witness != nil {
		w.witness = voter{up: true, reg: arbiter.Register{Record: *s.Witness}}
	}
	for i, n := range s.Nodes {
		if n == nil {
			continue
		}
		b := &box{id: arbiter.NodeID(i), replica: n.Replica, down: n.ReplicaDown, nic: n.AddressNIC, fails: n.Fails, took: n.Took}
		b.voter = voter{up: true, reg: arbiter.Register{Record: n.Replica.Record}}
		cfg := s.Config[i]
		cfg.Boot = boot
		b.m = failover.New(cfg)
		b.m.Restore(w.now, n.Standing, boot)
		if n.Standing.Impaired != "" && b.fails[failover.StepServices] == "" { // it goes on failing
			b.fails = maps.Clone(b.fails)
			if b.fails == nil {
				b.fails = map[failover.Step]string{}
			}
			b.fails[failover.StepServices] = n.Standing.Impaired
		}
		b.lease = w.now + n.Replica.LeaseLeft
		b.address = n.Standing.Role == failover.RoleServing
		if n.Replica.Primary && n.Replica.Connected {
			b.linked = w.now
		}
		w.nodes[i] = b
	}
	w.meet()
	return w
}

// meet lets the nodes hear each other first of all, as they do now.
func (w *world) meet() {
	var words [2]failover.PeerReport
	w.eachUp(func(b *box) { words[b.id] = w.word(b) })
	w.eachUp(func(b *box) {
		peer := 1 - b.id
		for _, link := range w.stage.Config[b.id].Links {
			if w.joined(link) && w.isUp(peer) {
				w.feed(b, failover.Beat{Link: link, Peer: words[peer]})
			}
		}
	})
}

func (w *world) name(i int) string { return w.stage.Config[i].SelfName }

// fail makes something fail.
func (w *world) fail(f Fault) {
	switch f.Kind {
	case Kill:
		if b := w.nodes[f.Node]; b != nil {
			b.up, b.address, b.linked, b.replica.Primary = false, false, 0, false
		}
	case StopService:
		if i := w.serving(); i != Nobody {
			w.feed(w.nodes[i], failover.ServiceFailed{Name: f.Service, Reason: "it ended more often than its restarts allow"})
		}
	case CutLink:
		w.cut[f.Link] = true
		w.eachUp(func(b *box) { w.feed(b, failover.Carrier{Link: f.Link}) })
	case CutAll:
		w.severed[f.Node] = true
		if b := w.nodes[f.Node]; b != nil {
			b.nic = false
			for _, l := range w.stage.Config[f.Node].Links {
				w.feed(b, failover.Carrier{Link: l})
			}
		}
	case LoseWitness:
		w.witness.up = false
	}
}

func (w *world) eachUp(do func(*box)) {
	for _, b := range w.nodes {
		if b != nil && b.up {
			do(b)
		}
	}
}

// serving returns the node that serves, or Nobody.
func (w *world) serving() int {
	for i, b := range w.nodes {
		if b != nil && b.up && b.address && b.m.View().Role == failover.RoleServing {
			return i
		}
	}
	return Nobody
}

// reachable reports whether clients reach the node that serves.
func (w *world) reachable(node int) bool {
	return node != Nobody && !w.severed[node] && w.nodes[node].nic
}

// joined reports whether a link is there between the nodes.
func (w *world) joined(link string) bool {
	return !w.cut[link] && !w.severed[0] && !w.severed[1]
}

// reaches reports whether a question gets from one box to another at all.
func (w *world) reaches(from, to arbiter.NodeID) bool {
	if from == to {
		return true
	}
	if from == arbiter.Witness || to == arbiter.Witness {
		n := min(from, to)
		return !w.severed[n] && w.stage.Nodes[n] != nil && !w.stage.Nodes[n].NoWitness
	}
	for _, l := range w.stage.Config[from].Links {
		if w.joined(l) {
			return true
		}
	}
	return false
}

func (w *world) isUp(v arbiter.NodeID) bool {
	if v == arbiter.Witness {
		return w.witness.up
	}
	return w.nodes[v] != nil && w.nodes[v].up
}

func (w *world) voter(v arbiter.NodeID) *voter {
	if v == arbiter.Witness {
		return &w.witness
	}
	return &w.nodes[v].voter
}

func (w *world) later(after time.Duration, from, to arbiter.NodeID, deliver func()) {
	w.queue = append(w.queue, parcel{at: w.now + after, from: from, to: to, deliver: deliver})
}

func (w *world) feed(b *box, ev failover.Event) {
	if !b.up {
		return
	}
	for _, a := range b.m.Step(w.now, ev) {
		w.act(b, a)
	}
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
			case w.isUp(p.to) && w.reaches(p.from, p.to):
				p.deliver()
			}
		}
		w.replicas()
		beats := w.now >= w.beatAt
		if beats {
			w.beatAt = w.now + w.stage.Config[0].Heartbeat
		}
		w.eachUp(func(b *box) { w.tell(b, beats) })
	}
}

// tell gives a machine the news of its own box, and sends its heartbeat.
func (w *world) tell(b *box, beats bool) {
	b.replica.Record, b.replica.LeaseLeft = b.reg.Record, b.lease-w.now
	if b.down != "" {
		w.feed(b, failover.ReplicaDown{Reason: b.down, Gone: true})
	} else {
		w.feed(b, failover.Replica{State: b.replica})
	}
	w.feed(b, failover.AddressNIC{Up: b.nic})
	w.feed(b, failover.Tick{})
	if beats {
		w.beat(b)
	}
}

// word is what a node says of itself.
func (w *world) word(b *box) failover.PeerReport {
	v := b.m.View()
	primary := v.Role == failover.RoleTakingOver || v.Role == failover.RoleServing || v.Role == failover.RoleLeaving
	epoch := v.Epoch
	if !primary && b.replica.Primary { // its machine is new here, and will go on with the reign
		primary, epoch = true, b.replica.Epoch
	}
	standing := b.m.Standing()
	r := failover.PeerReport{Boot: boot, Primary: primary, Serving: v.Role == failover.RoleServing,
		Leaving: v.Role == failover.RoleLeaving, Epoch: epoch, Chosen: v.Chosen, AddressNIC: b.nic,
		Fit: b.down == "" && b.replica.Usable && (b.replica.DiskWhole || b.replica.Created) && !b.replica.Outdated && !standing.Stopped &&
			v.Role != failover.RoleLeaving && v.Role != failover.RoleLettingGo,
		MayLack: b.replica.MayLack, Standby: standing.Mode.Standby,
		ServicesFailed: v.ServicesFailed, Impaired: v.Impaired != "",
		Assures: v.Assures, Third: v.Arbiter.Word, Speaks: true}
	if !primary {
		r.Epoch = 0
	}
	return r
}

func (w *world) beat(b *box) {
	r, peer := w.word(b), 1-b.id
	for _, link := range w.stage.Config[b.id].Links {
		if w.joined(link) && w.isUp(peer) {
			w.later(tick, b.id, peer, func() { w.feed(w.nodes[peer], failover.Beat{Link: link, Peer: r}) })
		}
	}
}

// replicas connects the two replicas when one is Primary and both can.
func (w *world) replicas() {
	for _, b := range w.nodes {
		if b == nil {
			continue
		}
		if !b.up || !b.replica.Primary {
			b.linked = 0
			continue
		}
		w.replicate(b, w.nodes[1-b.id])
	}
}

func (w *world) replicate(b, p *box) {
	r := &b.replica
	up := w.mayConnect(b, p)
	inForce := r.Chosen.Set | b.reg.Record.Accepted.Set
	switch {
	case !up:
		r.NewerPromise = 0
		if p != nil && p.up && p.reg.Record.Promised > r.Epoch && w.reaches(b.id, p.id) {
			r.NewerPromise = p.reg.Record.Promised
		}
		b.linked, r.ReadyToGrow, r.MayYield, r.Remote, r.Connected = 0, false, false, false, false
		r.WantShrink = inForce.Has(1-b.id) && r.Usable
	case b.linked == 0:
		b.linked, r.NewerPromise, r.Connected = w.now, 0, true
		p.reg.Raise(r.Epoch)
		p.replica.DiskWhole = p.replica.DiskWhole && !p.replica.Created
	case w.now-b.linked >= w.stage.Resync && !r.WantShrink && !r.Chosen.Set.Has(p.id):
		r.ReadyToGrow = true
		p.replica.DiskWhole, p.replica.Created = true, false
	default:
		r.Remote = r.MayYield && r.Chosen.Set == arbiter.Only(p.id)
		r.ReadyToGrow = r.ReadyToGrow && !r.Chosen.Set.Has(p.id)
	}
}

func (w *world) mayConnect(b, p *box) bool {
	if p == nil || !p.up || w.stage.Apart || p.down != "" || b.down != "" || !p.replica.Usable || p.replica.Primary ||
		p.reg.Record.Promised > b.replica.Epoch || !b.replica.Usable && !b.replica.MayYield && !b.replica.Remote {
		return false
	}
	for _, l := range w.stage.Replication {
		if w.joined(l) {
			return true
		}
	}
	return false
}
