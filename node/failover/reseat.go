package failover

import (
	"fmt"
	"time"

	"gemel/node/arbiter"
)

// A device may outlive its replicator: its users wait, and a replicator that
// comes back goes on where the last one stopped. So a node that serves does not
// let go at once when such a replicator is gone: the reign goes on, under the
// same lease, and addresses, services and mounts stay. The replicator that comes
// back is a Secondary that does not know what was under way; the node takes the
// peer out of the set, as after any break, and makes it Primary of the same
// reign again. Then the peer is synced and taken back in.

const (
	// replicatorWait is how long a replicator may be gone before the node lets
	// go: enough for a restart, little beside a fail-over.
	replicatorWait = 5 * time.Second
	// seatAgain is how long a replicator must have been well since it came back,
	// to be waited for once more.
	seatAgain = 30 * time.Second
)

const phaseAwaiting = "serving; waits for the replicator to come back"

// missReplica begins the wait.
func (m *Machine) missReplica() {
	if m.role != RoleServing || !m.survives || m.remote || m.away != 0 || m.seated != 0 && m.now-m.seated < seatAgain {
		return
	}
	m.away = m.now
	m.note(Note{Kind: "replicator.awaited", Text: fmt.Sprintf("%s waits up to %v for the replicator.", m.cfg.SelfName, replicatorWait),
		Reason: "its device is still there, and what uses it waits"})
}

// awaits reports whether the node goes on without a Primary replica.
func (m *Machine) awaits() bool {
	return m.role == RoleServing && m.away != 0 && m.now < m.away+replicatorWait
}

// reseat makes the replicator that came back Primary of the reign again.
func (m *Machine) reseat() {
	if !m.awaits() || !m.replicaSeen {
		return
	}
	if m.replica.Primary && m.replica.Epoch == m.prop.Epoch() {
		m.note(Note{Kind: "replicator.back", Text: "The replicator serves the volume again; nothing was unmounted.",
			Reason: fmt.Sprintf("it came back within %v", m.now-m.away)})
		m.away, m.seated = 0, m.now
		return
	}
	_, pending := m.prop.Pending()
	switch {
	case !m.replica.Usable || m.again:
	case pending || m.prop.Chosen().Set != arbiter.Only(m.cfg.Self):
		m.send(m.prop.Shrink())
	case m.course.done():
		m.startCourse([]Step{StepPromote})
	}
}
