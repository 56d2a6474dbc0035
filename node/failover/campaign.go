package failover

import (
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover/reign"
)

// campaign starts one when this node may and nobody else reigns. What stands in
// the way is kept in words for status.
func (m *Machine) campaign() {
	why, ready := m.mayCampaign()
	if !ready {
		m.refusal = why
		return
	}
	epoch := m.nextEpoch(0)
	m.role, m.nextAsk, m.forced = RoleCampaigning, m.now+askAgain, false
	m.ballots = [3]string{}
	if m.refusal == "" {
		m.note(Note{Kind: "campaign", Text: fmt.Sprintf("%s asks the voters for epoch %d.", m.cfg.SelfName, epoch), Reason: why,
			Inputs: m.inputs()})
	}
	m.newLease()
	m.before = m.replica.Record.Accepted.Epoch
	m.send(m.prop.Campaign(epoch, m.replica.Record.Accepted))
}

// mayCampaign returns true with the reason for the campaign, or false with what
// stands in the way (empty when all is as it should be).
func (m *Machine) mayCampaign() (string, bool) {
	if m.stopped {
		return "the agent is stopping", false
	}
	if m.det.alive && m.peer.Primary && !m.handedOver() {
		return "", false
	}
	if why := m.unfit(); why != "" {
		return why, false
	}
	if m.replica.Outdated {
		why := m.outdated()
		m.noteLacking(why)
		return why, false
	}
	if why := m.onStandby(); why != "" {
		return why, false
	}
	if m.handedOver() && m.now >= m.notBefore {
		return m.cfg.PeerName + " handed the volume over", true
	}
	if why := m.lacking(); why != "" {
		m.noteLacking(why)
		return why, false
	}
	if why := m.inMaintenance(); why != "" {
		m.noteLacking(why)
		return why, false
	}
	if m.now < m.notBefore {
		if m.refusal != "" {
			return m.refusal, false
		}
		return fmt.Sprintf("lets %s go first", m.cfg.PeerName), false
	}
	if m.det.alive {
		return m.besideIdlePeer()
	}
	return m.withoutPeer()
}

// unfit says why this node's replica could not be Primary.
func (m *Machine) unfit() string {
	switch {
	case m.replicaDown != "":
		return "the replicator does not answer: " + m.replicaDown
	case !m.replicaSeen:
		return "the replicator has not reported yet"
	case !m.replica.Usable:
		return m.replica.Problem
	case !m.replica.DiskWhole && !m.replica.Created:
		return fmt.Sprintf("the data here is incomplete (a resync from %s did not finish); bring %s back",
			m.cfg.PeerName, m.cfg.PeerName)
	default:
		return ""
	}
}

func (m *Machine) handedOver() bool {
	return m.handOver != 0 && m.now < m.handOverTill && (!m.peer.Primary || m.peer.Epoch <= m.handOver)
}

// besideIdlePeer decides who goes first when both live and neither is Primary.
func (m *Machine) besideIdlePeer() (string, bool) {
	if m.peerIdle == 0 || m.now-m.peerIdle < settle {
		return "", false
	}
	first := m.goesFirst() || !m.peer.Fit || m.peer.Standby
	if failed := m.haveFailed(); failed != m.peer.ServicesFailed && m.peer.Fit {
		first = !failed
	}
	if !m.addressNIC && m.peer.Fit && m.peer.AddressNIC {
		first = false
	}
	if first || m.now-m.peerIdle >= settle+secondChance {
		return "neither node is Primary", true
	}
	return "lets " + m.cfg.PeerName + " go first", false
}

func (m *Machine) withoutPeer() (string, bool) {
	if m.replica.Created {
		return fmt.Sprintf("a new volume starts when both nodes are there; start %s and create its replica with "+
			"`gemel volume create %s`", m.cfg.PeerName, m.cfg.Volume), false
	}
	if m.det.heard {
		return m.cfg.PeerName + " is silent on every link", true
	}
	if m.now-m.start < m.cfg.BootWait {
		return fmt.Sprintf("just started; waits for %s, at most %v", m.cfg.PeerName,
			(m.cfg.BootWait - (m.now - m.start)).Round(100*time.Millisecond)), false
	}
	return fmt.Sprintf("%s was not heard for %v since the start", m.cfg.PeerName, m.cfg.BootWait), true
}

// nextEpoch returns an own epoch above everything seen, at least leap above.
func (m *Machine) nextEpoch(leap arbiter.Epoch) arbiter.Epoch {
	high := max(m.prop.Highest(), m.replica.Record.Promised, m.replica.Record.Accepted.Epoch, m.replica.NewerPromise, m.peer.Epoch)
	return (high + leap).NextFor(m.cfg.Self)
}

