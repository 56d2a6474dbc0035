package failover

import (
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover/reign"
)

// How long the machine waits before it tries things again. None of these is a
// safety bound: safety comes from the voters.
const (
	holdOffAfterLetGo  = 5 * time.Second        // let the peer go first after an involuntary loss
	holdOffAfterLeave  = 5 * time.Second        // the peer was asked to take over
	settle             = 300 * time.Millisecond // peer alive but not Primary: let its next beats arrive
	secondChance       = 2 * time.Second        // the higher node waits so much longer
	askAgain           = 100 * time.Millisecond // between repeated questions to the voters
	outdatedAgain      = 2 * time.Second        // between campaigns of a node that is not in the set
	handOverValid      = 10 * time.Second
	switchoverPatience = 20 * time.Second
	grabPatience       = 2 * time.Second
	failedPatience     = 15 * time.Second // a failed take-over waits so long for the peer to be in sync
	grabLeap           = 1000             // epochs: a reign by an operator's word outranks all that may be on its way
)

// Machine decides for one volume on one node. It is not safe for concurrent
// use: its owner feeds it one event at a time.
type Machine struct {
	cfg     Config
	now     time.Duration
	out     []Action
	started bool
	start   time.Duration

	det         detector
	peer        PeerReport
	peerIdle    time.Duration // since when the living peer is not Primary; zero: not known
	replica     ReplicaReport
	replicaSeen bool
	replicaDown string
	addressNIC  bool
	nicDownAt   time.Duration

	ballots [3]string // by voter: its answer in this campaign, in words

	prop  reign.Proposer
	lease reign.Lease

	role     Role
	ended    arbiter.Epoch // newest reign that this machine ended
	course   course
	refusal  string
	failures int // courses failed in a row, for the back-off

	handOver     arbiter.Epoch // peer's word; zero: none
	handOverTill time.Duration
	notBefore    time.Duration // no campaign before this
	nextAsk      time.Duration
	nextRenew    time.Duration
	told         arbiter.Accepted // last chosen set given to the replica
	tellAgain    time.Duration
	forced       bool          // this reign rests on an operator's word
	birth        bool          // this reign is the volume's first
	before       arbiter.Epoch // newest recorded one when this reign was elected
	decideAt     time.Duration // by hand: when missing answers are given up
	stopped      bool          // agent is leaving: no campaigns any more

	survives bool          // the device outlives the replicator, as last reported
	away     time.Duration // since when the replicator of a serving volume is awaited; zero: it is not
	seated   time.Duration // when it last came back; zero: never

	again bool             // a campaign in the place of the reign that goes on
	kept  arbiter.Accepted // set of the reign that goes on meanwhile

	leaveFor  string        // why we leave, in words
	giveToUs  bool          // hand over to the peer at the end of the course
	afterStep string        // error of the step that made us leave; empty for a planned leave
	giveUpAt  time.Duration // with afterStep: when the peer is not waited for any more

	impaired impaired // services that failed
	outOfWay bool     // the peer is, since this reign began

	diskFailed time.Duration // since when this Primary's disk has failed; zero: it has not
	remote     bool          // it goes on through the peer's disk, and history knows
	giveAt     time.Duration // when the hand-over of that is tried next

	wholeSince time.Duration // since when the peer could take the volume; zero: it could not
	returnedAt time.Duration // when the volume was returned by itself; zero: never
	stayHere   bool          // it came back from there: it is not returned again

	mode        Mode
	heldFailure *ServiceFailed // a service's, that waits for the end of the maintenance
	proofTill   time.Duration  // until when the peer is proved to be off; zero: it is not
	shooting    bool
	shotVoid    bool          // the peer was heard since the shot began
	shotAgain   time.Duration // not before this
	shotError   string        // of the last shot; empty: it proved something, or there was none
	thirdUp     bool          // the configuration's third voter answers
	thirdSince  time.Duration // since when it does, or does not
	fenceFit    bool          // a device would cut the peer's power, by the last look
	stands      bool          // fencing is to stand in for the third voter; see standin.go

	order      Order         // operator's order being carried out; ID zero: none
	orderUntil time.Duration // when it is answered with a time-out
}

// New returns a machine in role Secondary that has heard of nothing yet.
func New(cfg Config) *Machine {
	if cfg.WitnessName == "" {
		cfg.Third = arbiter.NoThird
	}
	m := &Machine{cfg: cfg, det: newDetector(cfg), addressNIC: true, prop: reign.New(cfg.Self, cfg.Third)}
	m.newLease()
	return m
}

// Step takes one event at boot time now and returns what must be done. The
// returned slice is the caller's.
func (m *Machine) Step(now time.Duration, ev Event) []Action {
	m.now, m.out = now, nil
	if !m.started {
		m.started, m.start, m.thirdSince = true, now, now
	}
	m.take(ev)
	m.advance()
	return m.out
}

