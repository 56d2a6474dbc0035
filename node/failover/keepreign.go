package failover

import (
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover/reign"
)

// resume picks the reign up again after this agent was restarted while its
// replica went on as Primary: same epoch, nothing is asked anew.
func (m *Machine) resume() {
	if !m.replicaSeen || !m.replica.Primary || m.stopped || m.replica.Epoch <= m.ended {
		return // nothing to resume, or an old report of a reign this machine ended itself
	}
	if m.replica.Record.Promised > m.replica.Epoch && m.replica.Record.Accepted.Epoch <= m.replica.Epoch {
		if m.resumeReelection() {
			return
		}
		m.letGo(fmt.Sprintf("the voters promised epoch %d to %s", m.replica.Record.Promised, m.cfg.PeerName))
		return
	}
	m.send(m.prop.Resume(m.replica.Record))
	if !m.replica.Usable {
		m.prop.Mute() // the record is in memory only
	}
	m.send(m.prop.Confirm(m.replica.Chosen))
	m.before = m.replica.Epoch
	m.role, m.refusal, m.told, m.nextRenew = RoleTakingOver, "", m.replica.Chosen, m.now
	m.newLease()
	m.lease.Assume(m.now + m.replica.LeaseLeft - m.cfg.Lease + m.cfg.Lease/50) // the replica's deadline is ours
	m.outOfWay = true
	m.startCourse(m.takeSteps())
	m.note(Note{Kind: "reign.resumed", Text: fmt.Sprintf("%s goes on with its reign, epoch %d.", m.cfg.SelfName, m.replica.Epoch),
		Reason: "the replica is still Primary; only the agent was restarted", Inputs: m.inputs()})
}

// keepReign renews the lease, shrinks and grows the in-sync set, and lets go
// when the reign is lost.
func (m *Machine) keepReign() {
	m.lease.Count(m.prop.CountsThird())
	if why := m.lost(); why != "" {
		m.letGo(why)
		return
	}
	m.renew()
	m.adjustSet()
	m.tellChosen()
	m.throughPeer()
	m.reelect()
	m.reseat()
	switch {
	case m.awaits():
	case m.role == RoleServing:
		m.watchAddressNIC()
		m.withoutServices()
		m.giveBack()
	case m.role == RoleTakingOver && m.afterStep != "":
		m.leaveWhenPeerIsIn()
	}
}

// lost says why this node must let go; empty when it need not.
func (m *Machine) lost() string {
	switch {
	case m.replicaDown != "" && !m.awaits():
		return "the replicator does not answer: " + m.replicaDown
	case m.prop.Superseded() && !m.again && !m.alone():
		return "a voter promised a higher epoch"
	case m.replicaSeen && m.replica.Record.Promised > m.prop.Epoch():
		return fmt.Sprintf("this node's own vote went to epoch %d", m.replica.Record.Promised)
	case m.det.alive && m.peer.Primary && m.peer.Epoch > m.prop.Epoch():
		return fmt.Sprintf("%s reigns in epoch %d, newer than epoch %d here", m.cfg.PeerName, m.peer.Epoch, m.prop.Epoch())
	case m.role == RoleServing && m.replicaSeen && !m.replica.Primary && !m.awaits():
		return "the replicator was restarted and is not Primary any more"
	case m.diskLost():
		return fmt.Sprintf("the backing device failed here (%s), and %s holds every write", m.replica.Problem, m.cfg.PeerName)
	case m.needsLease() && m.now >= m.lease.Until() && !m.awaitsProof():
		return m.leaseLost()
	default:
		return ""
	}
}

func (m *Machine) needsLease() bool { return m.prop.NeedsLease() && !m.forced }

// othersNamed says who ought to have renewed the lease.
func (m *Machine) othersNamed() string {
	if !m.prop.CountsThird() {
		return m.cfg.PeerName + " did not renew it"
	}
	return "neither " + m.cfg.PeerName + " nor " + m.cfg.WitnessName + " renewed it"
}

func (m *Machine) renew() {
	if m.now < m.nextRenew || m.again {
		return
	}
	// At whole multiples of the interval, so that the agent can ask for all volumes
	// at once. The first comes sooner by that, none later.
	m.nextRenew = m.now + m.cfg.Renew - m.now%m.cfg.Renew
	for _, v := range m.voters() {
		m.do(SendRenew{Voter: v, Epoch: m.prop.Epoch(), Term: m.cfg.Lease})
	}
}

