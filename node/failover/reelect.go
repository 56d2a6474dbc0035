package failover

import (
	"fmt"

	"gemel/node/arbiter"
	"gemel/node/failover/reign"
)

const phaseReelecting = "serving; asks the voters for a newer reign"

// A voter may promise an epoch above the reign although nobody was elected with
// it: a campaign that came to nothing, or one by an operator's word. It then
// refuses this Primary, as voter and as replica, and the pair would never be
// one again. While the recorded set is this node alone, nobody else can be
// elected. So the node stays Primary, serves on, and campaigns in its place for
// an epoch above that promise; only when it is elected its replica moves to it.

// alone reports whether 2 of 3 recorded this node alone and nothing else was
// proposed since: without it nobody can be elected. A reign that an operator's
// word began may lack the second vote.
func (m *Machine) alone() bool {
	_, pending := m.prop.Pending()
	return !m.forced && m.prop.State() == reign.Reigning && !pending && m.prop.Chosen().Set == arbiter.Only(m.cfg.Self)
}

// outbid reports whether the campaign in place was overtaken, or a reign that
// only a campaign in place can mend.
func (m *Machine) outbid() bool {
	return m.prop.Superseded() || m.replica.NewerPromise > m.prop.Epoch()
}

// reelect campaigns in place when that is needed.
func (m *Machine) reelect() {
	switch {
	case !m.again:
		quiet := m.course.done() && (m.role == RoleServing || m.role == RoleTakingOver)
		if quiet && m.alone() && m.outbid() && m.replicaSeen && m.replica.Primary && m.replica.Epoch == m.prop.Epoch() {
			m.reelectFrom(m.prop.Chosen())
		}
	case m.prop.State() == reign.Reigning:
		m.reelected()
	case m.prop.Refusal().Kind == reign.Outdated:
		m.letGo("an operator made " + m.cfg.PeerName + " Primary by hand; " + m.prop.Refusal().Words(m.cfg.Volume, m.names()))
	case m.now >= m.nextAsk && m.overtaken():
		m.nextAsk = m.now + m.politeDelay()
		m.send(m.prop.Campaign(m.nextEpoch(0), m.replica.Record.Accepted))
	}
}

// overtaken reports whether a campaign in place can only be won with a higher epoch.
func (m *Machine) overtaken() bool {
	return m.prop.Superseded() || m.prop.Refusal().Kind == reign.HigherPromise
}

// reelectFrom begins a campaign in the place of the reign in which kept is chosen.
func (m *Machine) reelectFrom(kept arbiter.Accepted) {
	m.again, m.kept, m.nextAsk, m.before = true, kept, m.now+askAgain, kept.Epoch
	epoch := m.nextEpoch(0)
	m.note(Note{Kind: "reign.again", Text: fmt.Sprintf("%s serves on and asks the voters for epoch %d.", m.cfg.SelfName, epoch),
		Reason: fmt.Sprintf("a voter promised epoch %d and refuses epoch %d", max(m.prop.Highest(), m.replica.NewerPromise), kept.Epoch)})
	m.send(m.prop.Campaign(epoch, m.replica.Record.Accepted))
}

// reelected moves the replica to the new reign. A machine that had only resumed
// the old one goes through the whole course, each step of which is repeatable.
func (m *Machine) reelected() {
	m.again, m.forced = false, false
	m.told, m.nextRenew = m.prop.Chosen(), m.now // by the promotion
	m.newLease()
	steps := []Step{StepPromote}
	if m.role == RoleTakingOver && m.afterStep == "" {
		steps = m.takeSteps()
	}
	if m.role != RoleLeaving {
		m.startCourse(steps)
	}
	m.note(Note{Kind: "reelected", Text: fmt.Sprintf("%s reigns in epoch %d now; nothing was interrupted.",
		m.cfg.SelfName, m.prop.Epoch()), Reason: "2 of 3 voters promised"})
}

// resumeReelection goes on with a campaign in place of an agent that was
// restarted; it reports whether that is the case.
func (m *Machine) resumeReelection() bool {
	r := &m.replica
	if r.Record.Promised.Owner() != m.cfg.Self || r.Chosen.Epoch != r.Epoch || r.Record.Accepted != r.Chosen ||
		r.Chosen.Set != arbiter.Only(m.cfg.Self) {
		return false
	}
	m.role, m.told, m.outOfWay = RoleTakingOver, r.Chosen, true
	m.reelectFrom(r.Chosen)
	return true
}
