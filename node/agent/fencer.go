package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/fencing"
)

const (
	// firstProbe is when a starting agent first looks at the fencing devices.
	firstProbe = 2 * time.Second
	// restoreAfter lets power supplies drain before they are switched on again.
	restoreAfter = 2 * time.Second
	// A peer that had to be shot restores times within restoreWithin is left off.
	restores      = 3
	restoreWithin = time.Hour
)

// fencer cuts the peer's power for every volume, switches it on again, and looks after the devices meanwhile.
type fencer struct {
	node string // the peer
	cfg  config.Fencing
	peer *fencing.Peer
	note func(kind, text, reason string)
	// tries are the proved shots, and what the peer was asked to do.
	tries *repeats
	// decides tells whether there is a volume without a third voter, so that nothing is
	// taken over without a proof; nil: there is none.
	decides func() bool
	// fit is told whether a device would do, when that changed; nil: nobody wants to know.
	fit func(bool)

	mu      sync.Mutex
	health  []fencing.Health
	looked  time.Time
	proof   fencing.Proof
	leftOff string // why the peer is not switched on again; empty: it is
	stay    bool   // an operator wants the peer to stay off after the next shot
	life    context.Context
	wg      sync.WaitGroup
}

// newFencer returns the fencer of node. heard tells when its newest heartbeat came, and start of which start of its
// agent; nil: nobody knows.
func newFencer(node string, devices []fencing.Device, cfg config.Fencing, heard func() time.Time, start func() string,
	note func(kind, text, reason string)) *fencer {
	f := &fencer{node: node, cfg: cfg, note: note, tries: &repeats{}, life: context.Background()}
	f.peer = fencing.NewPeer(node, devices, fencing.Options{DeviceTimeout: cfg.Timeout, Heard: heard, Start: start, Ended: f.ended})
	return f
}

// run looks at the devices now and then until ctx ends, and waits for what it has under way.
func (f *fencer) run(ctx context.Context) {
	f.mu.Lock()
	f.life = ctx
	f.mu.Unlock()
	defer f.wg.Wait()
	defer f.peer.Close()
	if f.cfg.Probe <= 0 {
		<-ctx.Done()
		return
	}
	for wait := firstProbe; pause(ctx, wait); wait = f.cfg.Probe {
		f.probe(ctx)
	}
}

// out is the step of a take-over: the peer's power is cut, and that is proved. Where the vote alone suffices, the
// proof is waited for no longer than configured; the shot goes on behind.
func (f *fencer) out(ctx context.Context) error {
	if !f.cfg.Required {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.cfg.Wait)
		defer cancel()
	}
	proof, err := f.peer.Off(ctx)
	switch {
	case err == nil && proof.Verified():
		return nil
	case err == nil:
		err = fencing.ErrUnproved
	}
	if f.cfg.Required {
		return fmt.Errorf("%w; check the power of %s by hand, and mend the device (`gemel fence status`)", err, f.node)
	}
	f.note("fence.unproved", fmt.Sprintf("The take-over goes on without a proof that %s is off.", f.node),
		err.Error()+"; the vote was won, so nothing that was written can be lost")
	return nil
}

// ended takes the end of a shot, whoever waited for it.
func (f *fencer) ended(proof fencing.Proof, err error) {
	f.mu.Lock()
	stay := f.stay
	f.stay = false
	f.mu.Unlock()
	if err != nil {
		f.note("fence.failed", fmt.Sprintf("%s could not be proved to be off.", f.node), err.Error())
		return
	}
	f.note("fence.off", fmt.Sprintf("%s is off.", f.node), fmt.Sprintf("%s: %s", proof.Driver, proof.Method))
	why, life := f.keepProof(proof, stay)
	if why != "" {
		f.note("fence.left-off", fmt.Sprintf("%s stays off.", f.node),
			fmt.Sprintf("%s; find out why, then `gemel fence on %s`", why, f.node))
		return
	}
	f.wg.Go(func() { f.restore(life) })
}

// keepProof remembers the shot, and returns why the peer is to stay off; empty: it is not.
func (f *fencer) keepProof(proof fencing.Proof, stay bool) (why string, life context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proof, f.leftOff = proof, ""
	times := 0
	if !stay {
		times = f.tries.add(proof.At, false)
	}
	switch {
	case stay:
		f.leftOff = "an operator switched it off"
	case !f.cfg.Restore:
		f.leftOff = "fencing.restore is false"
	case times > restores:
		f.leftOff = fmt.Sprintf("it had to be switched off %d times within %v", times, restoreWithin)
	}
	return f.leftOff, f.life
}

