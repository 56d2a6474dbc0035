package core

import (
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/activity"
	"gemel/node/replicator/handshake"
)

var (
	simSeeds = flag.Int("sim.seeds", 200, "seeds of the two-node simulation")
	simFirst = flag.Int64("sim.first", 1, "first seed")
)

const (
	simBlocks = 192
	simTerm   = 150 * time.Millisecond // of a lease
)

// simDisk is a disk with a volatile cache; a block's content is the number of
// the write that made it, which stands for zeroes where that was an Erase.
type simDisk struct{ visible, stable [simBlocks]uint64 }

type simOp struct {
	a       Action
	writing *simMeta // what a metadata write that has begun puts on the disk
}

type simNode struct {
	id       arbiter.NodeID
	up       bool
	core     *Core
	disk     simDisk
	meta     Meta
	words    []uint64
	ring     []byte // of the activity log
	slots    int
	reg      arbiter.Register
	ops      []simOp
	payload  map[ID][]uint64
	ahead    map[ID]*simWrite // completed and not acknowledged by the peer
	requests map[ID]int       // open writes and flushes → index in the truth
	boots    int
	broken   bool            // the disk, until a restart
	bad      [simBlocks]bool // cannot be read until they are written

	theirs map[ID][]uint64 // what the peer answered about a piece

	record *arbiter.Record // with a disk that failed: what it keeps of the register
	floors map[ID][]int    // of reads that the peer may answer: the newest write they must see

	room, sized int // blocks of the device, and of the volume as last seen
}

type simMsg struct {
	m       Msg
	data    []uint64
	session uint64
}

type simWrite struct {
	r      block.Range
	node   arbiter.NodeID
	flush  bool
	fua    bool
	read   bool
	acked  bool
	lost   bool // power failed somewhere after it was acknowledged and before a flush
	stable bool
	before int            // of completed ones: how many requests were submitted before that
	under  block.Protocol // weaker than C: it completed before the peer wrote it
	boots  int            // of the peer, at that time
	covers []int          // flush: writes answered before it was submitted
}

type sim struct {
	t        *testing.T
	rng      *rand.Rand
	now      time.Duration
	nodes    [2]*simNode
	witness  arbiter.Register
	wire     [2][]simMsg // to node i
	late     [2][]simMsg // of connections that are gone, to node i
	session  uint64
	linked   bool
	cable    bool
	truth    []*simWrite
	trace    []string
	synced   int
	elected  int
	maxEp    arbiter.Epoch
	served   [2]arbiter.Epoch // newest reign in which node i answered a write
	refused  int              // late messages of an old reign
	held     int              // steps in which the lease had run out
	calm     bool             // nothing breaks any more
	broken   int              // disks that failed
	mended   int              // reads answered by the peer and written anew
	passedOn int              // writes that failed and were passed on
	remote   int              // looks at a Primary that goes on through its peer
	omitted  int              // blocks that a resync could not read
	kept     int              // undo files written
	split    *splitter        // nil: the voters are obeyed
	noPower  bool             // crashes keep what the disk cached
	protocol block.Protocol   // of the configuration
	steady   bool             // the protocol stays, nobody takes over by design
	fair     bool             // cables are seldom pulled: the pair is mostly in sync
	fill     int64            // of the configuration
	ahead    bool             // on congestion pull ahead
	pulled   int              // times that was done
	slow     bool             // messages are long on their way
	early    int              // writes that completed before the peer had them
	shorn    int              // of those: lost by a take-over

	verifies, same int // verifies that ended; bytes that did not have to be sent
	logged         int // transactions of the activity log
	paged          int // saves of pages of the bitmap
	crashed        int // Primaries that crashed
	asked          int // times that a Primary was asked to grow, and began
	enlarged       int // times that a node took a larger size
}

func newSim(t *testing.T, seed int64) *sim { return newSimOf(t, seed, simBlocks) }

