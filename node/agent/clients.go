package agent

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gemel/node/api"
	"gemel/node/failover"
)

// Who is connected to a volume's addresses is told to the peer, so that it can make
// them connect anew when it takes over: a box that died cannot tell any more.

const (
	// clientsEvery is how often the connections are looked at. Those that begin in
	// between are arrivals.
	clientsEvery = time.Second
	clientsWait  = 2 * time.Second // for one message to the peer
	// clientsKept bounds the connections of a volume that the peer knows, and with
	// api.MaxClients what one look at them costs.
	clientsKept = 4096
)

// roster is what this node's peer knows of the clients of one volume.
type roster struct {
	seq   uint64
	whole bool // the peer has all that is in told
	told  map[api.Connection]struct{}
}

// next returns the message that brings the peer nearer to now; false: it knows all.
func (r *roster) next(now []api.Connection) (m api.Clients, news bool) {
	m.Whole = !r.whole
	for _, c := range now[:min(len(now), clientsKept)] {
		if _, known := r.told[c]; (m.Whole || !known) && len(m.Add) < api.MaxClients {
			m.Add = append(m.Add, c)
		}
	}
	if !m.Whole {
		current := make(map[api.Connection]struct{}, len(now))
		for _, c := range now {
			current[c] = struct{}{}
		}
		for c := range r.told {
			if _, still := current[c]; !still && len(m.Add)+len(m.Gone) < api.MaxClients {
				m.Gone = append(m.Gone, c)
			}
		}
	}
	if !m.Whole && len(m.Add)+len(m.Gone) == 0 {
		return m, false
	}
	r.seq++
	m.Seq = r.seq
	return m, true
}

// confirmed notes that the peer has taken m in.
func (r *roster) confirmed(m *api.Clients) {
	if m.Whole {
		r.told, r.whole = map[api.Connection]struct{}{}, true
	}
	for _, c := range m.Gone {
		delete(r.told, c)
	}
	for _, c := range m.Add {
		r.told[c] = struct{}{}
	}
}

// lost notes that nobody knows what the peer has.
func (r *roster) lost() { r.whole, r.told = false, nil }

// clientele is what the peer told of the clients of one volume. It is safe for
// concurrent use.
type clientele struct {
	mu   sync.Mutex
	boot string // of the peer's agent
	seq  uint64
	has  map[api.Connection]struct{}
}

// take returns the number up to which this node has all messages of m's sender.
func (c *clientele) take(m *api.Clients) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.Boot == c.boot && m.Seq <= c.seq:
		return c.seq // the same message came over another link before
	case m.Whole:
		c.boot, c.has = m.Boot, map[api.Connection]struct{}{}
	case m.Boot != c.boot || m.Seq != c.seq+1:
		return 0
	}
	c.seq = m.Seq
	for _, gone := range m.Gone {
		delete(c.has, gone)
	}
	for _, add := range m.Add {
		if len(c.has) < clientsKept {
			c.has[add] = struct{}{}
		}
	}
	return c.seq
}

// leave returns what is known and forgets it: the clients are this node's now.
func (c *clientele) leave() []api.Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Collect(maps.Keys(c.has))
	c.boot, c.seq, c.has = "", 0, nil
	return list
}

// shareClients tells the peer who is connected here, until ctx ends.
func (a *Agent) shareClients(ctx context.Context) {
	rosters := make([]roster, len(a.owners))
	tick := time.NewTicker(clientsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.shareOnce(ctx, rosters)
		case <-a.arrivals.news:
			a.shareArrivals(ctx, rosters)
			pause(ctx, arrivalsGap)
		}
	}
}

// shareOnce looks at the connections of all volumes that are served here.
func (a *Agent) shareOnce(ctx context.Context, rosters []roster) {
	var ips []netip.Addr
	came := a.arrivals.all(true) // first: they may be connected by now, or not yet
	for i, o := range a.owners {
		if o.sharesClients() {
			ips = append(ips, o.ips...)
		} else {
			rosters[i].lost()
		}
	}
	if len(ips) == 0 {
		return
	}
	found, err := a.connected(ips)
	if err != nil {
		return // what the kernel cannot do was told at the start
	}
	for i, o := range a.owners {
		if !o.sharesClients() {
			continue
		}
		mine := append(of(found, o.ips), of(came, o.ips)...)
		o.tellClients(ctx, a.heart.boot, &rosters[i], func() (api.Clients, bool) { return rosters[i].next(mine) })
	}
}

// sharesClients: this node serves, and somebody is there to be told.
func (o *owner) sharesClients() bool {
	view := o.view.Load()
	return len(o.ips) > 0 && view != nil && view.Role == failover.RoleServing && view.Peer.Alive
}

// tellClients brings the peer up to date by one message after the other, as far as it
// answers.
func (o *owner) tellClients(ctx context.Context, boot string, r *roster, next func() (api.Clients, bool)) {
	for ctx.Err() == nil {
		m, news := next()
		if !news {
			return
		}
		m.Volume, m.Boot = o.name, boot
		ctx, cancel := context.WithTimeout(ctx, clientsWait)
		has, err := overLinks(ctx, o.links, func(ctx context.Context, p Peer) (api.ClientsTaken, error) { return p.Clients(ctx, m) })
		cancel()
		if err != nil || has.Seq < m.Seq {
			r.lost() // the next look begins anew
			return
		}
		r.confirmed(&m)
	}
}

// takeClients keeps the peer's word on who is connected to it.
func (a *Agent) takeClients(m *api.Clients) (api.ClientsTaken, error) {
	o, err := a.owner(m.Volume)
	if err != nil {
		return api.ClientsTaken{}, err
	}
	return api.ClientsTaken{Seq: o.clients.take(m)}, nil
}

// openAddresses lets the addresses answer, now that the services do.
func (c *course) openAddresses(ctx context.Context) error {
	var known []api.Connection
	if c.clients != nil {
		known = c.clients()
	}
	if err := c.addresses.Open(ctx, known); err != nil {
		return err
	}
	if len(known) > 0 {
		c.note("address.tickle", fmt.Sprintf("%d connections of clients to the other node are reset, so that they connect anew.",
			len(known)), "the addresses and the services are here now")
	}
	return nil
}
