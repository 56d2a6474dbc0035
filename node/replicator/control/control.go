// Package control is the language between `gemel agent` and `gemel replicator`
// on one node: HTTP with JSON over a unix socket. It is not reachable from the
// network, and it carries no block data.
package control

import (
	"time"

	"gemel/node/arbiter"
)

// Roles, disk states and connection states, in DRBD's words.
const (
	Primary   = "Primary"
	Secondary = "Secondary"

	Diskless     = "Diskless"
	Inconsistent = "Inconsistent"
	Outdated     = "Outdated"
	Consistent   = "Consistent" // whole, but nobody has said yet that it is current
	UpToDate     = "UpToDate"
	Unknown      = "Unknown" // peer's only

	StandAlone = "StandAlone" // will not retry; a human is needed
	Connecting = "Connecting"
	Connected  = "Connected"
)

// VolumeState is all a replicator knows of one volume.
type VolumeState struct {
	Name string `json:"name"`
	// Problem is why the volume cannot be used on this node, with the next
	// step; empty when it can.
	Problem string `json:"problem,omitempty"`

	// MayYield: the disk failed, and this Primary can go on through the peer's once
	// the peer alone is recorded in the set. Remote: so it does.
	MayYield bool `json:"may_yield,omitempty"`
	Remote   bool `json:"remote,omitempty"`

	Role       string `json:"role"`
	Disk       string `json:"disk"`
	PeerDisk   string `json:"peer_disk"`
	Connection string `json:"connection"`
	// ConnectionReason says why the volume is StandAlone or not yet Connected.
	ConnectionReason string `json:"connection_reason,omitempty"`
	// Protocol is A, B or C: how far a write must have come at the peer before
	// it completes, once this node is Primary. ConfiguredProtocol is the one of
	// the next start. ProtocolInUse is the Primary's only: what its writes wait
	// for now; C until the peer has noted a weaker one.
	Protocol           string `json:"protocol"`
	ConfiguredProtocol string `json:"configured_protocol"`
	ProtocolInUse      string `json:"protocol_in_use,omitempty"`
	// CongestionFill bounds in bytes what completes under protocol A ahead of the
	// peer.
	CongestionFill int64 `json:"congestion_fill"`
	// MayLack is the protocol, A or B, under which the Primary that this replica
	// followed last completed writes: some that were not flushed may not be
	// here. Empty: none are missing.
	MayLack string `json:"may_lack,omitempty"`
	// NewerPromise is the epoch that the peer's replica promised, above this
	// Primary's reign: it refuses the connection until the Primary is elected
	// anew above it. Zero: none.
	NewerPromise arbiter.Epoch `json:"newer_promise,omitempty"`
	PeerPath     string        `json:"peer_path,omitempty"` // link in use, such as "private"
	// Paths are all links of the connection in order of preference; empty while
	// not Connected.
	Paths []Path `json:"paths,omitempty"`
	// Plain: block data goes over the links without encryption.
	Plain bool `json:"plain,omitempty"`
	// Move is the last change of the link in use; nil before the first.
	Move *Move `json:"move,omitempty"`

	Backing     string `json:"backing"`      // backing device
	BackingSize int64  `json:"backing_size"` // bytes
	Size        int64  `json:"size"`         // bytes of the volume, the smaller of both sides
	Device      string `json:"device,omitempty"`
	Survives    bool   `json:"survives,omitempty"`     // Device outlives the replicator: its users wait for the next one
	Frontend    string `json:"frontend,omitempty"`     // how Device is shown, such as "fuseloop"
	FrontendWhy string `json:"frontend_why,omitempty"` // why no better way was taken, in words

	// Epoch of the reign this replica serves: its own as Primary, the
	// connected Primary's as Secondary; zero when neither.
	Epoch  arbiter.Epoch  `json:"epoch"`
	Record arbiter.Record `json:"record"` // this node's register
	// Chosen is the last in-sync set known to be recorded by 2 of 3.
	Chosen arbiter.Accepted `json:"chosen"`

	// WantShrink: the peer is in the in-sync set and lost; acknowledgements
	// are frozen until {self} is chosen.
	WantShrink bool `json:"want_shrink"`
	// ReadyToGrow: the peer holds every write, and every new write is
	// acknowledged by it; the set may grow to both.
	ReadyToGrow bool `json:"ready_to_grow"`
	// Frozen says why I/O is held; empty when it flows.
	Frozen string `json:"frozen,omitempty"`
	// LeaseLeft is the rest of the lease; negative: ran out; ignored when the
	// chosen set is {self}.
	LeaseLeft time.Duration `json:"lease_left_ns"`

	// CrashedPrimary: this replica died as Primary, its unacknowledged writes
	// are unknown until it was resynced.
	CrashedPrimary bool `json:"crashed_primary"`
	// Created: metadata is new and no reign has ever used this replica.
	Created bool `json:"created"`
	// Blank: connected, and the peer's replica is Created too: nothing of the
	// volume exists on either node.
	Blank bool `json:"blank,omitempty"`
	// Yields: Created, and the peer's replica was created over data that is to be the
	// volume's: this one cannot begin it.
	Yields bool `json:"yields,omitempty"`

	// GivenUp: the data here is to be overwritten by the peer's.
	GivenUp bool `json:"given_up"`
	// Outdated: an operator said that the data here is out of date; it ends when
	// this replica has followed a Primary.
	Outdated bool `json:"outdated_by_hand,omitempty"`
	// Keeping: what will be overwritten is being written into an undo file;
	// UndoFile is the last one that was written since the replicator started.
	Keeping  bool   `json:"keeping,omitempty"`
	UndoFile string `json:"undo_file,omitempty"`
	// Apart says why both sides stand alone, and what each did; nil: they do not.
	Apart *Apart `json:"apart,omitempty"`

	OutOfSync int64    `json:"out_of_sync"` // bytes the peer lacks (or this node lacks, as target)
	Resync    *Resync  `json:"resync,omitempty"`
	Verify    *Verify  `json:"verify,omitempty"` // the last one
	Counters  Counters `json:"counters"`
	// Growth is the volume becoming larger; nil when there is nothing to tell.
	Growth *Growth `json:"growth,omitempty"`

	// Seq grows with every change that a watcher should see at once.
	Seq uint64 `json:"seq"`
}