// campaigning asks again, or gives way.
func (m *Machine) campaigning() {
	if m.prop.State() == reign.Reigning {
		m.elected()
		return
	}
	if why := m.unfit(); why != "" {
		m.giveUp(why, askAgain)
		return
	}
	if m.det.alive && m.peer.Primary && !m.handedOver() && m.peer.Epoch >= m.prop.Epoch() {
		m.giveUp("", 0)
		return
	}
	if m.prop.Superseded() {
		m.giveUp("another campaign came first", m.politeDelay())
		return
	}
	if m.forced && !m.decideByHand() {
		return
	}
	switch r := m.prop.Refusal(); r.Kind {
	case reign.None:
		m.askAgain(askAgain)
	case reign.Outdated, reign.Amnesia:
		m.giveUp(r.Words(m.cfg.Volume, m.names()), outdatedAgain)
	case reign.HigherPromise:
		m.giveUp(r.Words(m.cfg.Volume, m.names()), m.politeDelay())
	default:
		if m.prop.Answered() {
			m.refuse(m.minority(r))
		}
		m.askAgain(askAgain)
	}
}

// decideByHand lets the operator's word count once the voters had their chance;
// false: it gave up. No word makes data of a replica that never had any.
func (m *Machine) decideByHand() bool {
	if m.prop.State() != reign.Preparing || !m.prop.Answered() && m.now < m.decideAt {
		return true
	}
	if m.replica.Created && !m.prop.Bears() {
		m.giveUp(fmt.Sprintf("the replica here is new and holds nothing; let %s become Primary and fill this one. "+
			"The first reign of a new volume needs every voter, and begins by itself once all are there", m.cfg.PeerName), outdatedAgain)
		return false
	}
	m.send(m.prop.Decide())
	return true
}

// refuse keeps the reason for status, and notes it once.
func (m *Machine) refuse(why string) {
	if m.refusal == "" && why != "" {
		m.note(Note{Kind: "campaign.waiting", Text: m.cfg.SelfName + " cannot become Primary yet.", Reason: why, Inputs: m.voteInputs()})
	}
	m.refusal = why
}

// politeDelay keeps two candidates from outbidding each other for ever.
func (m *Machine) politeDelay() time.Duration {
	return time.Duration(1+2*int(m.cfg.Self)) * askAgain * 2
}

// askAgain repeats the proposer's open questions, at most once per interval.
func (m *Machine) askAgain(interval time.Duration) {
	if m.now >= m.nextAsk {
		m.nextAsk = m.now + interval
		m.send(m.prop.Retry())
	}
}

func (m *Machine) giveUp(why string, wait time.Duration) {
	m.prop.Abandon()
	m.role = RoleSecondary
	if why != m.refusal && why != "" {
		m.note(Note{Kind: "campaign.refused", Text: m.cfg.SelfName + " does not become Primary.", Reason: why, Inputs: m.voteInputs()})
	}
	m.refusal = why
	m.notBefore = m.now + wait
	if m.order.ID != 0 && (m.order.Kind == OrderGrab || m.order.Kind == OrderGrabStale) {
		m.answer(why)
	}
}

func (m *Machine) names() (names [3]string) {
	for _, v := range m.voters() {
		names[v] = m.voterName(v)
	}
	return names
}

// elected begins the course of taking over.
func (m *Machine) elected() {
	m.role, m.refusal, m.handOver = RoleTakingOver, "", 0
	m.noteLoss()
	m.told = m.prop.Chosen()
	m.outOfWay = false
	m.startCourse(m.takeSteps())
	m.nextRenew = m.now
	m.note(Note{Kind: "elected",
		Text:   fmt.Sprintf("%s reigns in epoch %d.", m.cfg.SelfName, m.prop.Epoch()),
		Reason: m.electedBecause(), Inputs: m.voteInputs()})
}

func (m *Machine) electedBecause() string {
	switch {
	case m.forced:
		return "an operator's word replaced the missing votes"
	case m.prop.Birth():
		return "first reign of a new volume: all voters are new"
	case m.proofTill != 0:
		return m.cfg.PeerName + " is proved to be off, and this node was assured before that it holds every write"
	case m.prop.Rule().Alone():
		return "both nodes agree, and the data here is in the newest in-sync set"
	default:
		return "2 of 3 voters promised, and the data here is in the newest in-sync set"
	}
}

func (m *Machine) takePrepared(e Prepared) {
	if m.role == RoleCampaigning && e.Epoch == m.prop.Epoch() {
		m.keepBallot(e)
	}
	if e.Unreachable {
		m.prop.Unreachable(e.Voter, e.Epoch)
		return
	}
	if m.prop.State() == reign.Preparing && e.Epoch == m.prop.Epoch() {
		m.before = max(m.before, e.Reply.Record.Accepted.Epoch)
	}
	m.send(m.prop.Promise(e.Voter, e.Epoch, e.Reply))
}

func (m *Machine) takeAccepted(e AcceptedBy) {
	if e.Unreachable {
		m.prop.Unreachable(e.Voter, e.Proposal.Epoch)
		return
	}
	m.send(m.prop.Accepted(e.Voter, e.Proposal, e.Reply))
}
