// Package config is gemel's configuration: its keys, units, defaults and
// limits, and the strict reading of its YAML file. It is not a place for state:
// nothing here changes while a daemon runs.
package config

import (
	"path/filepath"
	"time"
)

// DefaultPath is where the configuration file lies unless the environment
// variable GEMEL_CONFIG or the flag --config says otherwise.
const DefaultPath = "/etc/gemel/gemel.yaml"

// Config is the whole file. All three boxes carry the same file; only Node
// differs, and defaults to the host name.
type Config struct {
	Cluster     string      `mapstructure:"cluster"`
	Node        string      `mapstructure:"node"`
	Nodes       []Node      `mapstructure:"nodes"` // exactly two; their order numbers them 0 and 1
	Witness     Witness     `mapstructure:"witness"`
	Etcd        Etcd        `mapstructure:"etcd"`
	Keys        string      `mapstructure:"keys"`      // directory of certificates
	StateDir    string      `mapstructure:"state-dir"` // survives a reboot
	UndoDir     string      `mapstructure:"undo-dir"`  // empty: see UndoDirectory
	RunDir      string      `mapstructure:"run-dir"`   // sockets; emptied by a reboot
	DeviceDir   string      `mapstructure:"device-dir"`
	Ports       Ports       `mapstructure:"ports"`
	Timing      Timing      `mapstructure:"timing"`
	Fencing     Fencing     `mapstructure:"fencing"`
	Drill       Drill       `mapstructure:"drill"`
	Replication Replication `mapstructure:"replication"`
	Volumes     []Volume    `mapstructure:"volumes"`

	path   string
	values []value // effective values in the order of the documentation
}

// Node is one of the two data nodes.
type Node struct {
	Name  string `mapstructure:"name"`
	Links []Link `mapstructure:"links"` // most private first
	// Fence is how this node's power is cut, in the order in which it is tried.
	Fence []FenceDevice `mapstructure:"fence"`
}

// Link is one way to reach a node.
type Link struct {
	Name    string `mapstructure:"name"`    // same name on both nodes
	Address string `mapstructure:"address"` // IP address of the node on this link
}

// Witness is the third voter; an empty Address means there is none.
type Witness struct {
	Name    string `mapstructure:"name"`
	Address string `mapstructure:"address"` // IP address
}

// Ports are TCP ports, the same on every box.
type Ports struct {
	Replication int `mapstructure:"replication"` // replicator to replicator
	API         int `mapstructure:"api"`         // agents, witness, remote status
}

// Timing holds every delay of detection and reign.
type Timing struct {
	Heartbeat   time.Duration `mapstructure:"heartbeat"`    // between beats on each link
	MinorBeats  int           `mapstructure:"minor-beats"`  // beats missed on one link: minor failure
	Major       time.Duration `mapstructure:"major"`        // silence on all links: MAJOR failure
	Lease       time.Duration `mapstructure:"lease"`        // term of the Primary's lease
	Renew       time.Duration `mapstructure:"renew"`        // between renewals
	BootWait    time.Duration `mapstructure:"boot-wait"`    // for the peer, before starting alone
	StepTimeout time.Duration `mapstructure:"step-timeout"` // each step of the course of action
}

// Replication holds the data plane's settings.
type Replication struct {
	Links           []string      `mapstructure:"links"` // names of links to use, in order
	PeerTimeout     time.Duration `mapstructure:"peer-timeout"`
	PathTimeout     time.Duration `mapstructure:"path-timeout"` // silence on the link in use before another one is taken
	ReturnAfter     time.Duration `mapstructure:"return-after"` // a better link must be well for so long
	Encryption      string        `mapstructure:"encryption"`   // EncryptionTLS or EncryptionPlain
	ConnectInterval time.Duration `mapstructure:"connect-interval"`
	ResyncMaxRate   string        `mapstructure:"resync-max-rate"` // bytes per second such as "50MiB"; empty: no limit
	ResyncMinRate   string        `mapstructure:"resync-min-rate"` // bytes per second; empty: always make way
	ChecksumResync  string        `mapstructure:"checksum-resync"` // ChecksumAuto, ChecksumOn or ChecksumOff
	AfterSplit0     string        `mapstructure:"after-sb-0pri"`
	AfterSplit1     string        `mapstructure:"after-sb-1pri"`
	AfterSplit2     string        `mapstructure:"after-sb-2pri"`
}

