package failover

import "fmt"

// Mode is what operators told this node to leave alone; it is an event, and holds
// until the next one. What keeps data safe goes on in any mode: the set shrinks and
// grows, and a reign that is lost is let go.
type Mode struct {
	// Maintenance: the pair only watches. Nothing is taken over, handed over or given
	// up by itself, on neither node; orders of an operator are carried out.
	Maintenance bool
	// Standby: this node takes nothing over until that is undone, but for an
	// operator's grab.
	Standby bool
}

func (Mode) isEvent() {}

func (m *Machine) takeMode(e Mode) {
	was := m.mode
	m.mode = e
	if held := m.heldFailure; held != nil && was.Maintenance && !e.Maintenance {
		m.heldFailure = nil
		m.takeServiceFailed(*held)
	}
}

// onStandby says why a node on standby takes nothing over; empty: it is not.
func (m *Machine) onStandby() string {
	if !m.mode.Standby {
		return ""
	}
	return fmt.Sprintf("%s is on standby and takes nothing over; `gemel standby %s --undo` ends that", m.cfg.SelfName, m.cfg.SelfName)
}

// inMaintenance says why nothing is taken over automatically; empty: maintenance is off.
func (m *Machine) inMaintenance() string {
	if !m.mode.Maintenance {
		return ""
	}
	return fmt.Sprintf("maintenance is on, so nothing is taken over automatically; `gemel maintenance off`, or take over by your word: "+
		"`gemel grab %s` on this node", m.cfg.Volume)
}

// holdFailure keeps a service's failure for the end of the maintenance.
func (m *Machine) holdFailure(e ServiceFailed) {
	m.heldFailure = &e
	m.note(Note{Kind: "maintenance.held", Text: fmt.Sprintf("Service %s failed and is left alone.", e.Name),
		Reason: "maintenance is on; " + e.Reason})
}

// mayGive answers whether a switchover would be carried out now, without doing it.
func (m *Machine) mayGive(o Order) {
	why := ""
	if m.role != RoleServing {
		why = fmt.Sprintf("%s is not serving %s (%s); nothing to hand over", m.cfg.SelfName, m.cfg.Volume, m.phase())
	} else {
		why = m.cannotGive()
	}
	m.do(Answer{ID: o.ID, Err: why})
}
