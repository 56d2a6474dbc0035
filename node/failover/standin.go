package failover

import "gemel/node/arbiter"

// While the third voter is silent the next loss of a node stops the service, though a
// proof that the lost one is off would tell as much as the third vote. So fencing stands
// in for a third voter that was silent for long: the pair records, while it still is
// one, that there is none, and goes back when it answers again. Both changes are those
// of package reign, which are safe at any moment; when to make them is decided here. The
// devices must be fit, by the last look: a pair without a third voter and without a
// proof would lose even the way out that the third voter's return is.

// FenceDevice tells whether one of the devices would cut the peer's power, as far as
// looking at it tells.
type FenceDevice struct{ Fit bool }

func (m *Machine) takeArbiter(e Arbiter) {
	if m.thirdUp != e.Up {
		m.thirdSince = m.now
	}
	m.thirdUp = e.Up
}

// standIn decides whether fencing is to stand in. A third voter that comes and goes
// changes nothing: either way it takes as long.
func (m *Machine) standIn() {
	long := m.now-m.thirdSince >= m.cfg.StandIn
	switch {
	case m.cfg.StandIn == 0 || !m.cfg.Fences || m.cfg.Third == arbiter.NoThird || !m.stands && !m.fenceFit:
		m.stands = false
	case long:
		m.stands = !m.thirdUp
	}
}

// wanted is the third voter that this node would record now.
func (m *Machine) wanted() arbiter.Third {
	if m.stands {
		return arbiter.NoThird
	}
	return m.cfg.Third
}
