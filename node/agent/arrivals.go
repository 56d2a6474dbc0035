package agent

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gemel/node/api"
	"gemel/node/vip"
)

const (
	// arrivalsGap is the time from one message about clients that have just come to the
	// next, so that a busy server tells of many at once.
	arrivalsGap = 20 * time.Millisecond
	// arrivalsKept bounds them between two looks at the kernel's list.
	arrivalsKept = 1024
	hearAgain    = 5 * time.Second
)

// arrivals are the clients that came since the last look at the kernel's list of
// connections. One that connects anew for every request would hardly ever be in that,
// and it is the one that waits for an answer when the node dies. It is safe for
// concurrent use.
type arrivals struct {
	mu   sync.Mutex
	list []api.Connection
	news chan struct{} // gets a value when there are more of them
}

func newArrivals() *arrivals { return &arrivals{news: make(chan struct{}, 1)} }

func (a *arrivals) add(c api.Connection) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) == arrivalsKept {
		return
	}
	a.list = append(a.list, c)
	select {
	case a.news <- struct{}{}:
	default: // somebody is about to look
	}
}

// all returns those that came; forget: and begins anew.
func (a *arrivals) all(forget bool) []api.Connection {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := slices.Clone(a.list)
	if forget {
		a.list = a.list[:0]
	}
	return list
}

// of returns those that are connected to one of ips.
func of(list []api.Connection, ips []netip.Addr) (mine []api.Connection) {
	for _, c := range list {
		if slices.Contains(ips, c.Address.Addr()) {
			mine = append(mine, c)
		}
	}
	return mine
}

// shareArrivals tells the peer who has just come.
func (a *Agent) shareArrivals(ctx context.Context, rosters []roster) {
	now := a.arrivals.all(false)
	for i, o := range a.owners {
		if mine := of(now, o.ips); len(mine) > 0 && o.sharesClients() {
			o.tellClients(ctx, a.heart.boot, &rosters[i], func() (api.Clients, bool) { return rosters[i].more(mine) })
		}
	}
}

// more returns the message that adds those of now that the peer does not know; false:
// there are none, or the peer is to be told everything first.
func (r *roster) more(now []api.Connection) (m api.Clients, news bool) {
	for _, c := range now {
		if _, known := r.told[c]; !known && len(m.Add) < min(api.MaxClients, clientsKept-len(r.told)) && !slices.Contains(m.Add, c) {
			m.Add = append(m.Add, c)
		}
	}
	if !r.whole || len(m.Add) == 0 {
		return m, false
	}
	r.seq++
	m.Seq = r.seq
	return m, true
}

// hearClients notes every client that comes, until ctx ends.
func (w *wiring) hearClients(ctx context.Context, a *Agent) error {
	var ips []netip.Addr
	for _, o := range a.owners {
		ips = append(ips, o.ips...)
	}
	for told := false; ctx.Err() == nil && len(ips) > 0; {
		err := vip.Newcomers(ctx, ips, func(c vip.Connection) { a.arrivals.add(api.Connection{Address: c.Local, Client: c.Remote}) })
		if err != nil && !told {
			told = true
			a.diary.note("", "clients.unheard", "Clients are known to the other node only when they have been connected for a second.", err.Error())
		}
		pause(ctx, hearAgain)
	}
	return nil
}
