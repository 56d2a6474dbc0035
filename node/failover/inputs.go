package failover

import (
	"fmt"
	"time"

	"gemel/node/arbiter"
)

// Inputs are what a decision rests on, by name: "peer", "link NAME", "vote NAME",
// "replica", "record", "lease". They go into the history, in words.
type Inputs map[string]string

// inputs tells what the machine knows now.
func (m *Machine) inputs() Inputs {
	in := m.linkInputs()
	in["peer"] = m.peerInput()
	in["replica"] = m.replicaInput()
	if r := m.replica.Record; m.replicaSeen {
		in["record"] = fmt.Sprintf("epoch %d version %d: %s; promised epoch %d",
			r.Accepted.Epoch, r.Accepted.Version, m.setNames(r.Accepted.Set), r.Promised)
	}
	if m.role == RoleServing || m.role == RoleLeaving || m.role == RoleLettingGo {
		in["lease"] = m.leaseInput()
	}
	return in
}

// linkInputs tells of every link how long the peer is silent on it.
func (m *Machine) linkInputs() Inputs {
	in := Inputs{}
	for i := range m.det.links {
		l := &m.det.links[i]
		text := "never heard"
		if l.heard {
			text = fmt.Sprintf("last heartbeat %v before, %d missed", (m.now - l.last).Round(time.Millisecond), max(0, m.det.missed(m.now, l)))
		}
		if !l.carrier {
			text += ", no cable here"
		}
		in["link "+l.name] = text
	}
	return in
}

func (m *Machine) peerInput() string {
	switch {
	case !m.det.heard:
		return "not heard since this agent's start"
	case !m.det.alive:
		return fmt.Sprintf("silent for %v", (m.now - m.det.lastSeen).Round(time.Millisecond))
	case m.peer.Primary:
		return fmt.Sprintf("alive, Primary in epoch %d", m.peer.Epoch)
	case m.peer.Fit:
		return "alive, not Primary, fit"
	default:
		return "alive, not Primary, not fit to take over"
	}
}

func (m *Machine) replicaInput() string {
	r := &m.replica
	switch {
	case m.replicaDown != "":
		return "no answer: " + m.replicaDown
	case !m.replicaSeen:
		return "has not reported yet"
	case !r.Usable:
		return r.Problem
	case r.Created:
		return "new, never used"
	case !r.DiskWhole:
		return "incomplete: a resync did not finish"
	case r.Outdated:
		return "marked Outdated by an operator"
	}
	role := "Secondary"
	if r.Primary {
		role = fmt.Sprintf("Primary of epoch %d", r.Epoch)
	}
	if r.MayLack != "" {
		return "whole, " + role + ", may lack writes of protocol " + r.MayLack
	}
	return "whole, " + role
}

func (m *Machine) leaseInput() string {
	switch left := m.lease.Until() - m.now; {
	case !m.needsLease():
		return "not needed: nobody else can be elected"
	case left <= 0:
		return "over"
	default:
		return fmt.Sprintf("%v left", left.Round(time.Millisecond))
	}
}

// voteInputs adds who gave a vote in this campaign, and who did not.
func (m *Machine) voteInputs() Inputs {
	in := m.inputs()
	for _, v := range m.voters() {
		text := m.ballots[v]
		if text == "" {
			text = "had not answered"
		}
		in["vote "+m.voterName(v)] = text
	}
	return in
}

// keepBallot notes a voter's answer for the history.
func (m *Machine) keepBallot(e Prepared) {
	r := e.Reply
	switch {
	case e.Unreachable:
		if m.ballots[e.Voter] == "" {
			m.ballots[e.Voter] = "does not answer"
		}
	case r.OK && r.Record.Fresh:
		m.ballots[e.Voter] = "has no memory of this volume"
	case r.OK:
		m.ballots[e.Voter] = fmt.Sprintf("promised epoch %d", e.Epoch)
	case r.Wait > 0:
		m.ballots[e.Voter] = fmt.Sprintf("honours a lease for another %v", r.Wait.Round(time.Millisecond))
	case r.Refusal == arbiter.RefusedOutdated:
		m.ballots[e.Voter] = "refuses: the newest set it recorded is " + m.setNames(r.Record.Accepted.Set)
	default:
		m.ballots[e.Voter] = fmt.Sprintf("refuses: it promised epoch %d", r.Record.Promised)
	}
}
