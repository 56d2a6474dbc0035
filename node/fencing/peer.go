package fencing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// reads is how often in a row a device must say off: a controller that answers while it still switches says
// anything once.
const reads = 2

// proofHolds is how long a proof is good for those who ask after it; shorter than any box needs to boot.
const proofHolds = 5 * time.Second

// errClosed: the agent stops.
var errClosed = errors.New("the agent of this node stops")

// Options of a Peer. Zero values are replaced by the defaults named here.
type Options struct {
	// DeviceTimeout bounds one device, order and proof together; 20 s, as power supplies take seconds to drain.
	DeviceTimeout time.Duration
	// Poll is the pause between two looks at the state; 500 ms.
	Poll time.Duration
	// Heard returns when the peer was last heard, zero for never. A node that speaks after a device said off is
	// alive, whatever the device says. Nil: nobody listens.
	Heard func() time.Time
	// Start names the start of the peer's agent that was heard last: a node that was off comes back with
	// another one. Nil, or empty: nobody knows.
	Start func() string
	// Ended is told the end of every shot, once and before those who wait for it. Nil: nobody is.
	Ended func(Proof, error)
}

// Peer is one node and the devices that can switch it, in the order in which they are tried. It is safe for
// concurrent use: who asks for Off while another shot is under way waits for that one's result.
type Peer struct {
	node    string
	devices []Device
	opt     Options
	life    context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	shot  *shot             // under way; nil: none
	lied  map[string]string // by device: how it was caught; see trust.go
	proof Proof             // newest one, void once the node is heard again
	claim claim             // the same, kept to be seen through later
	// failed are devices that answer and do not what they are told, by name.
	failed map[string]string
}

// shot is one try of all devices, for all who wait for it.
type shot struct {
	done  chan struct{}
	proof Proof
	err   error
}

