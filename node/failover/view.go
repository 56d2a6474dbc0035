package failover

import (
	"time"

	"gemel/node/arbiter"
)

// View is what the machine shows: for status, heartbeats and the oracles.
type View struct {
	Role    Role
	Phase   string // for people: what it does or waits for, in words
	Refusal string // why it will not become Primary, with the next step; empty when nothing stands in the way
	Epoch   arbiter.Epoch
	Chosen  arbiter.Accepted // newest in-sync set known here
	// LeaseUntil is boot time; zero when no lease is needed or held.
	LeaseUntil time.Duration
	Peer       PeerView
	// Impaired says what fails of a volume that is served; empty: nothing.
	Impaired string
	// ServicesFailed: services failed on this node, and have not run since.
	ServicesFailed bool
	// Assures is the start of the peer's agent that this node heard before it knew
	// Chosen to be chosen: with that word, and without a third voter, the peer may
	// take over on a proof that this node is off. Empty: it may not.
	Assures string
	Arbiter ArbiterView
	Guard   Guard
}

// ArbiterView says who decides besides the two nodes, and what without one would
// become of the loss of the peer.
type ArbiterView struct {
	Rule     arbiter.Rule  // on record
	Wanted   arbiter.Third // by the configuration
	Word     arbiter.Third // that this node would record now: the wanted one, or none while fencing stands in for it
	Differs  string        // why the record is not as the configuration wants it; empty: it is
	Assured  bool          // a proof that the peer is off would make this node Primary
	Shooting bool
	Failed   string // why the last shot proved nothing; empty: it did, or there was none
}

// PeerView is the detector's view of the peer.
type PeerView struct {
	Alive    bool
	LastSeen time.Duration // boot time of the newest beat on any link
	Minor    int           // minor failures since start
	Major    int           // MAJOR failures since start
	// LastMinor and LastMajor are boot times; zero: never.
	LastMinor, LastMajor time.Duration
	Links                []LinkView
}

// LinkView is one link of the detector.
type LinkView struct {
	Name   string
	Up     bool
	Missed int // beats in a row
	Minor  int // failures since start
	// LastMinor is boot time; zero: never.
	LastMinor time.Duration
	// Phi is how unlikely the present silence is on a link that is well; see gaps.
	// Nothing is decided by it.
	Phi float64
}

// Role is where a node stands in the reign.
type Role int

// Roles: only Serving and TakingOver are Primary in the replica's sense.
const (
	RoleSecondary   Role = iota // follows, or waits
	RoleCampaigning             // asks the voters
	RoleTakingOver              // elected; course running
	RoleServing                 // Primary, course complete
	RoleLeaving                 // clean way out
	RoleLettingGo               // reign lost; getting out of the way
)

// Config is what a Machine needs to know; durations are those of the
// configuration file.
type Config struct {
	Self        arbiter.NodeID
	SelfName    string
	PeerName    string
	WitnessName string // empty: no witness
	// Third is the witness' identity, which stands in every recorded set.
	Third arbiter.Third
	// Boot names this start of the agent.
	Boot string
	// Fences: a device can cut the peer's power. FenceDelay is how much longer than
	// a Primary a Secondary waits before it does; FenceTime is how long it may take.
	Fences     bool
	FenceDelay time.Duration
	FenceTime  time.Duration
	// StandIn is how long the third voter is silent before fencing decides in its
	// place; zero: it never does.
	StandIn     time.Duration
	Volume      string
	Links       []string
	Heartbeat   time.Duration
	MinorBeats  int
	Major       time.Duration
	Lease       time.Duration
	Renew       time.Duration
	BootWait    time.Duration
	StepTimeout time.Duration
	// TakeoverUnderA lets a node that may lack writes of protocol A take over
	// without an operator's word.
	TakeoverUnderA bool
	// Prefer is the node on which the volume starts when both could: PreferSelf,
	// PreferPeer or, by number, PreferFirst. FailBack returns it there by itself.
	Prefer   Preference
	FailBack bool
	// StayDiskless keeps a volume here whose disk failed, as long as the peer's
	// disk serves it; else it is handed over.
	StayDiskless bool
	// CongestionFill bounds what such a take-over can lose; in words.
	CongestionFill string
}

// View returns the machine's present state.
func (m *Machine) View() View {
	v := View{Role: m.role, Phase: m.phase(), Refusal: m.refusal, Peer: m.det.view(m.now),
		Impaired: m.impaired.why, ServicesFailed: m.haveFailed(), Arbiter: m.arbiterView(),
		Guard: m.guard()}
	switch m.role {
	case RoleTakingOver, RoleServing, RoleLeaving:
		v.Epoch, v.Chosen = m.prop.Epoch(), m.prop.Chosen()
		v.LeaseUntil = m.lease.Until()
		if m.again {
			v.Epoch, v.Chosen = m.kept.Epoch, m.kept
		}
		v.Assures = m.assures()
	default:
		v.Chosen = m.replica.Record.Accepted
		if m.det.alive && m.peer.Primary {
			v.Epoch = m.peer.Epoch
			if m.peer.Chosen.Newer(v.Chosen) {
				v.Chosen = m.peer.Chosen
			}
		}
	}
	return v
}

// phase says in words what the machine does or waits for.
func (m *Machine) phase() string {
	switch m.role {
	case RoleServing:
		if m.again {
			return phaseReelecting
		}
		if m.awaits() {
			return phaseAwaiting
		}
		if m.impaired.why != "" {
			return phaseWithout
		}
		if m.remote {
			return phaseRemote + m.cfg.PeerName
		}
		return "serving"
	case RoleCampaigning:
		return "asking the voters"
	case RoleTakingOver:
		return "taking over: " + m.course.current().String()
	case RoleLeaving:
		return "leaving: " + m.course.current().String()
	case RoleLettingGo:
		return "letting go: " + m.course.current().String()
	}
	switch {
	case m.stopped:
		return "stopping"
	case m.det.alive && m.peer.Primary:
		return "following " + m.cfg.PeerName
	case m.refusal != "":
		return "waiting"
	default:
		return "looking for " + m.cfg.PeerName
	}
}
