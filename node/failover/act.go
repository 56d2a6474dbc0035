package failover

import (
	"fmt"
	"time"
)

// startCourse begins a list of steps; an unfinished course is given up, its
// running step's answer will be ignored.
func (m *Machine) startCourse(steps []Step) { m.course = course{steps: steps} }

// runCourse starts the next step when none runs.
func (m *Machine) runCourse() {
	if m.course.done() || m.course.running || m.now < m.course.retryAt {
		return
	}
	if m.role == RoleTakingOver && !m.readyToPromote() {
		return
	}
	m.course.running = true
	run := Run{Step: m.course.current(), Timeout: m.cfg.StepTimeout, PeerAlive: m.det.alive, Epoch: m.prop.Epoch(), Stay: m.impaired.why != ""}
	if run.Step == StepPromote {
		m.birth = m.bears()
		run.Chosen, run.Birth, run.Forced = m.prop.Chosen(), m.birth, m.forced
		run.Before = m.before
	}
	m.do(run)
}

// bears reports whether this reign is the volume's first. It may be although
// the voters are not new any more: a first election that came to nothing, since
// its winner died or was overtaken before it had promoted its replica, would
// otherwise leave a volume that nobody may ever begin.
func (m *Machine) bears() bool { return m.prop.Birth() || m.replica.Blank && !m.forced }

// readyToPromote holds the course of a resumed reign until its newest set is
// known to be chosen.
func (m *Machine) readyToPromote() bool { return m.prop.Chosen().Epoch == m.prop.Epoch() }

func (m *Machine) takeStepDone(e StepDone) {
	if !m.course.finish(e.Step) {
		return
	}
	if e.Err != "" {
		m.stepFailed(e)
		return
	}
	m.outOfWay = m.outOfWay || e.Step == StepFence
	m.course.at++
	if m.course.done() {
		m.courseDone()
	}
}

func (m *Machine) courseDone() {
	switch m.role {
	case RoleServing:
		if m.course.last() == StepServices {
			m.servicesBack()
		}
	case RoleTakingOver:
		if m.afterStep != "" {
			return // only the replica moved on, to a newer reign
		}
		m.impaired, m.heldFailure = impaired{}, nil
		m.role, m.failures, m.away = RoleServing, 0, 0
		m.note(Note{Kind: "serving", Text: fmt.Sprintf("%s serves %s.", m.cfg.SelfName, m.cfg.Volume)})
		m.answerIf(OrderGrab, OrderGrabStale)
		m.answerIfErr(m.gaveBack(), OrderSwitchover)
	case RoleLeaving:
		m.left()
	case RoleLettingGo:
		m.hasLetGo()
	}
}

// stepFailed leads every failure to a stated end.
func (m *Machine) stepFailed(e StepDone) {
	what := fmt.Sprintf("could not %s: %s", e.Step, e.Err)
	m.note(Note{Kind: "step.failed", Text: fmt.Sprintf("%s %s.", m.cfg.SelfName, what)})
	if e.Step == StepServices {
		m.servicesFailed(what)
		return
	}
	switch m.role {
	case RoleTakingOver:
		m.failures++
		m.refusal, m.afterStep, m.giveUpAt = what, what, m.now+failedPatience
		m.course = course{}
		if e.Step == StepFence || e.Step == StepPromote {
			m.letGo(what)
		}
	case RoleLeaving:
		m.leaveFailed(e, what)
	case RoleServing, RoleLettingGo: // serving: only the replica's step to a newer reign
		m.course.retryAt = m.now + time.Second
	}
}

// leaveFailed: a planned leave that cannot finish is taken back; one that must
// happen goes on the hard way.
func (m *Machine) leaveFailed(e StepDone, what string) {
	planned := m.afterStep == "" && !m.stopped
	if planned && e.Step != StepDemote {
		m.role = RoleTakingOver
		m.startCourse(m.takeSteps())
		m.answerIfErr("switchover given up, "+m.cfg.SelfName+" serves on: "+what, OrderSwitchover)
		return
	}
	m.letGo(what)
}

// leave starts the clean way out; give hands the volume to the peer at its end.
func (m *Machine) leave(why string, give bool) {
	m.role, m.leaveFor, m.giveToUs = RoleLeaving, why, give
	m.impaired = impaired{at: m.impaired.at}
	m.startCourse(leaveCourse)
	m.note(Note{Kind: "leaving", Text: m.cfg.SelfName + " lets the volume go cleanly.", Reason: why, Inputs: m.inputs()})
}

// left ends the clean way out.
func (m *Machine) left() {
	epoch := m.prop.Epoch()
	m.release()
	m.role = RoleSecondary
	m.notBefore = m.now + m.backOff(holdOffAfterLeave)
	if m.giveToUs {
		m.do(TellHandOver{Epoch: epoch})
		m.note(Note{Kind: "handover", Text: fmt.Sprintf("%s handed %s to %s.", m.cfg.SelfName, m.cfg.Volume, m.cfg.PeerName),
			Reason: m.leaveFor})
	} else {
		m.note(Note{Kind: "left", Text: m.cfg.SelfName + " is Secondary.", Reason: m.leaveFor})
	}
	m.afterStep = ""
	m.answerIf(OrderLeave)
}

// letGo starts the way out of a reign that is lost: addresses first.
func (m *Machine) letGo(why string) {
	m.note(Note{Kind: "letting-go", Text: m.cfg.SelfName + " lets the volume go.", Reason: why, Inputs: m.inputs()})
	m.role, m.leaveFor = RoleLettingGo, why
	m.impaired = impaired{at: m.impaired.at}
	m.startCourse(letGoCourse)
	m.answerIfErr("the reign was lost: "+why, OrderSwitchover, OrderGrab, OrderGrabStale)
}

func (m *Machine) hasLetGo() {
	epoch := m.prop.Epoch()
	m.release()
	m.role = RoleSecondary
	m.afterStep = ""
	m.notBefore = m.now + m.backOff(holdOffAfterLetGo)
	if m.replicaSeen && !m.replica.Usable && !m.mode.Maintenance {
		m.do(TellHandOver{Epoch: epoch}) // nobody needs to wait for this node
	}
	m.note(Note{Kind: "let-go", Text: m.cfg.SelfName + " is out of the way and Secondary.", Reason: m.leaveFor})
	m.answerIf(OrderLeave)
}

// release gives the lease back, so that the next reign need not wait for it.
func (m *Machine) release() {
	if epoch := m.prop.Epoch(); epoch.Owner() == m.cfg.Self && epoch != 0 {
		for _, v := range m.voters() {
			m.do(SendRelease{Voter: v, Epoch: epoch})
		}
	}
	m.ended = max(m.ended, m.prop.Epoch())
	m.prop.Abandon()
	m.forced, m.again, m.peerIdle = false, false, 0
	if m.det.alive && !m.peer.Primary {
		m.peerIdle = m.now
	}
}

// backOff doubles the wait with every take-over that failed in a row.
func (m *Machine) backOff(base time.Duration) time.Duration {
	return base << min(m.failures, 4)
}