// Values of Replication.Encryption.
const (
	EncryptionTLS   = "tls"
	EncryptionPlain = "plain"
)

// Plain reports whether replication goes without TLS.
func (r Replication) Plain() bool { return r.Encryption == EncryptionPlain }

// Volume is a replicated volume and what moves with it.
type Volume struct {
	Name     string `mapstructure:"name"`
	Device   string `mapstructure:"device"`   // backing device or file on this node
	Metadata string `mapstructure:"metadata"` // MetadataInternal, or device or file of its own
	Frontend string `mapstructure:"frontend"` // one of Frontends
	// DiskTimeout is how long the backing device may keep a request; 0: for ever.
	DiskTimeout time.Duration `mapstructure:"disk-timeout"`
	// OnIOError is one of IOErrorMend, IOErrorDetach and IOErrorPassOn.
	OnIOError string `mapstructure:"on-io-error"`
	// OnDiskFailure is one of DiskFailureHandOver and DiskFailureStay.
	OnDiskFailure string `mapstructure:"on-disk-failure"`
	// Protocol is A, B or C. TakeoverUnderA is one of TakeoverRefuse and TakeoverAllow.
	Protocol       string `mapstructure:"protocol"`
	TakeoverUnderA string `mapstructure:"takeover-under-a"`
	// ResyncAfter is the volume whose resync comes first; VerifySchedule is when
	// the Primary compares both disks, as package schedule reads it.
	ResyncAfter    string `mapstructure:"resync-after"`
	VerifySchedule string `mapstructure:"verify-schedule"`
	// OnCongestion is one of CongestionBlock and CongestionPullAhead; CongestionFill
	// is a size, see Fill.
	OnCongestion   string `mapstructure:"on-congestion"`
	CongestionFill string `mapstructure:"congestion-fill"`
	// Prefer is the node on which the volume starts when both could; empty: the first
	// one. FailBack is one of FailBackManual and FailBackAuto.
	Prefer    string    `mapstructure:"prefer"`
	FailBack  string    `mapstructure:"failback"`
	Mount     Mount     `mapstructure:"mount"`
	Addresses []Address `mapstructure:"addresses"`
	Services  []Service `mapstructure:"services"`
	ALExtents int       `mapstructure:"al-extents"` // slots of the activity log
}

// MetadataInternal keeps the metadata at the end of the backing device.
const MetadataInternal = "internal"

// Apart returns the device or file of the metadata; empty: it is on the backing
// device.
func (v *Volume) Apart() string {
	if v.Metadata == MetadataInternal {
		return ""
	}
	return v.Metadata
}

// Ways to show a volume.
const (
	FrontendAuto      = "auto" // the best that shows a device of the kernel
	FrontendUblk      = "ublk"
	FrontendNBD       = "nbd"
	FrontendFuseLoop  = "fuseloop"
	FrontendNBDSocket = "nbd-socket" // no device of the kernel
)

// What on-io-error may be.
const (
	IOErrorMend   = "mend"
	IOErrorDetach = "detach"
	IOErrorPassOn = "pass-on"
)

// What on-disk-failure may be.
const (
	DiskFailureHandOver = "hand-over"
	DiskFailureStay     = "stay"
)

// What on-congestion may be.
const (
	CongestionBlock     = "block"
	CongestionPullAhead = "pull-ahead"
)

// What if-taken may be.
const (
	TakenRefuse = "refuse"
	TakenClaim  = "claim"
)

// What takeover-under-a may be.
const (
	TakeoverRefuse = "refuse"
	TakeoverAllow  = "allow"
)

// What failback may be.
const (
	FailBackManual = "manual"
	FailBackAuto   = "auto"
)

// Frontends lists what a volume's frontend may be.
func Frontends() []string {
	return []string{FrontendAuto, FrontendUblk, FrontendNBD, FrontendFuseLoop, FrontendNBDSocket}
}

// Mount says where the volume's file system goes; an empty Path mounts nothing.
type Mount struct {
	Path        string   `mapstructure:"path"`
	Type        string   `mapstructure:"type"`
	Options     []string `mapstructure:"options"`
	Fsck        string   `mapstructure:"fsck"`          // "journal", "full" or "never"
	FormatIfNew bool     `mapstructure:"format-if-new"` // only in a volume's first reign
	Grow        bool     `mapstructure:"grow"`          // with the volume
}

