package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/failover"
	"gemel/node/replicator/control"
)

const rolePrimary = control.Primary

// heart sends and receives the numbered heartbeats of every link. A request is
// a beat, and so is its reply.
type heart struct {
	node, peer string
	boot       string // this start of the agent
	every      time.Duration
	clock      Clock
	links      links
	owners     []*owner
	log        func(kind, text, reason string)
	modes      *modes
	stopping   atomic.Bool
	// lively says that the machines take steps. A node that decides nothing must not go
	// on telling the peer that all is well: the peer would wait for it for ever. nil: always.
	lively func() bool
	mute   atomic.Bool // it was not lively at the last look

	seq atomic.Uint64

	mu      sync.Mutex
	from    string            // the peer's newest boot
	retired map[string]bool   // its earlier boots: late messages of a dead agent
	last    map[string]uint64 // newest number per link, of boot from
	refused int
	mine    said  // what this node says
	theirs  heard // what the peer said since boot from
}

// send beats on one link until ctx ends. A beat that finds no answer is given
// up before the next but one is due, so they never pile up.
func (h *heart) send(ctx context.Context, l *link) {
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	for {
		h.once(ctx, l)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.kick:
		}
	}
}

func (h *heart) once(ctx context.Context, l *link) {
	if h.stands() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, h.every*3/2)
	defer cancel()
	begin := time.Now()
	sent := h.beat(l.name)
	reply, err := l.peer.Beat(ctx, sent)
	if err != nil {
		return // silence is the detector's business
	}
	l.rtt.Store(int64(time.Since(begin)))
	if err := h.take(reply, l.name); err != nil {
		h.refuse(err)
		return
	}
	if sent.More || reply.More { // the rest of a long list does not wait for the next beat's time
		l.kickNow()
	}
}

// kickAll sends a beat on every link now.
func (h *heart) kickAll() {
	for _, l := range h.links {
		l.kickNow()
	}
}

func (l *link) kickNow() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// answer takes the peer's beat and returns ours.
func (h *heart) answer(b api.Beat) (api.Beat, error) {
	if err := h.take(b, b.Link); err != nil {
		h.refuse(err)
		return api.Beat{}, err
	}
	if h.stands() {
		return api.Beat{}, errStands
	}
	return h.beat(b.Link), nil
}

// errStands is what the peer hears instead of a beat.
var errStands = errors.New("the agent here does not get on; it sends no heartbeats until it does")

// stands reports whether the machines stand still, and tells it once each time.
func (h *heart) stands() bool {
	stands := h.lively != nil && !h.lively()
	if was := h.mute.Swap(stands); stands && !was {
		h.log("agent.stuck", "The agent stands still; it sends no heartbeats until it gets on.",
			"a decision has not returned for too long, so the peer must be free to take over")
	}
	return stands
}

// take turns a received beat into events.
func (h *heart) take(b api.Beat, on string) error {
	l := h.links.named(on)
	if l == nil || b.Link != on {
		return fmt.Errorf("heartbeat of %s names link %q, which is not configured here", b.Node, b.Link)
	}
	if b.Node != h.peer {
		return fmt.Errorf("heartbeat claims to come from %q; the peer is %s", b.Node, h.peer)
	}
	fresh, err := h.admit(b)
	if err != nil || !fresh {
		return err
	}
	l.lastHeard.Store(int64(h.clock.Boot()))
	h.modes.hear(b.Maintenance, b.Node)
	h.deliver(b)
	return nil
}

// deliver gives every owner the peer's word on its volume as far as it is known.
// Until the first whole list came, owners that are not in it yet hear nothing.
func (h *heart) deliver(b api.Beat) {
	h.mu.Lock()
	defer h.mu.Unlock() // so that words reach the owners in order
	if b.Boot != h.from {
		return // a newer start was heard meanwhile
	}
	if b.HasOf == h.boot {
		h.mine.confirmed = max(h.mine.confirmed, b.Has)
	}
	changed := h.theirs.take(&b)
	for _, o := range h.owners {
		word, known := h.theirs.words[o.name]
		if !known && !h.theirs.whole {
			continue
		}
		if !known { // a peer that does not know the volume is alive, but not fit
			word = api.BeatVolume{Name: o.name, Role: control.Secondary}
		}
		o.hear(&b, word, changed[o.name])
	}
}

