package failover

import (
	"time"

	"gemel/node/arbiter"
)

// Standing is what a machine remembers beside what it can be told anew: enough to
// set up another machine that decides the same from here on.
type Standing struct {
	Role     Role          `json:"role"`
	Mode     Mode          `json:"mode"`
	Heard    bool          `json:"heard"`             // the peer, since the start
	Uptime   time.Duration `json:"uptime_ns"`         // of the machine
	Wait     time.Duration `json:"wait_ns,omitempty"` // no campaign before that
	Failures int           `json:"failures,omitempty"`
	Stopped  bool          `json:"stopped,omitempty"`
	Refusal  string        `json:"refusal,omitempty"`
	Ended    arbiter.Epoch `json:"ended,omitempty"` // epoch of the newest reign it ended
	Phase    string        `json:"phase"`
	// ServicesFailed is how long ago services failed on this node, zero: never; Impaired
	// what does not run of a volume that is served, and GivenUp that the peer said it
	// cannot run it either.
	ServicesFailed time.Duration `json:"services_failed_ns,omitempty"`
	Impaired       string        `json:"impaired,omitempty"`
	GivenUp        bool          `json:"given_up,omitempty"`
	// Assured is the newest set that the machine knows to be chosen without a third voter.
	Assured arbiter.Accepted `json:"assured,omitzero"`
}

// Standing returns what the machine remembers.
func (m *Machine) Standing() Standing {
	s := Standing{Role: m.role, Mode: m.mode, Heard: m.det.heard, Uptime: m.now - m.start, Wait: max(0, m.notBefore-m.now),
		Failures: m.failures, Stopped: m.stopped, Refusal: m.refusal, Ended: m.ended, Phase: m.phase(), Assured: m.prop.Assured()}
	if m.impaired.at != 0 {
		s.ServicesFailed = max(1, m.now-m.impaired.at)
	}
	s.Impaired, s.GivenUp = m.impaired.why, m.impaired.tried != "" && m.impaired.tried == m.peer.Boot
	return s
}

// Restore makes a new machine remember s, as of boot time now. It must not have taken
// an event yet. The peer's beats will name peerBoot as their start.
func (m *Machine) Restore(now time.Duration, s Standing, peerBoot string) {
	m.now, m.started, m.start, m.thirdSince = now, true, now-s.Uptime, now
	m.mode, m.failures, m.stopped = s.Mode, s.Failures, s.Stopped
	m.det.heard, m.notBefore = s.Heard, now+s.Wait
	m.ended = s.Ended
	m.prop.Assure(s.Assured)
	if s.ServicesFailed != 0 {
		m.impaired.at = now - s.ServicesFailed
	}
	if s.GivenUp {
		m.impaired.tried = peerBoot
	}
	if s.Role == RoleSecondary {
		m.refusal = s.Refusal
	}
}