// Changes are the volumes whose state changed after a version that the watcher has.
// Versions count the changes of one run of the replicator; to a watcher of another
// run all volumes are news.
type Changes struct {
	Run     uint64        `json:"run"`
	Version uint64        `json:"version"`
	Volumes []VolumeState `json:"volumes"`
}

// Apart is a refused meeting that only a human's word ends, such as a split brain.
type Apart struct {
	Name string    `json:"name"` // stable, such as "split-brain"
	Text string    `json:"text"`
	Next string    `json:"next"`
	Seen time.Time `json:"seen"` // when it was found out
	// Resolvable: it ends when one side gives its data up.
	Resolvable bool `json:"resolvable"`
	Here       Side `json:"here"`
	There      Side `json:"there"` // as of Seen or later
}

// Side is one replica of a pair that went apart. A zero time is not known.
type Side struct {
	Primary    bool      `json:"primary"`
	Crashed    bool      `json:"crashed"` // died as Primary: Changed may be too small
	ReignStart time.Time `json:"reign_start"`
	ReignEnd   time.Time `json:"reign_end"` // zero: it goes on, or a crash ended it
	Since      time.Time `json:"since"`     // when it began to count
	Changed    int64     `json:"changed"`   // bytes
}

// GiveUpRequest gives this node's replica up: it is filled from the peer. Undo
// keeps what will be overwritten in a file first; All copies every block.
type GiveUpRequest struct {
	Volume string `json:"volume"`
	Undo   bool   `json:"undo"`
	All    bool   `json:"all"`
}

// OutdateRequest marks this node's replica as out of date by hand; Undo takes that
// back.
type OutdateRequest struct {
	Volume string `json:"volume"`
	Undo   bool   `json:"undo,omitempty"`
}

// States of a Path.
const (
	PathInUse   = "in use"
	PathStandby = "standby" // connected and answering
	PathDown    = "down"
)

// Path is one link of a volume's connection.
type Path struct {
	Name   string        `json:"name"`
	State  string        `json:"state"`
	Reason string        `json:"reason,omitempty"` // why it is down
	RTT    time.Duration `json:"rtt_ns,omitempty"` // last measured
	Moves  int           `json:"moves"`            // how often the connection moved here since it was made
}

// Move is a change of the link that carries a volume, without a new connection.
type Move struct {
	Number int           `json:"number"` // since the replicator started, from 1
	From   string        `json:"from"`
	To     string        `json:"to"`
	Reason string        `json:"reason"`
	Pause  time.Duration `json:"pause_ns"` // nothing could be sent for so long
	Time   time.Time     `json:"time"`
}

// Resync is a running resynchronisation.
type Resync struct {
	Direction string        `json:"direction"` // "source" or "target"
	Full      bool          `json:"full"`
	Total     int64         `json:"total"` // bytes
	Done      int64         `json:"done"`  // bytes
	Rate      int64         `json:"rate"`  // bytes per second, over the last seconds
	ETA       time.Duration `json:"eta_ns"`
	// Waiting is why nothing is copied at the moment, such as "paused by an
	// operator"; empty when something is.
	Waiting string `json:"waiting,omitempty"`
	// Compared: the nodes compare sums, and only what differs is sent. Same was
	// not, since the target had it; it is part of Done.
	Compared bool  `json:"compared,omitempty"`
	Same     int64 `json:"same,omitempty"`
	MinRate  int64 `json:"min_rate,omitempty"` // bytes per second; 0: none
	MaxRate  int64 `json:"max_rate,omitempty"`
	// Unreadable bytes were left out, because the source's disk cannot read them,
	// Unwritable because the target's cannot write them; they stay out of sync and
	// are tried again. The source's only, as are the first of their ranges. Stuck:
	// nothing can be copied until that changes.
	Unreadable       int64   `json:"unreadable,omitempty"`
	UnreadableRanges []Range `json:"unreadable_ranges,omitempty"`
	Unwritable       int64   `json:"unwritable,omitempty"`
	UnwritableRanges []Range `json:"unwritable_ranges,omitempty"`
	Stuck            bool    `json:"stuck,omitempty"`
}

