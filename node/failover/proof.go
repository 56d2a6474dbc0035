package failover

import (
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover/reign"
)

// Without a third voter two nodes decide together, and when one of them is silent,
// a proof that its power is off stands for its vote (package reign says when that
// is safe). A shot is asked for only where its proof would decide: by a Primary
// that cannot take its peer out of the set otherwise, and by a node that could
// take over. The Primary shoots as soon as the peer is silent; the other one waits
// longer, so that two that do not hear each other do not kill each other: whoever
// reigns and can shoot stays.

const (
	// proofHolds is how long a proof is good for; shorter than any box needs to boot.
	proofHolds = 5 * time.Second
	// shootAgain is the time between shots that prove nothing.
	shootAgain = 10 * time.Second
	// silentAgent is how long after the end of the lease an agent may be silent whose
	// replicator still speaks: a restart, most likely, and no reason to cut its power.
	silentAgent = 5 * time.Second
)

func (m *Machine) newLease() {
	m.lease = reign.NewLease(m.cfg.Self, m.prop.CountsThird(), m.cfg.Lease)
}

// prove asks for a shot when its proof would decide something, and lets an old
// proof go.
func (m *Machine) prove() {
	if m.proofTill != 0 && m.now >= m.proofTill {
		m.voidProof()
	}
	if !m.cfg.Fences || m.det.alive || m.shooting || m.proofTill != 0 || m.stopped || m.mode.Maintenance || m.role == RoleLettingGo || !m.prop.Proves() {
		return
	}
	if m.now < max(m.shotAgain, m.silentSince()+m.shootAfter()) {
		return
	}
	m.shooting, m.shotVoid = true, false
	m.do(Fence{})
	m.note(Note{Kind: "fence.asked", Text: fmt.Sprintf("%s has the power of %s cut.", m.cfg.SelfName, m.cfg.PeerName),
		Reason: fmt.Sprintf("%s is silent for %v, and without a third voter only the proof that it is off can stand for its vote",
			m.cfg.PeerName, (m.now - m.silentSince()).Round(100*time.Millisecond))})
}

// silentSince is when the peer was last heard, or else when this agent started.
func (m *Machine) silentSince() time.Duration { return max(m.det.lastSeen, m.start) }

// shootAfter is how long the peer must have been silent.
func (m *Machine) shootAfter() time.Duration {
	if m.role == RoleSecondary || m.role == RoleCampaigning {
		return m.cfg.Major + m.cfg.FenceDelay
	}
	return m.cfg.Major
}

func (m *Machine) takeShot(e Shot) {
	m.shooting, m.shotAgain = false, m.now+shootAgain
	m.shotError = e.Err
	if e.Err != "" || m.shotVoid {
		return
	}
	m.proofTill = m.now + proofHolds
	m.send(m.prop.PeerOff(true))
}

func (m *Machine) voidProof() {
	m.proofTill = 0
	m.prop.PeerOff(false)
}

// peerSpeaks takes what a heartbeat means for proofs: the peer is on, and it may
// say that it reigns with a set that is chosen.
func (m *Machine) peerSpeaks() {
	m.voidProof()
	m.shotVoid, m.shotError = true, ""
	if m.peer.Primary && m.peer.Assures != "" && m.peer.Assures == m.cfg.Boot {
		m.prop.Assure(m.peer.Chosen)
	}
}

// assures names the start of the peer's agent to which this node's word may be
// given: the one it heard last, for then no proof of an earlier one is left.
func (m *Machine) assures() string {
	if m.prop.Chosen().Version == 0 && !m.again {
		return ""
	}
	return m.peer.Boot
}

// awaitsProof reports whether this Primary, whose lease ran out, goes on holding
// the volume until a shot proves that the peer is off. That takes nothing from the
// peer: it cannot be elected without this node's vote, or the proof that this node
// is off. I/O is held meanwhile.
func (m *Machine) awaitsProof() bool {
	return m.prop.Rule().Alone() && m.cfg.Fences && m.shotError == "" && m.now < m.lease.Until()+silentAgent+m.cfg.FenceTime
}

// leavesPeerOut reports whether the peer's agent has been silent for so long that
// it is taken out of the set although its replicator is connected.
func (m *Machine) leavesPeerOut() bool {
	return m.prop.Rule().Alone() && m.cfg.Fences && !m.det.alive && m.needsLease() && m.now >= m.lease.Until()+silentAgent
}

// peerGoes reports whether the peer's agent stops in good order. Without a third voter the
// peer is taken out of the set while it can still vote for that; later it would have to be shot.
func (m *Machine) peerGoes() bool {
	return m.prop.Rule().Alone() && m.det.alive && m.peer.Going && !m.peer.Primary
}

func (m *Machine) leaseLost() string {
	why := "the lease ran out: " + m.othersNamed()
	if m.prop.Rule().Alone() && m.shotError != "" {
		why += fmt.Sprintf(", and fencing could not prove that %s is off: %s", m.cfg.PeerName, m.shotError)
	}
	return why
}