// Address is one VIP.
type Address struct {
	Address   string `mapstructure:"address"` // IPv4 or IPv6, no prefix length
	Interface string `mapstructure:"interface"`
	IfTaken   string `mapstructure:"if-taken"` // one of TakenRefuse and TakenClaim
}

// Path returns the file this configuration was read from.
func (c *Config) Path() string { return c.path }

// SelfIndex returns this box's number among the data nodes, 0 or 1, and -1 on
// any other box.
func (c *Config) SelfIndex() int { return c.NodeIndex(c.Node) }

// NodeIndex returns the number of the data node called name, or -1.
func (c *Config) NodeIndex(name string) int {
	for i := range c.Nodes {
		if c.Nodes[i].Name == name {
			return i
		}
	}
	return -1
}

// Self returns this box's entry, or nil when it is not a data node.
func (c *Config) Self() *Node {
	if i := c.SelfIndex(); i >= 0 {
		return &c.Nodes[i]
	}
	return nil
}

// Peer returns the other data node's entry, or nil when this box is not a data node.
func (c *Config) Peer() *Node {
	if i := c.SelfIndex(); i >= 0 && len(c.Nodes) == 2 {
		return &c.Nodes[1-i]
	}
	return nil
}

// HasWitness reports whether a box that runs `gemel witness` is configured.
func (c *Config) HasWitness() bool { return c.Witness.Address != "" }

// IsWitness reports whether this box is the witness.
func (c *Config) IsWitness() bool { return c.HasWitness() && c.Node == c.Witness.Name }

// NodeNames returns the names of the data nodes in the order of their numbers.
func (c *Config) NodeNames() []string {
	names := make([]string, len(c.Nodes))
	for i := range c.Nodes {
		names[i] = c.Nodes[i].Name
	}
	return names
}

// LinkNames returns the names of the links, most private first.
func (c *Config) LinkNames() []string {
	if len(c.Nodes) == 0 {
		return nil
	}
	names := make([]string, len(c.Nodes[0].Links))
	for i, l := range c.Nodes[0].Links {
		names[i] = l.Name
	}
	return names
}

// ReplicationLinks returns the names of the links that carry block data, in
// the order to try them: all links unless replication.links says otherwise.
func (c *Config) ReplicationLinks() []string {
	if len(c.Replication.Links) > 0 {
		return c.Replication.Links
	}
	return c.LinkNames()
}

// Link returns the node's link called name, or nil.
func (n *Node) Link(name string) *Link {
	for i := range n.Links {
		if n.Links[i].Name == name {
			return &n.Links[i]
		}
	}
	return nil
}

// Volume returns the volume called name, or nil.
func (c *Config) Volume(name string) *Volume {
	for i := range c.Volumes {
		if c.Volumes[i].Name == name {
			return &c.Volumes[i]
		}
	}
	return nil
}

// MaxRate returns the limit of a resync in bytes per second; 0 means none.
func (r Replication) MaxRate() int64 {
	n, err := ParseSize(r.ResyncMaxRate)
	if err != nil {
		return 0 // Load refused anything that does not parse
	}
	return n
}

// Fill returns in bytes how much may be on its way to the peer under protocol A.
func (v *Volume) Fill() int64 {
	n, err := ParseSize(v.CongestionFill)
	if err != nil {
		return 0 // Load refused anything that does not parse
	}
	return n
}

// SizeFile is where the size of a volume's backing device is noted, in the state
// directory.
func (c *Config) SizeFile(volume string) string { return filepath.Join(c.StateDir, "sizes", volume) }

// AgentSocket is the unix socket of this box's agent.
func (c *Config) AgentSocket() string { return filepath.Join(c.RunDir, "agent.sock") }

// ReplicatorSocket is the unix socket of this box's replicator.
func (c *Config) ReplicatorSocket() string { return filepath.Join(c.RunDir, "replicator.sock") }

// WitnessSocket is the unix socket of this box's witness.
func (c *Config) WitnessSocket() string { return filepath.Join(c.RunDir, "witness.sock") }
