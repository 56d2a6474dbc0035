package agent

import (
	"fmt"
	"slices"
	"time"

	"gemel/node/failover"
)

// interfaces returns the interfaces to watch: those that own a link's address
// and those that carry the volumes' addresses. complete is false while a link's
// interface is not known yet.
func (a *Agent) interfaces() (names []string, complete bool) {
	a.nicMu.Lock()
	defer a.nicMu.Unlock()
	complete = true
	for _, l := range a.links {
		if l.nic == "" {
			l.nic = a.interfaceOf(l.local)
		}
		if l.nic == "" {
			complete = false
			continue
		}
		names = append(names, l.nic)
	}
	for _, o := range a.owners {
		for _, addr := range o.vol.Addresses {
			names = append(names, addr.Interface)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), complete
}

// carrier tells every owner that an interface lost or found its cable: as a
// link to the peer, as the home of addresses, or both.
func (a *Agent) carrier(nic string, up bool) {
	a.nicMu.Lock()
	defer a.nicMu.Unlock()
	a.nics[nic] = up
	for _, l := range a.links {
		if l.nic == nic && l.carrier.Swap(up) != up {
			for _, o := range a.owners {
				o.box.post(failover.Carrier{Link: l.name, Up: up})
			}
		}
	}
	for _, o := range a.owners {
		o.addressNIC(nic, a.nics)
	}
}

// addressNIC tells the machine when the carrier below the addresses changed as
// a whole.
func (o *owner) addressNIC(changed string, nics map[string]bool) {
	all, concerned := true, false
	for _, addr := range o.vol.Addresses {
		up, known := nics[addr.Interface]
		all = all && (up || !known)
		concerned = concerned || addr.Interface == changed
	}
	if !concerned {
		return
	}
	if o.nic.Swap(all) == all {
		return
	}
	o.box.post(failover.AddressNIC{Up: all})
	if all && o.primaryHere() {
		o.course.addresses.Announce() // the switch may have forgotten us
	}
}

// conflictTold is how often a conflict that goes on is told.
const conflictTold = time.Minute

// conflict: another box claims an address that this node holds. If that is the peer in a
// newer reign, its heartbeat says so, and the machine lets go at once: beats leave now
// on every link. Until then, and against anybody else for good, the address is
// defended: this node's lease, or its recorded set, says that nobody else may have it.
func (o *owner) conflict(address, otherMAC string) {
	o.heartbeats()
	if o.primaryHere() {
		o.course.addresses.Announce()
	}
	now := int64(o.clock.Boot())
	if last := o.conflictAt.Load(); last != 0 && now-last < int64(conflictTold) {
		return
	}
	o.conflictAt.Store(now)
	o.note("address.conflict", fmt.Sprintf("Another box (%s) answers for %s, which this node holds.", otherMAC, address),
		"find that box and take the address away there; this node goes on and announces itself again")
}