// restore switches the peer on again, so that the pair is one again without a human.
func (f *fencer) restore(ctx context.Context) {
	if !pause(ctx, restoreAfter) {
		return
	}
	if err := f.on(ctx); err != nil {
		f.note("fence.left-off", fmt.Sprintf("%s stays off.", f.node),
			fmt.Sprintf("%v; switch it on by hand, or `gemel fence on %s`", err, f.node))
	}
}

// off is an operator's order.
func (f *fencer) off(ctx context.Context, stay bool) error {
	set := func(stay bool) {
		f.mu.Lock()
		f.stay = stay
		f.mu.Unlock()
	}
	set(stay)
	_, err := f.peer.Off(ctx)
	set(false) // there may have been no shot, for a proof that still held
	return err
}

func (f *fencer) on(ctx context.Context) error {
	if err := f.peer.On(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	f.leftOff = ""
	f.mu.Unlock()
	f.note("fence.on", fmt.Sprintf("%s was switched on.", f.node), "")
	return nil
}

// probe looks at every device and notes what changed.
func (f *fencer) probe(ctx context.Context) {
	found := f.peer.Probe(ctx)
	if ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	before := f.health
	f.health, f.looked = found, time.Now()
	f.mu.Unlock()
	if fits(found) != fits(before) && f.fit != nil {
		f.fit(fits(found))
	}
	for i, h := range found {
		was := ""
		if i < len(before) {
			was = before[i].Problem
		}
		switch {
		case h.Problem != "" && was == "":
			f.note("fence.unfit", fmt.Sprintf("The fencing device %s of %s would fail.", h.Device, f.node), h.Problem)
		case h.Problem == "" && was != "":
			f.note("fence.fit", fmt.Sprintf("The fencing device %s of %s is well again.", h.Device, f.node), "")
		}
	}
}

// fits reports whether one of the devices would do.
func fits(all []fencing.Health) bool {
	return slices.ContainsFunc(all, func(h fencing.Health) bool { return h.Problem == "" })
}

// status is what `gemel status` and `gemel fence status` show.
func (f *fencer) status() *api.Fencing {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &api.Fencing{Node: f.node, Required: f.cfg.Required, Looked: f.looked, LeftOff: f.leftOff, Devices: []api.FenceDevice{}}
	if f.proof.Verified() {
		s.Proof, s.Proved = f.proof.Driver+": "+f.proof.Method, f.proof.At
	}
	for _, h := range f.health {
		s.Devices = append(s.Devices, api.FenceDevice{Name: h.Device, Power: string(h.Power), Problem: h.Problem})
	}
	return s
}

// fence carries out an operator's order on the peer's power.
func (a *Agent) fence(ctx context.Context, o api.FenceOrder) (api.Fencing, error) {
	peer := a.cfg.Peer().Name
	refuse := func(format string, args ...any) (api.Fencing, error) {
		return api.Fencing{}, &api.Error{Code: api.CodeRefused, Message: fmt.Sprintf(format, args...)}
	}
	f, asks := a.fencer, a.asker != nil && (o.Do == api.FenceProbe || o.Do == api.FenceReboots)
	switch {
	case o.Node != peer:
		return refuse("%s can switch %s, not %q", a.cfg.Node, peer, o.Node)
	case o.Do == api.FenceReboots && !asks:
		return refuse("no peer-reboot is configured for %s; see nodes[].fence in docs/operating/fencing.md", peer)
	case f == nil && !asks:
		return refuse("no fencing device is configured for %s; see nodes[].fence in docs/operating/fencing.md", peer)
	}
	var err error
	switch o.Do {
	case api.FenceProbe:
	case api.FenceOff:
		err = f.off(ctx, o.Stay)
	case api.FenceOn:
		err = f.on(ctx)
	case api.FenceReboots:
		err = a.asker.byHand(ctx)
		return *a.fencingStatus(), err
	default:
		return api.Fencing{}, &api.Error{Code: api.CodeRefused, Message: "unknown order " + o.Do}
	}
	if f != nil {
		f.probe(ctx) // after an order that failed, too: status says so at once
	}
	if asks {
		a.asker.probe(ctx)
	}
	if err != nil {
		return *a.fencingStatus(), &api.Error{Code: api.CodeFailed, Message: err.Error()}
	}
	return *a.fencingStatus(), nil
}