// NewPeer returns node with its devices, of which there must be one at least.
func NewPeer(node string, devices []Device, opt Options) *Peer {
	if opt.DeviceTimeout <= 0 {
		opt.DeviceTimeout = 20 * time.Second
	}
	if opt.Poll <= 0 {
		opt.Poll = 500 * time.Millisecond
	}
	if opt.Heard == nil {
		opt.Heard = func() time.Time { return time.Time{} }
	}
	if opt.Start == nil {
		opt.Start = func() string { return "" }
	}
	p := &Peer{node: node, devices: devices, opt: opt, lied: map[string]string{}, failed: map[string]string{}}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// Close gives a shot under way up, and waits for its end; every later one fails.
func (p *Peer) Close() {
	p.end()
	p.mu.Lock()   // who began a shot before the end has counted it
	p.mu.Unlock() //nolint:staticcheck // a barrier, see above
	p.running.Wait()
}

// Name lists the devices.
func (p *Peer) Name() string {
	names := make([]string, len(p.devices))
	for i, d := range p.devices {
		names[i] = d.Name()
	}
	return strings.Join(names, ", ")
}

// Off cuts the node's power by the first device that proves it. A proof of the last moments is returned again without a
// second shot, unless the node was heard since. It fails with ErrUnproved, wrapped with what each device
// said. The shot goes on when ctx ends; only the wait for it ends.
func (p *Peer) Off(ctx context.Context) (Proof, error) {
	s := p.join()
	select {
	case <-s.done:
		return s.proof, s.err
	case <-ctx.Done():
		return Proof{}, fmt.Errorf("power %s off: no proof yet: %w", p.node, context.Cause(ctx))
	}
}

// join returns the shot under way, or begins one.
func (p *Peer) join() *shot {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shot != nil {
		return p.shot
	}
	s := &shot{done: make(chan struct{})}
	if p.life.Err() != nil {
		s.err = fmt.Errorf("power %s off: %w", p.node, errClosed)
		close(s.done)
		return s
	}
	if p.holds() {
		s.proof = p.proof
		close(s.done)
		return s
	}
	p.shot = s
	p.running.Go(func() { p.shoot(p.life, s) })
	return s
}

// holds reports whether the newest proof is still one: it is fresh, and the node was not heard since. A silent node may
// have been switched on by hand, so a proof does not live long; it is for volumes that take over together.
func (p *Peer) holds() bool {
	return p.proof.Verified() && time.Since(p.proof.At) < proofHolds && !p.opt.Heard().After(p.proof.At)
}

// shoot ends by itself: every device is bounded by DeviceTimeout.
func (p *Peer) shoot(ctx context.Context, s *shot) {
	start := p.opt.Start()
	s.proof, s.err = p.try(ctx)
	p.mu.Lock()
	p.shot, p.proof, p.claim = nil, s.proof, claim{s.proof, start}
	p.mu.Unlock()
	if p.opt.Ended != nil {
		p.opt.Ended(s.proof, s.err)
	}
	close(s.done)
}

func (p *Peer) try(ctx context.Context) (Proof, error) {
	if len(p.devices) == 0 {
		return Proof{}, ErrNone
	}
	errs := []error{fmt.Errorf("power %s off: %w", p.node, ErrUnproved)}
	for _, d := range p.devices {
		proof, err := p.by(ctx, d)
		if err == nil {
			return proof, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", d.Name(), err))
	}
	return Proof{}, errors.Join(errs...)
}

// by orders the power off and looks until the device says so reads times in a row, with nothing heard of the node
// between them.
func (p *Peer) by(ctx context.Context, d Device) (Proof, error) {
	ctx, cancel := context.WithTimeout(ctx, p.opt.DeviceTimeout)
	defer cancel()
	p.lookBack()
	spoke, silent := time.Time{}, !p.opt.Heard().After(time.Now().Add(-lastWords))
	// A node that is off already may refuse the order: the state decides.
	ordered := d.PowerOff(ctx)
	off, first := 0, time.Time{}
	for {
		state, err := d.Status(ctx)
		if heard := p.opt.Heard(); err != nil || state != Off {
			off = 0
		} else if off == 0 || heard.After(first) {
			if off > 0 {
				spoke = heard
			}
			off, first = 1, time.Now()
		} else if off++; off == reads {
			if silent && p.lies(d) {
				return Proof{}, ErrDistrusted
			}
			return p.proved(d), nil
		}
		if !pause(ctx, p.opt.Poll) {
			if !spoke.IsZero() {
				return Proof{}, p.lie(d, spoke)
			}
			why := unproved(state, ordered, err, p.opt.DeviceTimeout)
			if err == nil && p.life.Err() == nil {
				p.remember(d, why)
			}
			return Proof{}, why
		}
	}
}

func (p *Peer) proved(d Device) Proof {
	p.trust(d)
	return Proof{Driver: d.Name(), At: time.Now(),
		Method: fmt.Sprintf("ordered off, and %d looks in a row said off", reads)}
}

func (p *Peer) lie(d Device, spoke time.Time) error {
	p.distrust(d, fmt.Sprintf("it said off, and %s was heard after that, at %s", p.node, spoke.Format(time.TimeOnly)))
	return ErrAlive
}

func unproved(state Power, ordered, asked error, after time.Duration) error {
	switch {
	case asked != nil && ordered != nil:
		return fmt.Errorf("neither the order nor the question for the state was answered within %v: %w", after,
			errors.Join(ordered, asked))
	case asked != nil:
		return fmt.Errorf("the order was accepted, and the state cannot be read: %w", asked)
	case ordered != nil:
		return fmt.Errorf("the order failed, and the state is still %q: %w", state, ordered)
	}
	return fmt.Errorf("the order was accepted, and the state is still %q after %v", state, after)
}

// Status asks the devices in turn; the first that knows answers.
func (p *Peer) Status(ctx context.Context) (Power, error) {
	var errs []error
	for _, d := range p.devices {
		state, err := d.Status(ctx)
		if err == nil && state != Unknown {
			return state, nil
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.Name(), err))
		}
	}
	return Unknown, errors.Join(errs...)
}

// On orders the power on by the first device that takes the order. It proves nothing.
func (p *Peer) On(ctx context.Context) error {
	errs := []error{fmt.Errorf("power %s on: no fencing device took the order", p.node)}
	for _, d := range p.devices {
		ctx, cancel := context.WithTimeout(ctx, p.opt.DeviceTimeout)
		err := d.PowerOn(ctx)
		cancel()
		if err == nil {
			p.forget()
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", d.Name(), err))
	}
	return errors.Join(errs...)
}

// forget voids the proof: the node may run again.
func (p *Peer) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proof = Proof{}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
