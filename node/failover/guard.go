package failover

import "gemel/node/failover/reign"

// Guard says what a watchdog of this box has to guard for one volume: whether this
// node holds something that the peer could come to hold as well.
type Guard int

// Guards.
const (
	GuardUnknown Guard = iota // whether the replica reigns here has not been told yet
	GuardNone                 // nothing is held here, or nobody else can be elected
	GuardHeld                 // the volume is held, rightly, as long as the lease lasts
	GuardOver                 // the volume is not let go yet, and somebody else may have been elected
)

// guard follows the lease, for that is what the peer waits for. A reign of this
// node alone needs none and so no watchdog: to reset the only box that can serve
// would take more than it gives.
func (m *Machine) guard() Guard {
	switch m.role {
	case RoleTakingOver, RoleServing, RoleLeaving:
		return m.guardLease()
	case RoleLettingGo:
		if m.prop.State() == reign.Idle || m.outvoted() {
			return GuardOver
		}
		return m.guardLease()
	case RoleSecondary, RoleCampaigning:
	}
	if !m.replicaSeen && m.replicaDown == "" {
		return GuardUnknown
	}
	return GuardNone
}

func (m *Machine) guardLease() Guard {
	switch {
	case !m.needsLease():
		return GuardNone
	case m.now < m.lease.Until() || m.role != RoleLettingGo && m.awaitsProof():
		return GuardHeld
	}
	return GuardOver
}

// outvoted reports whether a newer reign than this one is known, or was promised.
func (m *Machine) outvoted() bool {
	return m.prop.Superseded() || m.replicaSeen && m.replica.Record.Promised > m.prop.Epoch() ||
		m.det.alive && m.peer.Primary && m.peer.Epoch > m.prop.Epoch()
}
