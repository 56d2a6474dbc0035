package failover

import (
	"fmt"
	"time"
)

// Preference is where a volume starts when both nodes could take it.
type Preference int

// Preferences, as one node sees them.
const (
	PreferFirst Preference = iota // the node with the lower number
	PreferSelf
	PreferPeer
)

const (
	// returnAfter is how long the preferred node must have been in sync and fit before
	// a volume returns to it by itself.
	returnAfter = time.Minute
	// cameBackSoon: a volume that comes back from there within this time has a reason
	// to, and is not sent there again by itself.
	cameBackSoon = 10 * time.Minute
)

// goesFirst reports whether this node takes a volume before the peer when both could.
func (m *Machine) goesFirst() bool {
	switch m.cfg.Prefer {
	case PreferSelf:
		return true
	case PreferPeer:
		return false
	default:
		return m.cfg.Self == 0
	}
}

// giveBack returns the volume to the node that is preferred, if that is wanted.
func (m *Machine) giveBack() {
	if m.cfg.Prefer != PreferPeer || !m.cfg.FailBack || m.stayHere {
		return
	}
	if m.returnedAt != 0 && m.wholeSince == 0 && m.now-m.returnedAt < cameBackSoon {
		m.stayHere = true
		m.note(Note{Kind: "failback.stopped", Text: fmt.Sprintf("%s keeps %s until an operator switches it over.", m.cfg.SelfName, m.cfg.Volume),
			Reason: fmt.Sprintf("it came back from %s within %v", m.cfg.PeerName, cameBackSoon)})
		return
	}
	switch {
	case m.cannotMove() != "" || m.impaired.why != "" || !m.peer.AddressNIC || m.replica.MayYield || m.remote:
		m.wholeSince = 0
	case m.wholeSince == 0:
		m.wholeSince = m.now
	case m.now-m.wholeSince >= returnAfter:
		m.wholeSince, m.returnedAt = 0, m.now
		m.leave(fmt.Sprintf("%s is preferred (prefer, failback: auto) and has been fit for %v", m.cfg.PeerName, returnAfter), true)
	}
}