// newSimOf makes a pair whose devices have room for so many blocks at first.
func newSimOf(t *testing.T, seed int64, room int) *sim {
	s := &sim{t: t, rng: rand.New(rand.NewSource(seed)), cable: true, now: time.Second}
	s.protocol, s.fair = block.Protocol(s.rng.Intn(3)), s.rng.Intn(2) == 0
	s.slow = s.rng.Intn(2) == 0
	s.fill, s.ahead = int64(8+s.rng.Intn(40))*block.Size, s.rng.Intn(2) == 0
	s.witness.Record.Fresh = true
	for i := range s.nodes {
		n := &simNode{id: arbiter.NodeID(i), meta: Meta{Created: true, Inconsistent: true}, words: make([]uint64, simBlocks/64),
			slots: 4 + s.rng.Intn(6), ring: make([]byte, (2+s.rng.Intn(3))*activity.BlockSize)}
		n.reg.Record.Fresh, n.room = true, room
		n.rubbish()
		s.nodes[i] = n
		s.boot(n)
	}
	return s
}

func (s *sim) logf(format string, args ...any) {
	if len(s.trace) > 400 {
		s.trace = s.trace[200:]
	}
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

func (s *sim) failf(format string, args ...any) {
	for _, l := range s.trace {
		s.t.Log(l)
	}
	s.t.Fatalf(format, args...)
}

func (s *sim) boot(n *simNode) {
	n.boots++
	s.split.booted(n)
	n.up = true
	n.reg = arbiter.Boot(n.reg.Record, s.now, simTerm)
	n.payload, n.requests, n.ops = map[ID][]uint64{}, map[ID]int{}, nil
	n.ahead, n.theirs = map[ID]*simWrite{}, map[ID][]uint64{}
	n.record, n.floors = nil, map[ID][]int{}
	n.core = New(Config{Self: n.id, Usable: int64(n.room) * block.Size, WriteTimeout: 0, BarrierAfter: 50 * time.Millisecond,
		Extent: 16 * block.Size, Protocol: s.protocol, Fill: s.fill, PullAhead: s.ahead, PullAfter: 15 * time.Millisecond, Checksums: Checksums(s.rng.Intn(3)), OnError: OnError(s.rng.Intn(3)), Seed: uint64(s.rng.Int63()), Log: s.readLog(n), LogSlots: n.slots,
		LogExtent: simLogExtent, LogIdle: time.Duration(1+s.rng.Intn(200)) * time.Millisecond, PageWords: 1}, n.meta, append([]uint64(nil), n.words...), n.reg.Record)
	s.do(n)
	s.logf("boot %d %+v", n.id, n.core.Hello())
}

// do carries out what can be done at once and queues the rest.
func (s *sim) do(n *simNode) {
	var compares []Action
	for _, a := range append([]Action(nil), n.core.Take()...) {
		switch a.Kind {
		case Compare:
			compares = append(compares, a)
		case Write, Read, Sync, Persist, SaveBitmap, SaveUndo, Digest, ReadDigest, Log, SavePages, Measure, Blank:
			n.ops = append(n.ops, simOp{a: a})
		case Send:
			s.logf("%d sends %d id %x %v", n.id, a.Msg.Kind, a.Msg.ID, a.Msg.Range)
			m := simMsg{m: a.Msg, session: s.session}
			if a.Msg.Payload != 0 {
				m.data = append([]uint64(nil), n.payload[a.Msg.Payload][a.Msg.At/block.Size:]...)
			}
			if s.linked {
				s.wire[1-n.id] = append(s.wire[1-n.id], m)
			}
		case Complete:
			s.completed(n, a)
		case Drop:
			s.logf("%d drops: %v", n.id, a.Err)
			if errors.Is(a.Err, errCongested) {
				s.pulled++
			}
			s.cut()
		}
	}
	s.compareSums(n, compares)
}

func (s *sim) completed(n *simNode, a Action) {
	i, ok := n.requests[a.ID]
	if !ok {
		s.failf("completion of unknown request %x", a.ID)
	}
	delete(n.requests, a.ID)
	w := s.truth[i]
	s.logf("%d completes %d: %v", n.id, i, a.Err)
	s.sawAll(n, a)
	if a.Err != nil {
		return
	}
	w.acked, w.stable = true, w.fua
	if s.split != nil {
		return
	}
	s.answered(n, a.ID, w)
	// The other may have been elected since; then it must not have answered yet.
	if e := n.core.reign; s.served[1-n.id] > e {
		s.failf("node %d answered request %d in epoch %d after node %d answered a write in epoch %d", n.id, i, e, 1-n.id, s.served[1-n.id])
	} else if !w.flush && !w.read {
		s.served[n.id] = e
	}
	if w.flush {
		for _, j := range w.covers {
			if !s.truth[j].lost {
				s.truth[j].stable = true
			}
		}
	}
}

// cut ends the connection; both sides learn it, in either order.
func (s *sim) cut() {
	if !s.linked {
		return
	}
	s.linked = false
	for i := range s.wire {
		s.late[i] = append(s.late[i], s.wire[i]...)
		s.late[i] = s.late[i][max(0, len(s.late[i])-50):]
		s.wire[i] = nil
	}
	old := s.session
	for _, i := range s.rng.Perm(2) {
		if n := s.nodes[i]; n.up {
			n.core.ConnDown(s.now, old)
			s.do(n)
		}
	}
}

func (s *sim) connect() {
	a, b := s.nodes[0], s.nodes[1]
	if s.linked || !s.cable || !a.up || !b.up || a.core.Problem() != nil || b.core.Problem() != nil || !a.core.Quiet() || !b.core.Quiet() {
		return
	}
	for i, n := range s.nodes {
		o := s.nodes[1-i]
		if o.core.primary && o.core.reign > n.reg.Record.Promised && !n.core.primary {
			n.reg.Raise(o.core.reign)
			n.core.Accepted(s.now, n.reg.Record)
			s.do(n)
		}
	}
	for i, n := range s.nodes {
		if o := s.nodes[1-i]; n.core.primary && o.reg.Record.Promised > n.core.reign {
			s.maxEp = max(s.maxEp, o.reg.Record.Promised)
			s.campaign(n) // the peer promised itself something meanwhile
			return
		}
	}
	ha, hb := a.core.Hello(), b.core.Hello()
	va := handshake.Decide(ha, hb)
	if va.Kind == handshake.Refuse {
		if s.split != nil {
			s.split.refused(va)
		} else if !va.Retry {
			s.failf("refused: %v\n%+v\n%+v", va, ha, hb)
		}
		return
	}
	if s.split != nil {
		s.split.before(a, b, va)
	}
	s.session++
	s.linked = true
	s.logf("connect session %d %v\n  %+v\n  %+v", s.session, va, ha, hb)
	for i, n := range s.nodes {
		mine, theirs := ha, hb
		if i == 1 {
			mine, theirs = hb, ha
		}
		if !s.linked {
			return
		}
		if err := n.core.ConnUp(s.now, s.session, mine, theirs); err != nil {
			s.logf("%d: %v", n.id, err)
			s.cut()
			return
		}
		s.do(n)
	}
}

func (s *sim) runOp(n *simNode, i int) {
	op := n.ops[i]
	if op.a.Kind == Blank && !s.calm && s.rng.Intn(30) != 0 {
		return // it takes long
	}
	if s.beginMeta(n, i) {
		return
	}
	n.ops = append(n.ops[:i], n.ops[i+1:]...)
	a := op.a
	first, count := int(a.Range.Off/block.Size), int(a.Range.Len/block.Size)
	if s.diskFails(n, a) || s.metaFails(n, a) {
		return
	}
	switch op.a.Kind {
	case Write:
		s.mendedRight(n, a)
		clear(n.bad[first : first+count])
		copy(n.disk.visible[first:first+count], n.payload[a.ID])
		if a.FUA {
			copy(n.disk.stable[first:first+count], n.payload[a.ID])
		}
		s.split.wrote(n, a.ID)
		n.core.LocalDone(s.now, a.ID, nil)
	case Read, Digest, ReadDigest: // a block's content is its sum
		n.payload[a.ID] = append([]uint64(nil), n.disk.visible[first:first+count]...)
		n.core.LocalDone(s.now, a.ID, nil)
	case Sync:
		n.disk.stable = n.disk.visible
		n.core.SyncDone(s.now, nil)
	case Persist:
		m, v := n.core.Meta()
		n.meta = m
		n.core.Persisted(s.now, v, nil)
	case SaveBitmap:
		op.writing.store(n)
		n.core.BitmapSaved(nil)
	case SaveUndo:
		s.saveUndo(n, a)
	case SavePages:
		op.writing.store(n)
		n.core.PagesSaved(s.now, nil)
	case Log:
		op.writing.store(n)
		n.core.Logged(s.now, nil)
	case Measure:
		n.core.Measured(a.Version, int64(n.room)*block.Size)
	case Blank:
		s.blank(n, a)
	}
	s.do(n)
}

func (s *sim) deliver(n *simNode) {
	q := s.wire[n.id]
	if len(q) == 0 || !n.up {
		return
	}
	m := q[0]
	s.wire[n.id] = q[1:]
	s.arrived(n, m.m)
	s.receive(n, m.session, m)
}

// overdue delivers a message of an old reign as if its connection had survived
// the election.
func (s *sim) overdue(n *simNode) {
	if len(s.late[n.id]) == 0 || !n.up || !s.linked {
		return
	}
	i := s.rng.Intn(len(s.late[n.id]))
	m := s.late[n.id][i]
	if m.m.Epoch == 0 || m.m.Epoch >= n.core.served() {
		return
	}
	s.late[n.id] = append(s.late[n.id][:i], s.late[n.id][i+1:]...)
	s.refused++
	s.logf("late message %d of epoch %d to %d", m.m.Kind, m.m.Epoch, n.id)
	s.receive(n, s.session, m)
}

// crash kills the replicator; power also drops what was not synced.
func (s *sim) crash(n *simNode, power bool) {
	power = power && !s.noPower
	s.logf("crash %d power %v", n.id, power)
	if n.core.primary {
		s.crashed++
	}
	for _, op := range n.ops {
		if op.writing != nil {
			op.writing.tear(s, n, power)
		}
		if op.a.Kind == Write && s.rng.Intn(2) == 0 {
			first := int(op.a.Range.Off / block.Size)
			for i, v := range n.payload[op.a.ID] {
				if s.rng.Intn(4) != 0 { // torn
					n.disk.visible[first+i] = v
				}
			}
		}
	}
	if power {
		for i := range n.disk.visible {
			if s.rng.Intn(2) == 0 {
				n.disk.visible[i] = n.disk.stable[i]
			}
		}
		n.disk.stable = n.disk.visible
		for _, w := range s.truth {
			if !w.stable { // under way, the peer may have lost what it has told to hold
				w.lost = true
			}
		}
		s.losePromised(s.nodes[1-n.id])
	}
	n.up, n.core = false, nil
	if n.record != nil {
		n.reg.Record = *n.record // the disk comes back as it was
	}
	s.cut()
}

func (s *sim) step(calm bool) {
	s.now, s.calm = s.now+time.Duration(s.rng.Intn(3))*time.Millisecond, calm
	n := s.nodes[s.rng.Intn(2)]
	s.tend(n)
	k := s.rng.Intn(1000)
	if s.becalmed(k, calm) {
		return
	}
	switch {
	case k < 350:
		s.deliver(n)
	case k < 650:
		if n.up && len(n.ops) > 0 {
			s.runOp(n, s.rng.Intn(len(n.ops)))
		}
	case k < 760:
		if n.up && !calm {
			if s.rng.Intn(12) == 0 {
				s.grow(n)
			}
			if s.rng.Intn(40) == 0 {
				_, _ = n.core.Outdate(s.rng.Intn(3) == 0) // an operator's word, which may be refused
				s.do(n)
			}
			if s.submit(n, k > 745); k < 670 {
				s.read(n)
			} else if k < 680 {
				s.badRead(n)
			}
		}
	case k < 840:
		if n.up {
			if s.rng.Intn(4) == 0 {
				n.core.pages.due = 0 // ten seconds are long here
			}
			n.core.Tick(s.now)
			s.do(n)
		}
	case k < 920:
		if n.up && n.core.Problem() != nil {
			s.failed(n)
		} else {
			s.agent(n)
		}
	case k < 960:
		s.connect()
	case k < 975:
		if n.up && n.core.primary {
			return
		}
		if !n.up {
			s.boot(n)
		} else if p := s.nodes[1-n.id]; calm && !(p.up && p.core.primary) || !calm && s.rng.Intn(6) == 0 {
			s.campaign(n)
		}
	case k < 978:
		s.overdue(n)
	case k < 981:
		s.operate(n)
	case calm:
		s.cable = true
	case k < 985:
		s.cable = !s.cable || s.rng.Intn(2) == 0
		if !s.cable {
			s.cut()
		}
	case k < 988:
		s.cut()
	case k < 992:
		if s.rng.Intn(12) == 0 { // the room's power
			for _, n := range s.nodes {
				if n.up {
					s.crash(n, true)
				}
			}
			return
		}
		if n.up && s.rng.Intn(3) == 0 {
			s.crash(n, s.rng.Intn(2) == 0)
		}
	case k < 993:
		s.discard(n)
	case k < 996:
		if n.up && s.rng.Intn(3) == 0 {
			s.switchProtocol(n)
		}
	case k < 999:
		s.disaster(n)
	default:
		if n.up && n.core.primary && len(n.requests) == 0 && s.rng.Intn(2) == 0 {
			n.core.Demote(s.now) // after everything was answered; unflushed writes stay marked
			s.do(n)
		}
	}
	s.compare()
	s.grown()
	s.noFalseAlarm()
}

func TestSimulation(t *testing.T) {
	var writes, acked, elected, synced, refused, held, broken, passed, remote, omitted, mended, early, shorn, verifies, same, logged, paged, crashed, pulled, asked, enlarged int
	for i := range *simSeeds {
		seed := *simFirst + int64(i)
		s := newSimOf(t, seed, smallRoom(seed))
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s.t = t
			for range 3 {
				for range 2500 {
					s.step(false)
				}
				s.converge()
			}
		})
		for _, w := range s.truth {
			writes++
			if w.acked {
				acked++
			}
		}
		elected += s.elected
		synced += s.synced
		refused += s.refused
		held += s.held
		broken += s.broken
		omitted += s.omitted
		remote += s.remote
		passed += s.passedOn
		mended += s.mended
		early += s.early
		shorn += s.shorn
		pulled += s.pulled
		asked, enlarged = asked+s.asked, enlarged+s.enlarged
		verifies, same = verifies+s.verifies, same+s.same
		logged += s.logged
		paged += s.paged
		crashed += s.crashed
		if t.Failed() {
			return
		}
	}
	t.Logf("%d requests, %d answered, %d reigns, %d comparisons of replicas, %d late messages refused, %d times without a lease, "+
		"%d disk failures, %d writes that failed and were passed on, %d looks at a Primary without a disk, %d times blocks left out of a resync, %d reads mended, %d writes completed before the peer had them, %d of them lost in a take-over, "+
		"%d crashes of a Primary, %d transactions of its log, %d saves of pages, %d times pulled ahead",
		writes, acked, elected, synced, refused, held, broken, passed, remote, omitted, mended, early, shorn, crashed, logged, paged, pulled)
	t.Logf("%d growths begun, %d times a node took a larger size", asked, enlarged)
	t.Logf("%d verifies to the end, %d bytes found equal by checksums", verifies, same)
}
