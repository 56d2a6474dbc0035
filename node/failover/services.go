package failover

import (
	"fmt"
	"time"
)

// A service that fails here for good may run on the peer, so the volume moves
// there. When it fails there as well, moving on would toss the volume to and fro
// and help nobody. So a node remembers that services failed on it and says so in
// its heartbeats, and a node on which services fail gives the volume only to a
// peer that does not say that. Otherwise it stays: the volume is Primary here and
// mounted, what could be started runs, and the rest is tried again now and then,
// ever more seldom. It moves as soon as a peer is there that has not failed yet.
//
// None of this is asked when a node dies: a box whose services failed once still
// takes over from a dead one.

const (
	// failedFor is how long a node counts as one on which services failed. A volume
	// that stays because of that stays until the peer's agent is restarted.
	failedFor = time.Hour
	// servicesSoon is the time to the first new try to start what failed here;
	// servicesAgain the time to the next, which doubles with each of four more.
	servicesSoon  = 3 * time.Second
	servicesAgain = 15 * time.Second
)

const phaseWithout = "serving, but not all of its services run"

// impaired is what a machine knows of services that failed.
type impaired struct {
	at time.Duration // when a service failed on this node last; zero: never
	// The rest is for a node that serves without them.
	why   string        // what fails; empty: nothing
	stays string        // why it does not go to the peer, as history knows
	tries int           // to start them here
	again time.Duration // when they are tried again
	tried string        // the start of the peer's agent that said it cannot run them either
}

func (m *Machine) takeServiceFailed(e ServiceFailed) {
	starts := m.role == RoleTakingOver && m.course.current() == StepServices
	if m.role != RoleServing && !starts {
		return // a course that comes to the services later starts this one again
	}
	if m.mode.Maintenance {
		m.holdFailure(e)
		return
	}
	m.servicesFailed(fmt.Sprintf("service %s failed: %s", e.Name, e.Reason))
}

// servicesFailed gives the volume to the peer, or keeps it here without them. A
// course that runs is given up; what it had started runs on.
func (m *Machine) servicesFailed(why string) {
	if m.impaired.why == "" {
		m.failures++
	}
	m.impaired.why, m.impaired.at = why, m.now
	m.impaired.again = m.now + servicesSoon
	if m.impaired.tries > 0 {
		m.impaired.again = m.now + servicesAgain<<min(m.impaired.tries-1, 4)
	}
	m.impaired.tries++
	if m.course.current() == StepServices {
		m.course = course{}
	}
	if m.role == RoleTakingOver {
		m.role, m.away = RoleServing, 0
	}
	m.answerIfErr(fmt.Sprintf("%s is Primary and has %s mounted, but %s", m.cfg.SelfName, m.cfg.Volume, why), OrderGrab, OrderGrabStale)
	m.answerIfErr(fmt.Sprintf("%s has %s back, and %s", m.cfg.SelfName, m.cfg.Volume, why), OrderSwitchover)
}

// withoutServices moves the volume to a peer that may do better, or tries again.
func (m *Machine) withoutServices() {
	if m.impaired.why == "" {
		return
	}
	if m.det.alive && m.peer.ServicesFailed {
		m.impaired.tried = m.peer.Boot
	}
	stays := m.cannotMove()
	if stays == "" {
		m.afterStep, m.refusal = m.impaired.why, m.impaired.why
		m.leave(m.impaired.why, true)
		return
	}
	if stays != m.impaired.stays {
		m.impaired.stays = stays
		m.note(Note{Kind: "services.stay", Text: fmt.Sprintf("%s keeps %s mounted, without all of its services.", m.cfg.SelfName, m.cfg.Volume),
			Reason: m.impaired.why + "; " + stays})
	}
	if m.mode.Maintenance {
		return
	}
	if m.now >= m.impaired.again && m.course.done() && !m.again {
		m.startCourse([]Step{StepServices})
	}
}

// servicesBack ends the state of a node that serves without them.
func (m *Machine) servicesBack() {
	if m.impaired.why == "" {
		return
	}
	m.note(Note{Kind: "services.back", Text: fmt.Sprintf("All services of %s run on %s again.", m.cfg.Volume, m.cfg.SelfName),
		Reason: "before: " + m.impaired.why})
	m.impaired, m.failures, m.refusal = impaired{}, 0, ""
}

// cannotMove says why the volume does not go to the peer because of a service;
// empty when it may.
func (m *Machine) cannotMove() string {
	if m.mode.Maintenance {
		return "maintenance is on; `gemel maintenance off` lets it move or start again"
	}
	if why := m.cannotGive(); why != "" {
		return why
	}
	if m.peer.ServicesFailed || m.impaired.tried != "" && m.impaired.tried == m.peer.Boot {
		return fmt.Sprintf("services failed on %s too; mend what stops them, and it goes on by itself here, or there after `gemel switchover %s`",
			m.cfg.PeerName, m.cfg.Volume)
	}
	return ""
}

// haveFailed reports whether services failed on this node, for the peer to know.
func (m *Machine) haveFailed() bool {
	return m.impaired.at != 0 && m.now-m.impaired.at < failedFor
}