// Counters count since the replicator started; bytes unless said otherwise.
type Counters struct {
	Read     int64 `json:"read"`     // by the application, from the local disk
	Written  int64 `json:"written"`  // to the local disk, for the application or the peer
	Sent     int64 `json:"sent"`     // replicated writes, payload
	Received int64 `json:"received"` // replicated writes, payload
	Resynced int64 `json:"resynced"` // by resync, either direction, payload
	Mended   int64 `json:"mended"`   // read from the peer and written anew, because the disk here could not read
	Same     int64 `json:"same"`     // compared by a resync and not sent, since the target had it
	Flushes  int64 `json:"flushes"`  // count, of the local disk
}

// CreateRequest makes a new replica on the configured backing device.
type CreateRequest struct {
	Volume string `json:"volume"`
	// Force overwrites a file system or older metadata found there.
	Force bool `json:"force"`
	// Keep leaves the content of the device as it is: it becomes the volume's, and
	// the peer is filled from it. The metadata must lie apart.
	Keep bool `json:"keep,omitempty"`
}

// PromoteRequest makes the replica Primary of a chosen reign and attaches the
// kernel device. The replica refuses unless its own register has accepted
// (Epoch, Version, {self}).
type PromoteRequest struct {
	Volume string           `json:"volume"`
	Chosen arbiter.Accepted `json:"chosen"`
	// Birth: the first reign of a new volume: an Inconsistent, Created replica
	// may be promoted and becomes UpToDate.
	Birth bool `json:"birth,omitempty"`
	// Forced: a human's word; the register may lack the second vote.
	Forced bool `json:"forced,omitempty"`
}

// PromoteReply names the block device to mount.
type PromoteReply struct {
	Device string `json:"device"`
}

// ChosenRequest tells the Primary's replica that 2 of 3 voters accepted a set.
type ChosenRequest struct {
	Volume string           `json:"volume"`
	Chosen arbiter.Accepted `json:"chosen"`
}

// LeaseRequest moves the end of the lease: Until is nanoseconds of
// CLOCK_BOOTTIME, the same clock in every process of a box.
type LeaseRequest struct {
	Volume string        `json:"volume"`
	Epoch  arbiter.Epoch `json:"epoch"`
	Until  int64         `json:"until_boottime_ns"`
}

// LeaseReply tells whether one of several leases was taken.
type LeaseReply struct {
	Error string `json:"error,omitempty"` // why not; empty: it was
}

// DemoteRequest makes the replica Secondary. Clean: everything is written and
// flushed first, and the device must be unused. Otherwise (letting go): held
// and new I/O ends with an error, the device is detached whoever uses it.
type DemoteRequest struct {
	Volume string `json:"volume"`
	Clean  bool   `json:"clean"`
}

// ConnectRequest asks a StandAlone volume to try again.
type ConnectRequest struct {
	Volume string `json:"volume"`
}

// ProtocolRequest changes a volume's protocol, to A, B or C, until the
// replicator restarts.
type ProtocolRequest struct {
	Volume   string `json:"volume"`
	Protocol string `json:"protocol"`
}

// Error is the body of every reply that is not 200.
type Error struct {
	Message string `json:"message"` // what happened, to what, why, what to do next
	Code    string `json:"code"`    // stable name, such as "device-in-use"
}

// Paths of the unix socket's HTTP API. All requests are POST with a JSON body
// except State and Watch (GET). The answer to a vote leaves only when its register is
// on stable storage.
const (
	PathState    = "/v1/state" // GET, with ?volume=NAME of one only → []VolumeState
	PathWatch    = "/v1/watch" // GET ?run=RUN&since=VERSION&wait=MS → Changes when there are any, or after wait
	PathCreate   = "/v1/volume/create"
	PathPromote  = "/v1/volume/promote"
	PathChosen   = "/v1/volume/chosen"
	PathLease    = "/v1/volume/lease"
	PathDemote   = "/v1/volume/demote"
	PathConnect  = "/v1/volume/connect"
	PathProtocol = "/v1/volume/protocol"
	PathVerify   = "/v1/volume/verify"
	PathResync   = "/v1/volume/resync"
	PathResize   = "/v1/volume/resize"
	PathVotes    = "/v1/votes"         // []ballot.Vote → a line of JSON per answer, as they come; see ballot.Write
	PathLeases   = "/v1/volume/leases" // []LeaseRequest → []LeaseReply
	PathOutdate  = "/v1/volume/outdate"
	PathGiveUp   = "/v1/volume/give-up"
)
