package vip

import (
	"context"
	"net"
	"time"
)

// earlyLasts is how long after its end the answer to an early question counts.
const earlyLasts = time.Second

// early is a question that was asked before the address is claimed.
type early struct {
	iface string
	done  chan struct{} // closed when err and ended are set
	err   error
	ended time.Time
}

// Ask begins to probe the network for an address that will be claimed soon, and
// returns at once: a Claim within a second after the probe's end takes its answer
// instead of probing for another 250 ms. To ask claims nothing. What keeps it from
// asking is the Claim's to tell.
func (m *Manager) Ask(a Address) {
	a.IP = a.IP.Unmap()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[a.IP] != nil || m.closed {
		return
	}
	if present, err := find(a); present || err != nil {
		return
	}
	link, err := etherLink(a.Interface)
	if err != nil || !up(link) {
		return
	}
	w, err := openWire(link.Attrs().Index, a.IP)
	if err != nil {
		return
	}
	e := &early{iface: a.Interface, done: make(chan struct{})}
	m.early[a.IP] = e
	m.reports.Go(func() { // ends after probeTime
		defer close(e.done)
		defer w.close()
		e.err = probe(context.Background(), w, link.Attrs().HardwareAddr, a)
		e.ended = time.Now()
	})
}

// ask probes, unless that was done early. An answer counts once.
func (m *Manager) ask(ctx context.Context, w *wire, mac net.HardwareAddr, a Address) error {
	e := m.early[a.IP]
	delete(m.early, a.IP)
	if e == nil || e.iface != a.Interface {
		return probe(ctx, w, mac, a)
	}
	select {
	case <-e.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if e.err == nil && time.Since(e.ended) < earlyLasts {
		return nil
	}
	return probe(ctx, w, mac, a) // too long ago, or whoever had it may be gone by now
}
