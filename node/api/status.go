package api

import (
	"time"

	"gemel/node/arbiter"
	"gemel/node/event"
	"gemel/node/replicator/control"
)

// Status is what `gemel status --json` prints: one node's whole view.
type Status struct {
	Version string        `json:"version"`
	Cluster string        `json:"cluster"`
	Node    string        `json:"node"`
	Role    string        `json:"role"` // "node" or "witness"; empty means node
	Time    time.Time     `json:"time"`
	Uptime  time.Duration `json:"uptime_ns"`
	Peer    PeerStatus    `json:"peer"`
	Witness VoterStatus   `json:"witness"`
	Links   []LinkStatus  `json:"links"`
	Volumes []Volume      `json:"volumes"`
	// Fencing is nil where the peer's power cannot be switched.
	Fencing *Fencing `json:"fencing,omitempty"`
	// Watchdog is this box's own; nil: none is configured.
	Watchdog *Watchdog `json:"watchdog,omitempty"`
	// LastEvent is the newest decision with its reason.
	LastEvent *event.Event `json:"last_event,omitempty"`
	// ReplicatorProblem is why the replicator does not answer; empty when it does.
	ReplicatorProblem string `json:"replicator_problem,omitempty"`
	// Maintenance is the watching mode of the pair; Standby and PeerStandby tell that a
	// node takes nothing over.
	Maintenance Maintenance `json:"maintenance"`
	Standby     bool        `json:"standby,omitempty"`
	PeerStandby bool        `json:"peer_standby,omitempty"`
	// HistoryProblem is why the newest event is not on disk; empty when it is.
	HistoryProblem string `json:"history_problem,omitempty"`
	// Records are the registers a witness keeps; nodes show theirs in Volumes.
	Records []VoterRecord `json:"records,omitempty"`
}

// VoterRecord is one register of a witness.
type VoterRecord struct {
	Volume string         `json:"volume"`
	Record arbiter.Record `json:"record"`
	// Names of the nodes in the accepted in-sync set.
	InSyncBy []string `json:"in_sync_names"`
	// Lease is what is left of the lease this voter honours; zero when none.
	Lease time.Duration `json:"lease_left_ns,omitempty"`
}

// PeerStatus is what this node knows of the other.
type PeerStatus struct {
	Name     string    `json:"name"`
	Alive    bool      `json:"alive"`
	LastSeen time.Time `json:"last_seen"`
	Minor    int       `json:"minor_failures"` // since start
	Major    int       `json:"major_failures"`
	// When they were; zero: never.
	LastMinor time.Time `json:"last_minor,omitzero"`
	LastMajor time.Time `json:"last_major,omitzero"`
}

// VoterStatus is the witness as seen from this node.
type VoterStatus struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind,omitempty"` // ThirdWitness or ThirdEtcd
	Reachable bool      `json:"reachable"`
	LastSeen  time.Time `json:"last_seen"`
	Means     string    `json:"means,omitempty"` // what its absence means now
}

// Kinds of a third voter.
const (
	ThirdWitness = "witness"
	ThirdEtcd    = "etcd"
)

// Words name the voter in the middle of a sentence.
func (v *VoterStatus) Words() string {
	if v.Kind == ThirdEtcd {
		return ThirdEtcd
	}
	return "the witness"
}

// LinkStatus is one way to the peer.
type LinkStatus struct {
	Name    string        `json:"name"`
	Local   string        `json:"local"`
	Remote  string        `json:"remote"`
	Up      bool          `json:"up"`      // beats arrive
	Carrier bool          `json:"carrier"` // this node's NIC has a cable
	Missed  int           `json:"missed"`  // beats in a row
	RTT     time.Duration `json:"rtt_ns"`
	Minor   int           `json:"minor_failures"` // since start
	// LastMinor is when the newest one was; zero: never.
	LastMinor time.Time `json:"last_minor,omitzero"`
	// Phi is how unlikely the present silence is if the link is well, as a negative
	// decimal logarithm. It is only shown: decisions go by the configured times.
	Phi float64 `json:"phi"`
}

// Volume is one volume with everything that moves with it.
type Volume struct {
	control.VolumeState
	PeerRole  string        `json:"peer_role"`
	Phase     string        `json:"phase"` // what the agent is doing, such as "serving" or "waiting for the lease of server1 (1.2 s)"
	Refusal   string        `json:"refusal,omitempty"`
	Lease     time.Duration `json:"lease_left_agent_ns"`
	InSync    arbiter.Set   `json:"in_sync"` // newest set known here
	InSyncBy  []string      `json:"in_sync_names"`
	Mount     string        `json:"mount,omitempty"` // path when mounted here
	Addresses []Held        `json:"addresses"`
	Services  []Running     `json:"services"`
	Impaired  string        `json:"impaired,omitempty"` // what fails of a volume that is served here all the same
	Arbiter   ArbiterStatus `json:"arbiter"`
}