// take records what the event says.
func (m *Machine) take(ev Event) {
	switch e := ev.(type) {
	case Tick:
		m.noteFailures(m.det.tick(m.now, m.cfg.PeerName))
	case Beat:
		m.takeBeat(e)
	case Carrier:
		m.note(m.det.setCarrier(m.now, e.Link, e.Up)...)
	case AddressNIC:
		m.takeAddressNIC(e.Up)
	case Replica:
		m.takeReplica(e.State)
	case ReplicaDown:
		m.takeReplicaDown(e)
	case Prepared:
		m.takePrepared(e)
	case AcceptedBy:
		m.takeAccepted(e)
	case Renewed:
		m.takeRenewed(e)
	case StepDone:
		m.takeStepDone(e)
	case ServiceFailed:
		m.takeServiceFailed(e)
	case HandOver:
		m.takeHandOver(e)
	case Shot:
		m.takeShot(e)
	case Arbiter:
		m.takeArbiter(e)
	case FenceDevice:
		m.fenceFit = e.Fit
	case Order:
		m.takeOrder(e)
	case Mode:
		m.takeMode(e)
	default:
		panic(fmt.Sprintf("failover: unknown event %T", ev))
	}
}

// advance restores what must always hold, whatever the event was.
func (m *Machine) advance() {
	m.checkOrder()
	m.standIn()
	m.prove()
	switch m.role {
	case RoleSecondary:
		if m.resume(); m.role == RoleSecondary {
			m.campaign()
		}
	case RoleCampaigning:
		m.campaigning()
	case RoleTakingOver, RoleServing, RoleLeaving:
		m.keepReign()
	case RoleLettingGo:
	}
	m.runCourse()
}

func (m *Machine) takeBeat(e Beat) {
	m.note(m.det.beat(m.now, e.Link, m.cfg.PeerName)...)
	wasIdle := m.peerIdle != 0 && !m.peer.Primary
	m.peer = e.Peer
	m.peerSpeaks()
	switch {
	case e.Peer.Primary:
		m.peerIdle = 0
	case !wasIdle:
		m.peerIdle = m.now
	}
}

func (m *Machine) takeAddressNIC(up bool) {
	if m.addressNIC && !up {
		m.nicDownAt = m.now
	}
	m.addressNIC = up
}

func (m *Machine) takeReplica(r ReplicaReport) {
	if m.replicaDown != "" {
		m.note(Note{Kind: "replicator.up", Text: "The replicator answers again."})
	}
	m.replica, m.replicaSeen, m.replicaDown = r, true, ""
	m.watchDisk()
	if r.Primary {
		m.survives = r.Survives
	} else {
		m.missReplica() // it came back sooner than it was missed
	}
}

func (m *Machine) takeReplicaDown(e ReplicaDown) {
	if m.replicaDown == "" {
		m.note(Note{Kind: "replicator.down", Text: "The replicator does not answer.", Reason: e.Reason})
		if e.Gone {
			m.missReplica()
		}
	}
	m.replicaDown, m.replicaSeen = e.Reason, false
}

func (m *Machine) takeHandOver(e HandOver) {
	m.handOver, m.handOverTill = e.Epoch, m.now+handOverValid
	if m.failures == 0 { // else two nodes that both fail would toss the volume to and fro
		m.notBefore = 0
	}
	m.note(Note{Kind: "handover.received", Text: m.cfg.PeerName + " let the volume go for this node."})
}

func (m *Machine) do(a ...Action) { m.out = append(m.out, a...) }

func (m *Machine) note(n ...Note) {
	for _, x := range n {
		m.out = append(m.out, x)
	}
}

// noteFailures tells what every link looked like when one fell silent.
func (m *Machine) noteFailures(notes []Note) {
	for _, n := range notes {
		n.Inputs = m.linkInputs()
		if n.Kind == "failure.major" {
			n.Inputs["silent"] = (m.now - m.det.lastSeen).Round(time.Millisecond).String()
		}
		m.note(n)
	}
}

// send turns the proposer's messages into actions.
func (m *Machine) send(msgs []reign.Message) {
	for _, msg := range msgs {
		switch msg.Kind {
		case reign.SendPrepare:
			m.do(SendPrepare{Voter: msg.Voter, Epoch: msg.Epoch, Known: msg.Known})
		case reign.SendAccept:
			m.do(SendAccept{Voter: msg.Voter, Proposal: msg.Proposal})
		}
	}
}

// voters lists everybody who has a vote on this volume.
func (m *Machine) voters() []arbiter.NodeID {
	v := []arbiter.NodeID{m.cfg.Self, m.peerID()}
	if m.prop.CountsThird() {
		v = append(v, arbiter.Witness)
	}
	return v
}

func (m *Machine) peerID() arbiter.NodeID { return 1 - m.cfg.Self }

func (m *Machine) voterName(v arbiter.NodeID) string {
	switch v {
	case m.cfg.Self:
		return m.cfg.SelfName
	case m.peerID():
		return m.cfg.PeerName
	default:
		return m.cfg.WitnessName
	}
}

// setNames puts an in-sync set into words.
func (m *Machine) setNames(s arbiter.Set) string {
	self, peer := s.Has(m.cfg.Self), s.Has(m.peerID())
	switch {
	case self && peer:
		return m.cfg.SelfName + " and " + m.cfg.PeerName
	case self:
		return m.cfg.SelfName + " alone"
	case peer:
		return m.cfg.PeerName + " alone"
	default:
		return "nobody"
	}
}