func (m *Machine) takeRenewed(e Renewed) {
	if m.prop.State() != reign.Reigning || e.Epoch != m.prop.Epoch() || e.Unreachable {
		return
	}
	if !e.Reply.OK {
		m.send(m.prop.Heard(e.Voter, e.Reply.Record))
		return
	}
	before := m.lease.Until()
	m.lease.Granted(e.Voter, e.Sent)
	if m.lease.Until() > before {
		m.do(TellLease{Epoch: e.Epoch, Until: m.lease.Until()})
	}
}

// adjustSet proposes the in-sync set that the replica asks for.
func (m *Machine) adjustSet() {
	if m.prop.State() != reign.Reigning {
		if !m.again || !m.overtaken() { // else reelect asks anew
			m.askAgain(askAgain)
		}
		return
	}
	if m.replicaSeen && m.replica.Primary && m.replica.Epoch == m.prop.Epoch() {
		switch {
		case m.replica.MayYield:
			m.send(m.prop.Yield())
		case m.replica.WantShrink || m.leavesPeerOut() || m.peerGoes():
			m.send(m.prop.Shrink())
		case m.mayGrow():
			m.send(m.prop.Grow())
		default:
			m.adjustRule()
		}
	}
	interval := m.cfg.Renew // voters that were away learn the set in time
	if _, pending := m.prop.Pending(); pending {
		interval = askAgain
	}
	m.askAgain(interval)
}

// mayGrow takes the peer back only under a lease that has some time left: from
// the moment the set holds both, losing the lease means letting go.
func (m *Machine) mayGrow() bool {
	return m.replica.ReadyToGrow && m.role != RoleLeaving && m.det.alive && !m.peerGoes() &&
		m.prop.Chosen().Set == arbiter.Only(m.cfg.Self) && m.lease.Until()-m.now > m.cfg.Lease/2
}

// tellChosen gives the replica each newly chosen set, again if it seems lost.
func (m *Machine) tellChosen() {
	chosen := m.prop.Chosen()
	if !m.replicaSeen || !m.replica.Primary || m.replica.Epoch != chosen.Epoch {
		return
	}
	fresh := chosen.Newer(m.told)
	if !fresh && (!chosen.Newer(m.replica.Chosen) || m.now < m.tellAgain) {
		return
	}
	m.told, m.tellAgain = chosen, m.now+askAgain
	m.do(TellChosen{Chosen: chosen})
	if fresh {
		m.note(Note{Kind: "set.chosen", Text: fmt.Sprintf("The in-sync set is now %s (epoch %d, version %d).",
			m.setNames(chosen.Set), chosen.Epoch, chosen.Version), Reason: m.setReason(chosen.Set)})
		m.forced = m.forced && chosen.Set != arbiter.Both
	}
}

func (m *Machine) setReason(s arbiter.Set) string {
	switch s {
	case arbiter.Both:
		return m.cfg.PeerName + " holds every write again"
	case arbiter.Only(m.peerID()):
		return "the disk of " + m.cfg.SelfName + " failed"
	}
	return m.cfg.PeerName + " does not take part in writes"
}

// watchAddressNIC hands the volume to the peer when clients cannot reach this
// node any more but could reach the peer.
func (m *Machine) watchAddressNIC() {
	if m.addressNIC || m.mode.Maintenance || m.now-m.nicDownAt < 500*time.Millisecond || m.cannotMove() != "" || !m.peer.AddressNIC {
		return
	}
	m.leave("the network card of the volume's address lost its cable, and "+m.cfg.PeerName+" has one", true)
}

// leaveWhenPeerIsIn ends a take-over whose course failed: a reign starts alone,
// so the peer is first brought into the set, for only then may it reign.
func (m *Machine) leaveWhenPeerIsIn() {
	if give := m.cannotGive() == ""; give || !m.det.alive || m.now >= m.giveUpAt {
		m.leave(m.afterStep, give)
	}
}

// cannotGive says why the peer could not take the volume over cleanly now.
func (m *Machine) cannotGive() string {
	switch {
	case !m.det.alive:
		return m.cfg.PeerName + " is silent; nothing can be handed to it"
	case !m.prop.Chosen().Set.Has(m.peerID()):
		return fmt.Sprintf("%s is not in sync yet; wait with `gemel volume wait-sync %s`", m.cfg.PeerName, m.cfg.Volume)
	case !m.replica.Connected:
		return "the replication connection to " + m.cfg.PeerName + " is down; see `gemel status`"
	case m.peer.Standby:
		return fmt.Sprintf("%s is on standby; `gemel standby %s --undo` ends that", m.cfg.PeerName, m.cfg.PeerName)
	case !m.peer.Fit:
		return m.cfg.PeerName + " is not fit to take over; see `gemel status` there"
	default:
		return ""
	}
}
