package failover

import (
	"fmt"
	"time"
)

// A Primary whose disk failed while the peer holds every write goes on through
// the peer's disk: nothing ends with an error, and nobody notices but by the
// latency. For that the set becomes the peer alone. Then the volume is handed
// over like in a switchover, with services stopped and the file system
// unmounted, unless the configuration says that it stays. When the peer cannot
// take it, because a service of it failed, say, it stays as well, and the
// hand-over is tried again later. If the peer is lost meanwhile, nothing is
// left here to serve, and the node lets go.

const (
	// yieldPatience is how long a failed disk may hold I/O until the peer serves
	// it; then the node lets go, and the peer takes over.
	yieldPatience = 3 * time.Second
	// giveAgain is the time between tries to hand a volume over that is served
	// through the peer.
	giveAgain = time.Minute
)

const phaseRemote = "serving through the disk of "

// watchDisk notes since when the disk of a Primary has failed.
func (m *Machine) watchDisk() {
	switch {
	case !m.replica.Primary || m.replica.Usable:
		m.diskFailed, m.remote = 0, false
	case m.diskFailed == 0:
		m.diskFailed = m.now
	}
}

// diskLost reports whether the disk failed here and this node cannot go on,
// while the peer could. With a set of this node alone nobody could, and what can
// still be read is served.
func (m *Machine) diskLost() bool {
	if !m.replicaSeen || !m.replica.Primary || m.replica.Usable || !m.prop.Chosen().Set.Has(m.peerID()) {
		return false
	}
	return !m.replica.Remote && (!m.replica.MayYield || m.now >= m.diskFailed+yieldPatience)
}

// throughPeer hands the volume over that is served through the peer's disk.
func (m *Machine) throughPeer() {
	if !m.replicaSeen || !m.replica.Remote {
		return
	}
	if !m.remote {
		m.remote, m.giveAt = true, m.now
		m.note(Note{Kind: "disk.remote", Text: fmt.Sprintf("%s goes on through the disk of %s.", m.cfg.SelfName, m.cfg.PeerName),
			Reason: m.replica.Problem})
	}
	if m.role != RoleServing || m.cfg.StayDiskless || m.mode.Maintenance || m.now < m.giveAt || m.cannotMove() != "" {
		return
	}
	m.giveAt = m.now + giveAgain
	m.leave(fmt.Sprintf("the disk here failed, and %s holds every write", m.cfg.PeerName), true)
}
