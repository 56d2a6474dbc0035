package replicator

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"gemel/node/config"
	"gemel/node/replicator/control"
	"gemel/node/vip"
)

// guardEvery is how often leases are looked at. The peer is elected no sooner than the voters' share of the drift
// after the lease's end (60 ms at the default of 3 s), and then has a file system to check.
const guardEvery = 50 * time.Millisecond

// guard drops the addresses of a volume whose lease ran out. The agent does so itself, unless it hangs or is gone:
// then this box would go on answering for an address that another one needs, with services that hang on held I/O.
// An agent that lives and keeps its reign puts the addresses back.
//
// A replicator that starts finds addresses of a reign that ended with its predecessor, when the agent died as well and does
// not come back: for them there is no lease that could run out. They are dropped if nobody has made the volume Primary for
// settled.
type guard struct {
	volume    string
	addresses []vip.Address
	over      func() bool                       // the volume is Primary here and its lease ran out
	primary   func() bool                       // the volume is Primary here
	present   func([]vip.Address) []vip.Address // which are on this box
	settled   time.Duration                     // from the first look; after that agents have done with what they found
	drop      func([]vip.Address) error
	note      func(volume string, err error)

	begun   time.Time // first look; zero: none
	checked bool      // leftovers were looked for
	dropped time.Time // zero: the lease holds
}

// dropAgain is how often addresses are dropped while the lease stays out: a hung agent may wake up for a moment.
const dropAgain = time.Second

func (g *guard) look(now time.Time) {
	g.lookForLeftovers(now)
	if !g.over() {
		g.dropped = time.Time{}
		return
	}
	if now.Sub(g.dropped) < dropAgain {
		return
	}
	first := g.dropped.IsZero()
	g.dropped = now
	if err := g.drop(g.addresses); err != nil || first {
		g.note(g.volume, err)
	}
}

func (g *guard) lookForLeftovers(now time.Time) {
	if g.begun.IsZero() {
		g.begun = now
	}
	if g.checked || now.Sub(g.begun) < g.settled {
		return
	}
	g.checked = true
	if g.primary() {
		return // whatever is there belongs to this reign
	}
	if left := g.present(g.addresses); len(left) > 0 {
		g.note(g.volume, g.drop(left))
	}
}

// guardAddresses looks after every volume with addresses until ctx ends.
func (d *daemon) guardAddresses(ctx context.Context) {
	guards := d.guards()
	if len(guards) == 0 {
		return
	}
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, g := range guards {
				g.look(now)
			}
		}
	}
}

func (d *daemon) guards() (guards []*guard) {
	manager := vip.New(nil)
	for _, s := range d.slots {
		addresses := guarded(s.conf)
		if len(addresses) == 0 {
			continue
		}
		over := func() bool {
			v, err := s.running()
			return err == nil && v.LeaseOver()
		}
		primary := func() bool {
			v, err := s.running()
			return err == nil && v.State().Role == control.Primary
		}
		guards = append(guards, &guard{volume: s.conf.Name, addresses: addresses, over: over, primary: primary,
			present: vip.Present, settled: 2 * d.cfg.Timing.Lease, drop: manager.DropAll, note: d.noteGuard})
	}
	return guards
}

func guarded(conf *config.Volume) (list []vip.Address) {
	for _, a := range conf.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil { // checked by config
			list = append(list, vip.Address{IP: ip, Interface: a.Interface})
		}
	}
	return list
}

func (d *daemon) noteGuard(volume string, err error) {
	if err != nil && !errors.Is(err, vip.ErrFixed) {
		d.log.Error("this node has no lease, and the addresses could not be dropped", "volume", volume, "reason", err)
		return
	}
	d.log.Warn("this node has no lease: the addresses are dropped, whatever the agent does", "volume", volume)
}