// ArbiterStatus says who decides on a volume besides the two nodes.
type ArbiterStatus struct {
	Recorded   string `json:"recorded"`          // name of the third voter on record, "none", or "another"
	Configured string `json:"configured"`        // its name here, or "none"
	Change     uint32 `json:"change"`            // counts the changes since the volume's birth
	Differs    string `json:"differs,omitempty"` // why the record is not as configured; empty: it is
	// Assured: this node was Primary, or was told by it since its agent started, that
	// its data is current; so a proof that the peer is off would make it Primary.
	Assured  bool   `json:"assured"`
	Shooting bool   `json:"shooting"`
	Failed   string `json:"failed,omitempty"` // why the last shot proved nothing
}

// What an ArbiterStatus calls a third voter that has no name here.
const (
	NoArbiter      = "none"
	AnotherArbiter = "another"
)

// Held is a VIP and whether this node answers for it.
type Held struct {
	Address string `json:"address"`
	Held    bool   `json:"held"`
	Holder  string `json:"holder,omitempty"` // node that holds it, as far as known
	Rival   string `json:"rival,omitempty"`  // MAC of another box that answers for an address held here
}

// Running is a service and its state here.
type Running struct {
	Name     string `json:"name"`
	State    string `json:"state"` // "running", "stopped", "failed"
	PID      int    `json:"pid,omitempty"`
	Restarts int    `json:"restarts"`
	Reason   string `json:"reason,omitempty"`  // why it failed, or was restarted last
	Warning  string `json:"warning,omitempty"` // what is wrong with how it is set up on this node
}

// Beat is a numbered heartbeat of a node. It travels on every link, both ways: the
// body of the request and of the reply. It carries what its node says of its
// volumes as far as the other does not have it yet: every change has a version,
// and each side tells up to which it has all of the other's.
type Beat struct {
	Node string `json:"node"`
	Boot string `json:"boot"` // changes with every start of the agent
	Seq  uint64 `json:"seq"`
	Link string `json:"link"`
	// Volumes are the words that changed after version Since, up to Upto, oldest
	// first; at most MaxBeatVolumes. More: there are newer ones, which the next
	// beat brings.
	Volumes []BeatVolume `json:"volumes,omitempty"`
	Since   uint64       `json:"since"`
	Upto    uint64       `json:"upto"`
	More    bool         `json:"more,omitempty"`
	// Has is the version up to which the sender has all words of HasOf, a start of
	// the receiver's agent.
	Has   uint64 `json:"has"`
	HasOf string `json:"has_of,omitempty"`
	// Maintenance is the newest word on the watching mode that the sender knows.
	Maintenance Maintenance `json:"maintenance"`
}

// MaxBeatVolumes bounds the volumes of one beat, which must stay below MaxRequest.
const MaxBeatVolumes = 100

// BeatVolume is what a heartbeat tells of one volume.
type BeatVolume struct {
	Version uint64 `json:"version"` // of this word, among all words of its agent
	Name    string `json:"name"`
	Role    string `json:"role"`    // Primary while taking over, serving or leaving
	Serving bool   `json:"serving"` // Primary with its course complete
	// ServicesFailed: services failed on this node lately. Impaired: it serves, but not all of them run.
	ServicesFailed bool             `json:"services_failed,omitempty"`
	Impaired       bool             `json:"impaired,omitempty"`
	Leaving        bool             `json:"leaving"` // Primary on its way out
	Phase          string           `json:"phase"`
	Disk           string           `json:"disk"`
	Epoch          arbiter.Epoch    `json:"epoch"`
	Chosen         arbiter.Accepted `json:"chosen"`
	AddressNIC     bool             `json:"address_nic"` // carrier on every interface of its addresses
	Fit            bool             `json:"fit"`         // could take over: disk, replicator and course are in order
	// MayLack is the protocol under which the last Primary may have completed
	// writes that are not there; empty: none.
	MayLack string `json:"may_lack,omitempty"`
	// Standby: the node takes nothing over.
	Standby bool `json:"standby,omitempty"`
	// Unformatted: this reign is to make the volume's first file system and has not
	// finished it.
	Unformatted bool `json:"unformatted,omitempty"`
	// Assures is the start of the receiver's agent to which the sender, as Primary,
	// says that Chosen is chosen; empty: it does not.
	Assures string `json:"assures,omitempty"`
	// Going: the sender's agent stops, and its vote goes with it.
	Going bool `json:"going,omitempty"`
	// Third is the third voter in the sender's configuration.
	Third arbiter.Third `json:"third"`
}
