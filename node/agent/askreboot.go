package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/config"
	"gemel/node/failover"
)

const (
	// askWait bounds one question; a take-over does not wait for it.
	askWait = 3 * time.Second
	// sameTrouble is the time within which a request and a shot belong to one failure of the peer.
	sameTrouble = time.Minute
)

// repeats counts how often the peer had to be put out of the way, by shots and by requests alike.
type repeats struct {
	mu   sync.Mutex
	list []repeat
}

type repeat struct {
	at    time.Time
	asked bool
}

// add counts one more, and returns how many there were within restoreWithin. A request and a shot at the same failure
// are one.
func (r *repeats) add(at time.Time, asked bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.DeleteFunc(r.list, func(x repeat) bool { return at.Sub(x.at) > restoreWithin })
	if n := len(r.list); n == 0 || r.list[n-1].asked == asked || at.Sub(r.list[n-1].at) > sameTrouble {
		r.list = append(r.list, repeat{at, asked})
	}
	return len(r.list)
}

// count is how many there were within restoreWithin.
func (r *repeats) count(now time.Time) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.list {
		if now.Sub(x.at) <= restoreWithin {
			n++
		}
	}
	return n
}

// asker asks the peer's agent to reboot its box. Whatever the answer is, it is no proof, and nothing here returns one: a box
// that says that it reboots may hang on its way down, or come up again before anybody looks.
type asker struct {
	node  string // the peer
	self  string
	links links
	start func() string // names the newest start of the peer's agent that was heard
	mode  func() failover.Mode
	tries *repeats
	every time.Duration // between looks; 0: never
	note  func(kind, text, reason string)

	mu    sync.Mutex
	last  time.Time // of the last request beside a take-over
	state api.FenceReboot
}

func newAsker(cfg *config.Config, ls links, start func() string, mode func() failover.Mode, tries *repeats,
	note func(kind, text, reason string)) *asker {
	if cfg.Peer().PeerReboot() == nil {
		return nil
	}
	return &asker{node: cfg.Peer().Name, self: cfg.Node, links: ls, start: start, mode: mode, tries: tries, every: cfg.Fencing.Probe, note: note}
}

// run asks now and then whether the peer would do it, until ctx ends.
func (r *asker) run(ctx context.Context) {
	if r.every <= 0 {
		return
	}
	for wait := firstProbe; pause(ctx, wait); wait = r.every {
		r.probe(ctx)
	}
}

// probe asks whether the peer would do it.
func (r *asker) probe(ctx context.Context) {
	err := r.ask(ctx, api.RebootOrder{Try: true, Why: "a look"})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Problem, r.state.Looked = text(err), time.Now()
}

func (r *asker) ask(ctx context.Context, o api.RebootOrder) error {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	if o.Boot = r.start(); o.Boot == "" {
		return fmt.Errorf("%s was not heard since this agent started, so there is nobody to ask", r.node)
	}
	return r.links.reboot(ctx, o)
}

// away asks beside the take-over of a volume, in the name of the reign that this node was elected to: the vote came before. For
// volumes that are taken over together it is asked once.
func (r *asker) away(ctx context.Context, volume string, epoch arbiter.Epoch) {
	now := time.Now()
	r.mu.Lock()
	again := now.Sub(r.last) < sameTrouble
	if !again {
		r.last = now
	}
	r.mu.Unlock()
	if again {
		return
	}
	why := fmt.Sprintf("%s was elected for %s, epoch %d, and does not hear it", r.self, volume, epoch)
	r.told(r.request(ctx, api.RebootOrder{Volume: volume, Epoch: epoch, Why: why}))
}

// request asks in earnest, within reason.
func (r *asker) request(ctx context.Context, o api.RebootOrder) error {
	if r.mode().Maintenance {
		return fmt.Errorf("maintenance is on, so %s is left alone", r.node)
	}
	if n := r.tries.count(time.Now()); n >= restores && !o.ByHand {
		return fmt.Errorf("%s was put out of the way %d times within %v; it is not asked any more", r.node, n, restoreWithin)
	}
	if err := r.ask(ctx, o); err != nil {
		return err
	}
	r.tries.add(time.Now(), true)
	return nil
}

// told keeps what came of a request.
func (r *asker) told(err error) {
	r.mu.Lock()
	r.state.Asked, r.state.Answer = time.Now(), text(err)
	r.mu.Unlock()
	var refused *api.Error
	switch {
	case err == nil:
		r.note("peer-reboot.asked", fmt.Sprintf("%s says that it reboots itself.", r.node), "its word is no proof; nothing rests on it")
	case errors.As(err, &refused):
		r.note("peer-reboot.refused", fmt.Sprintf("%s does not reboot itself.", r.node), err.Error())
	default: // a box that is dead, most likely
		r.note("peer-reboot.unasked", fmt.Sprintf("%s could not be asked to reboot itself.", r.node), err.Error())
	}
}

// byHand is an operator's order.
func (r *asker) byHand(ctx context.Context) error {
	err := r.request(ctx, api.RebootOrder{ByHand: true, Why: "an operator ordered it at " + r.self})
	r.told(err)
	return err
}

func (r *asker) status() *api.FenceReboot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	return &s
}

func (ls links) reboot(ctx context.Context, o api.RebootOrder) error {
	_, err := overLinks(ctx, ls, func(ctx context.Context, p Peer) (struct{}, error) { return struct{}{}, p.Reboot(ctx, o) })
	return err
}

// rebooting sets up who asks and who obeys.
func (a *Agent) rebooting(w rebooter) {
	note := func(kind, text, reason string) { a.diary.note("", kind, text, reason) }
	tries := &repeats{}
	if a.fencer != nil {
		tries = a.fencer.tries
	}
	a.asker = newAsker(a.cfg, a.links, a.peerStart, a.modes.mode, tries, note)
	a.obedient = newObedient(a.cfg, w, note)
}

// fencingStatus is what this node can do about the peer's power; nil: nothing.
func (a *Agent) fencingStatus() *api.Fencing {
	var s *api.Fencing
	if a.fencer != nil {
		s = a.fencer.status()
	}
	if a.asker == nil {
		return s
	}
	if s == nil {
		s = &api.Fencing{Node: a.asker.node, Devices: []api.FenceDevice{}}
	}
	s.Reboot = a.asker.status()
	return s
}
