package fencing

import (
	"context"
	"fmt"
	"time"
)

// A device is believed until it is caught. Caught is who says off while the node speaks, and who proved a
// node to be off that was heard later without having started anew. After that its word about a node that is silent
// anyhow proves nothing: nobody could tell a lie from the truth. What clears it is a node that spoke until it was told
// off, and then fell silent: a test.

const (
	// lastWords is how old the newest heartbeat of a node that speaks may be.
	lastWords = 2 * time.Second
	// lingering is how long after its end a heartbeat of a node may still come out of a queue here.
	lingering = time.Second
)

// speaksOn reports whether the node goes on speaking after d said that it is off. Heartbeats of a moment before may
// come late, and the node may have been switched on meanwhile.
func (p *Peer) speaksOn(ctx context.Context, d Device) bool {
	said := time.Now()
	if !p.opt.Heard().After(said.Add(-lastWords)) || !pause(ctx, 2*lingering) || !p.opt.Heard().After(said.Add(lingering)) {
		return false
	}
	state, err := d.Status(ctx)
	return err == nil && state == Off
}

// lookBack finds out that the newest proof was none: the node was heard after it, and has not started since.
func (p *Peer) lookBack() {
	start := p.opt.Start()
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.claim; c.start == "" || c.start != start || !p.opt.Heard().After(c.At.Add(2*lingering)) {
		return
	}
	p.lied[p.claim.Driver] = fmt.Sprintf("it proved %s to be off at %s, and the agent that ran before that was heard later", p.node,
		p.claim.At.Format(time.TimeOnly))
	p.claim = claim{}
}

// claim is a proof as it can be seen through: with the start of the node's agent that was heard last before it.
type claim struct {
	Proof
	start string
}

// grudge is why a device is not trusted any more; empty when it is.
func (p *Peer) grudge(d Device) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if why := p.lied[d.Name()]; why != "" {
		return "was caught lying: " + why + "; `gemel fence test` clears this when it tells the truth again"
	}
	if why := p.failed[d.Name()]; why != "" {
		return "did not do what it was told: " + why + "; `gemel fence test` clears this when it does"
	}
	return ""
}

// lies reports whether a device was caught.
func (p *Peer) lies(d Device) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lied[d.Name()] != ""
}

func (p *Peer) distrust(d Device, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lied[d.Name()] = why
}

// remember that an order came to nothing though the device answers; looking at it would not show that.
func (p *Peer) remember(d Device, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed[d.Name()] = fmt.Sprintf("at %s %v", time.Now().Format(time.TimeOnly), why)
}

func (p *Peer) trust(d Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.lied, d.Name())
	delete(p.failed, d.Name())
}