// minority says why a campaign waits, without a third voter in other words.
func (m *Machine) minority(r reign.Refusal) string {
	if !m.prop.Rule().Alone() {
		return r.Words(m.cfg.Volume, m.names())
	}
	silent := fmt.Sprintf("%s does not answer, and there is no third voter", m.cfg.PeerName)
	grab := fmt.Sprintf("`gemel grab %s` on this node", m.cfg.Volume)
	switch {
	case r.Fresh[m.peerID()]:
		return fmt.Sprintf("%s has no memory of this volume, and there is no third voter; take over with %s", m.cfg.PeerName, grab)
	case !m.cfg.Fences:
		return fmt.Sprintf("%s and no fencing device: only a person can know that it is off; bring it back, or make certain that it is off, "+
			"and then %s", silent, grab)
	case !m.prop.Proves():
		return fmt.Sprintf("%s; %s was not Primary since this agent started, so it may hold newer data, and proof that it is off is not "+
			"enough; bring it back, or take over with %s", silent, m.cfg.PeerName, grab)
	case m.mode.Maintenance:
		return silent + "; maintenance is on, so its power is not cut"
	case m.shooting:
		return silent + "; its power is being cut, and this node takes over when that is proved"
	case m.shotError != "":
		return fmt.Sprintf("%s; fencing could not prove that it is off, and tries again: %s; check its power by hand, and if it is off, %s",
			silent, m.shotError, grab)
	}
	return fmt.Sprintf("%s; its power is cut when it is silent for %v", silent, m.shootAfter())
}

// adjustRule makes the third voter on record the one that both configurations name.
func (m *Machine) adjustRule() {
	wanted := m.wanted()
	if m.role != RoleServing || m.forced || m.again || m.ruleDiffers() != "" || m.prop.Rule().Third == wanted {
		return
	}
	if before := m.prop.Rule(); m.prop.Chosen().Set == arbiter.Both && m.replica.Connected {
		if asked := m.prop.Change(wanted); asked != nil {
			m.send(asked)
			m.note(m.changeNote(before.Change + 1))
		}
	}
}

func (m *Machine) changeNote(change uint32) Note {
	if m.stands {
		return Note{Kind: "arbiter.change", Text: fmt.Sprintf("Fencing stands in for the third voter, %s.", m.cfg.WitnessName),
			Reason: fmt.Sprintf("neither node has an answer from it for %v, and each can cut the other's power; this is change %d",
				m.cfg.StandIn, change)}
	}
	return Note{Kind: "arbiter.change", Text: fmt.Sprintf("The volume gets another third voter: %s.", m.thirdName()),
		Reason: fmt.Sprintf("the configuration of both nodes names it; this is change %d", change)}
}

func (m *Machine) thirdName() string {
	if m.cfg.WitnessName == "" {
		return "none"
	}
	return m.cfg.WitnessName
}

// ruleDiffers says what keeps the wanted third voter from becoming the one on record;
// empty: nothing, or it is.
func (m *Machine) ruleDiffers() string {
	wanted := m.wanted()
	switch {
	case m.recorded().Third == wanted:
		return ""
	case !m.det.alive:
		return m.cfg.PeerName + " is silent; both nodes must agree"
	case !m.peer.Speaks:
		return m.cfg.PeerName + " has not told what its configuration says"
	case m.stands && m.peer.Third == m.cfg.Third:
		return fmt.Sprintf("%s still has answers from %s, or could not cut the power here", m.cfg.PeerName, m.cfg.WitnessName)
	case !m.stands && wanted != m.peer.Third && m.recorded().Alone() && m.peer.Third == arbiter.NoThird:
		return fmt.Sprintf("%s has no answer from %s, or its configuration names none; make both the same and restart both agents",
			m.cfg.PeerName, m.cfg.WitnessName)
	case m.peer.Third != wanted:
		return "the configuration of " + m.cfg.PeerName + " says otherwise; make both the same and restart both agents"
	case wanted != arbiter.NoThird && !m.thirdUp:
		return m.cfg.WitnessName + " does not answer"
	}
	return ""
}

// recorded is the rule as this node knows it: the reign's, or the own register's.
func (m *Machine) recorded() arbiter.Rule {
	if m.prop.State() == reign.Reigning && !m.again {
		return m.prop.Rule()
	}
	if own := m.replica.Record.Accepted; own.Version != 0 {
		return own.Rule
	}
	return arbiter.Rule{Third: m.cfg.Third}
}

func (m *Machine) arbiterView() ArbiterView {
	v := ArbiterView{Rule: m.recorded(), Wanted: m.cfg.Third, Word: m.wanted(), Shooting: m.shooting, Failed: m.shotError}
	own, told := m.replica.Record.Accepted, m.prop.Assured()
	v.Assured = own.Version != 0 && own == told && own.Rule.Alone() && own.Set.Has(m.cfg.Self)
	if v.Rule.Third == v.Wanted {
		return v
	}
	if v.Differs = m.ruleDiffers(); m.stands && v.Rule.Alone() {
		v.Differs = fmt.Sprintf("fencing stands in for %s until that answers again", m.cfg.WitnessName)
	} else if v.Differs == "" {
		v.Differs = "it is changed as soon as both nodes are in sync"
	}
	return v
}
