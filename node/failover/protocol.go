package failover

import (
	"fmt"
	"time"
)

// peerFirst is how long a node that may lack completed writes lets a living
// peer, which holds all of them, go first. After that the peer has reasons of
// its own not to.
const peerFirst = 15 * time.Second

// lacking says why this node does not take over by itself although its data is
// whole and recorded as in sync: under protocol A or B the last Primary may have
// completed writes that never arrived here. Empty: nothing stands in the way.
func (m *Machine) lacking() string {
	if m.replica.MayLack == "" {
		return ""
	}
	if m.det.alive && m.peer.Fit && !m.peer.Standby && m.peer.MayLack == "" && (m.peerIdle == 0 || m.now-m.peerIdle < peerFirst) {
		return fmt.Sprintf("lets %s go first: %s, and %s has them", m.cfg.PeerName, m.lacks(), m.cfg.PeerName)
	}
	if m.replica.MayLack != "A" || m.cfg.TakeoverUnderA {
		return ""
	}
	return fmt.Sprintf("%s; bring %s back, or take over without them: `gemel grab %s` on this node "+
		"(`takeover-under-a: allow` in the configuration makes that automatic)", m.lacks(), m.cfg.PeerName, m.cfg.Volume)
}

// outdated says why a replica that a person marked Outdated does not take over.
func (m *Machine) outdated() string {
	return fmt.Sprintf("the replica here was marked Outdated by an operator; bring %s back, take that back with `gemel volume outdate %s --undo`, "+
		"or take over with it all the same: `gemel grab %s` on this node", m.cfg.PeerName, m.cfg.Volume, m.cfg.Volume)
}

// lacks puts into words what may be missing here.
func (m *Machine) lacks() string {
	if m.replica.MayLack == "A" {
		return "writes that " + m.cfg.PeerName + " completed under protocol A and had not flushed, at most " +
			m.cfg.CongestionFill + ", may be missing here"
	}
	return "writes that " + m.cfg.PeerName + " completed under protocol B and had not flushed may be missing here, if this node's " +
		"replicator ended before it had written them"
}

// noteLacking writes into the history why this node waits.
func (m *Machine) noteLacking(why string) {
	if why != m.refusal {
		m.note(Note{Kind: "takeover.refused", Text: m.cfg.SelfName + " does not take over by itself.", Reason: why,
			Inputs: m.inputs()})
	}
}

// noteLoss writes into the history what this reign may have cost.
func (m *Machine) noteLoss() {
	if m.replica.MayLack != "" {
		m.note(Note{Kind: "takeover.loss", Text: fmt.Sprintf("%s reigns without what it lacks of the last reign.", m.cfg.SelfName),
			Reason: m.lacks() + "; what had been flushed is here"})
	}
}
