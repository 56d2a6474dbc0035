package fencing

import (
	"context"
	"fmt"
)

// Health is what a look at one device found.
type Health struct {
	Device  string `json:"device"`
	Power   Power  `json:"power"`
	Problem string `json:"problem,omitempty"` // empty: fit to shoot
}

// Probe looks at every device without switching anything. A device that cannot be reached, or that says off of a node
// that speaks, would be of no use when it is needed, so that is said before.
func (p *Peer) Probe(ctx context.Context) []Health {
	found := make([]Health, 0, len(p.devices))
	for _, d := range p.devices {
		found = append(found, p.look(ctx, d))
	}
	return found
}

func (p *Peer) look(ctx context.Context, d Device) Health {
	ctx, cancel := context.WithTimeout(ctx, p.opt.DeviceTimeout)
	defer cancel()
	p.lookBack()
	state, err := d.Status(ctx)
	h := Health{Device: d.Name(), Power: state}
	switch {
	case err != nil:
		h.Power, h.Problem = Unknown, "does not answer: "+err.Error()
	case state == Off && p.speaksOn(ctx, d):
		h.Problem = fmt.Sprintf("says that %s is off, though its heartbeats arrive: it belongs to another box, or lies", p.node)
		p.distrust(d, h.Problem)
	case state == Unknown:
		h.Problem = "cannot tell whether " + p.node + " is on; its word would prove nothing"
	default:
		h.Problem = p.grudge(d)
	}
	return h
}