// admit checks a beat's number. A beat older than the newest on its link says
// nothing new; one of an earlier start of the peer's agent is a replay.
func (h *heart) admit(b api.Beat) (fresh bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.retired[b.Boot] {
		return false, fmt.Errorf("heartbeat %d on link %s comes from an earlier start of %s: replayed", b.Seq, b.Link, b.Node)
	}
	if b.Boot != h.from {
		h.retired[h.from] = h.from != ""
		h.from, h.last = b.Boot, map[string]uint64{}
		h.theirs, h.mine.confirmed = heard{words: map[string]api.BeatVolume{}}, 0
	}
	if b.Seq <= h.last[b.Link] {
		return false, nil
	}
	h.last[b.Link] = b.Seq
	return true, nil
}

// peerStart names the start of the peer's agent that was heard last.
func (h *heart) peerStart() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.from
}

// refuse tells of the first refused beats; a flood of them is told once.
func (h *heart) refuse(err error) {
	h.mu.Lock()
	h.refused++
	n := h.refused
	h.mu.Unlock()
	if n <= 3 {
		h.log("beat.refused", "A heartbeat was refused.", err.Error())
	}
}

// beat is what this node says now.
func (h *heart) beat(on string) api.Beat {
	h.mu.Lock()
	defer h.mu.Unlock()
	stopping := h.stopping.Load()
	for i, o := range h.owners {
		h.mine.note(i, o.word(stopping))
	}
	b := api.Beat{Node: h.node, Boot: h.boot, Link: on, Seq: h.seq.Add(1), Has: h.theirs.upto, HasOf: h.from,
		Maintenance: h.modes.word()}
	h.mine.fill(&b)
	return b
}

func (ls links) named(name string) *link {
	for _, l := range ls {
		if l.name == name {
			return l
		}
	}
	return nil
}

// hear gives the owner the peer's word on its volume; changed says that it is new.
func (o *owner) hear(b *api.Beat, word api.BeatVolume, changed bool) {
	o.heard.Store(&word)
	ev := failover.Beat{Link: b.Link, Peer: failover.PeerReport{
		Boot: b.Boot, Primary: word.Role == rolePrimary, Serving: word.Serving, Leaving: word.Leaving,
		Epoch: word.Epoch, Chosen: word.Chosen, Fit: word.Fit, AddressNIC: word.AddressNIC,
		MayLack: word.MayLack, Standby: word.Standby, ServicesFailed: word.ServicesFailed, Impaired: word.Impaired,
		Assures: word.Assures, Third: word.Third, Speaks: word.Version != 0, Going: word.Going}}
	if changed {
		o.box.post(ev)
		return
	}
	o.box.leave(ev) // a sign of life and nothing else: the next tick takes it
}

// word is what this node says of the volume.
func (o *owner) word(stopping bool) api.BeatVolume {
	w := api.BeatVolume{Name: o.name, Role: control.Secondary, Disk: control.Unknown, AddressNIC: o.nic.Load(),
		Standby: !o.modes.standby().IsZero()}
	view, state := o.view.Load(), o.state.Load()
	if view == nil {
		return w
	}
	w.Phase, w.Epoch, w.Chosen = view.Phase, view.Epoch, view.Chosen
	w.Serving = view.Role == failover.RoleServing
	w.Leaving = view.Role == failover.RoleLeaving
	w.ServicesFailed, w.Impaired = view.ServicesFailed, view.Impaired != ""
	if isPrimary(view.Role) || resuming(view.Role, state) {
		w.Role = rolePrimary
	}
	w.Unformatted = o.course.unformatted() != nil
	w.Assures, w.Third, w.Going = view.Assures, view.Arbiter.Word, stopping
	if state != nil {
		w.Disk, w.MayLack = state.Disk, state.MayLack
		w.Fit = !stopping && fit(view.Role, state)
		w.Chosen = newer(w.Chosen, state.Chosen)
	}
	return w
}

// resuming: the agent restarted and its machine has not yet taken up the reign
// that the replica still serves. The peer must not see a vacancy.
func resuming(role failover.Role, state *control.VolumeState) bool {
	return state != nil && state.Role == control.Primary &&
		(role == failover.RoleSecondary || role == failover.RoleCampaigning)
}

// fit reports whether this node could take the volume over.
func fit(role failover.Role, s *control.VolumeState) bool {
	if role == failover.RoleLeaving || role == failover.RoleLettingGo {
		return false
	}
	r := report(*s)
	// A created replica is incomplete too, but may start a volume's first reign.
	return r.Usable && (r.DiskWhole || r.Created) && s.Disk != control.Outdated
}

func newer(a, b arbiter.Accepted) arbiter.Accepted {
	if b.Newer(a) {
		return b
	}
	return a
}
