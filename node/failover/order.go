package failover

import "fmt"

func (m *Machine) takeOrder(o Order) {
	switch o.Kind {
	case OrderSwitchover:
		m.switchover(o)
	case OrderGrab, OrderGrabStale:
		m.grab(o)
	case OrderLeave:
		m.leaveForGood(o)
	case OrderMayGive:
		m.mayGive(o)
	default:
		m.do(Answer{ID: o.ID, Err: fmt.Sprintf("unknown order %d", o.Kind)})
	}
}

func (m *Machine) switchover(o Order) {
	if m.role != RoleServing {
		m.do(Answer{ID: o.ID, Err: fmt.Sprintf("%s is not serving %s (%s); nothing to hand over", m.cfg.SelfName, m.cfg.Volume, m.phase())})
		return
	}
	if why := m.cannotGive(); why != "" {
		m.do(Answer{ID: o.ID, Err: why})
		return
	}
	m.accept(o)
	m.stayHere, m.returnedAt = false, 0
	m.orderUntil = m.now + switchoverPatience
	m.leave("an operator asked for a switchover", true)
}

func (m *Machine) grab(o Order) {
	if m.role != RoleSecondary && m.role != RoleCampaigning {
		m.do(Answer{ID: o.ID, Err: fmt.Sprintf("%s is already at it: %s", m.cfg.SelfName, m.phase())})
		return
	}
	if m.det.alive && m.peer.Primary {
		next := fmt.Sprintf("use `gemel switchover %s`", m.cfg.Volume)
		if o.Kind == OrderGrabStale {
			next = fmt.Sprintf("stop the agent there first (systemctl stop gemel-agent), and start it again once %s serves", m.cfg.SelfName)
		}
		m.do(Answer{ID: o.ID, Err: fmt.Sprintf("%s is alive and Primary; %s", m.cfg.PeerName, next)})
		return
	}
	if why := m.unfit(); why != "" {
		m.do(Answer{ID: o.ID, Err: why})
		return
	}
	m.accept(o)
	m.orderUntil = m.now + grabPatience + m.cfg.StepTimeout
	m.role, m.forced, m.nextAsk = RoleCampaigning, true, m.now+askAgain
	m.decideAt = m.now + grabPatience
	m.newLease()
	epoch := m.nextEpoch(grabLeap)
	m.ballots = [3]string{}
	m.note(Note{Kind: "grab", Text: fmt.Sprintf("An operator makes %s Primary in epoch %d.", m.cfg.SelfName, epoch),
		Reason: "the operator says that " + m.cfg.PeerName + " is out of the way",
		Inputs: m.inputs()})
	m.send(m.prop.ByHand(epoch, m.replica.Record.Accepted, o.Kind == OrderGrabStale))
}

func (m *Machine) leaveForGood(o Order) {
	m.stopped = true
	switch m.role {
	case RoleSecondary:
		m.do(Answer{ID: o.ID})
		return
	case RoleCampaigning:
		m.prop.Abandon()
		m.role = RoleSecondary
		m.do(Answer{ID: o.ID})
		return
	}
	m.accept(o)
	m.orderUntil = m.now + 2*m.cfg.StepTimeout
	if m.role == RoleServing || m.role == RoleTakingOver {
		m.leave("the agent is stopping", m.cannotGive() == "")
	}
}

// accept makes o the order being carried out; an older one is answered.
func (m *Machine) accept(o Order) {
	if m.order.ID != 0 {
		m.answer("another order came in between")
	}
	m.order = o
}

// checkOrder ends a switchover when the peer serves, and any order that takes
// too long.
func (m *Machine) checkOrder() {
	if m.order.ID == 0 {
		return
	}
	if m.order.Kind == OrderSwitchover && m.role == RoleSecondary && m.det.alive && m.peer.Serving {
		m.answer(m.tookOver())
		return
	}
	if m.now >= m.orderUntil {
		m.answer(fmt.Sprintf("no end after the time allowed; %s now: %s", m.cfg.SelfName, m.phase()))
	}
}

// tookOver says what a switchover came to at the peer; empty: all is well.
func (m *Machine) tookOver() string {
	if m.peer.Impaired {
		return fmt.Sprintf("%s took %s over, but not all services run there; see `gemel status` there", m.cfg.PeerName, m.cfg.Volume)
	}
	return ""
}

// gaveBack says what a switchover came to that ended where it began.
func (m *Machine) gaveBack() string {
	why := fmt.Sprintf("%s serves %s again: %s did not take it, or gave it back", m.cfg.SelfName, m.cfg.Volume, m.cfg.PeerName)
	if m.peer.ServicesFailed {
		why += "; services failed there"
	}
	return why + "; `gemel history` on " + m.cfg.PeerName + " says why"
}

func (m *Machine) answer(err string) {
	m.do(Answer{ID: m.order.ID, Err: err})
	m.order = Order{}
}

// answerIf ends the current order well if it is one of kinds.
func (m *Machine) answerIf(kinds ...OrderKind) { m.answerIfErr("", kinds...) }

func (m *Machine) answerIfErr(err string, kinds ...OrderKind) {
	for _, k := range kinds {
		if m.order.ID != 0 && m.order.Kind == k {
			m.answer(err)
			return
		}
	}
}
