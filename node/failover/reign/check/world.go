package check

import (
	"slices"

	"gemel/node/arbiter"
	"gemel/node/failover/reign"
)

// Epochs 2 to 9 and versions 1 to 6 fit into the request bits.
const (
	firstEpoch  = 2
	epochs      = 8
	maxVersions = 6
	sets        = 4 // the owner, both, the peer; both, with another third voter
)

// Registers are the nodes' and two third voters'. A proposer knows only one of the
// latter, see third.
const (
	witness = 2
	another = 3
)

// world is one global state. It is a comparable value.
type world struct {
	regs  [4]arbiter.Register
	props [2]reign.Proposer
	reps  [2]replica
	kept  [2]arbiter.Register // what is on a disk that failed
	link  link

	// Requests ever sent and not yet without effect: the network may deliver
	// each of them at any time and any number of times.
	prepares [4]uint8                      // by voter: bit epoch-firstEpoch
	known    [epochs]arbiter.Accepted      // sent along; only the latest, an older one can but be refused
	accepts  [4][epochs]uint32             // by voter and epoch: see bitOf
	rules    [epochs][maxVersions][2]uint8 // of the proposals in accepts, without and with a change; see codeOf
	// The last reply of each kind on its way, by proposer and voter.
	promises  [2][3]promise
	recorded  [2][3]recorded
	writes    uint8            // how many were issued
	acked     uint8            // bits of the writes the application was told are safe
	best      arbiter.Accepted // the newest set a proposer ever knew to be chosen
	offered   arbiter.Accepted // the newest set of both that any voter ever recorded
	spent     spent
	violation uint8 // of the real code's own assertions

	off      [2]bool  // the box has no power
	versions uint32   // bound of an epoch's
	third    [2]uint8 // register that the node asks as its third voter; zero: none
	lies     bool     // a shot does nothing, and is proved all the same
	later    bool     // node 1's configuration is still the old one
}

// replica is the model of a node's data plane; data survives a crash.
type replica struct {
	data   uint8         // bits of the writes on its disk
	reign  arbiter.Epoch // as Primary; zero: Secondary
	chosen arbiter.Accepted
	open   arbiter.Set // union of the sets its register recorded since chosen
	ready  bool        // the peer holds all, and completions wait for it
	flying uint8       // issued here, not complete
	onPeer uint8       // the peer said it has them
	dead   bool        // its disk failed: nothing is kept any more
}

// link is the replication connection; it dies with either end.
type link struct {
	up       bool
	source   arbiter.NodeID
	epoch    arbiter.Epoch
	resynced bool
	sent     uint8 // writes on their way
	acks     uint8 // acknowledgements on their way
}

type promise struct {
	epoch  arbiter.Epoch // zero: none
	ok     bool
	record arbiter.Record
}

type recorded struct {
	proposal arbiter.Accepted // version zero: none
	ok       bool
	volatile bool
	record   arbiter.Record
}

type spent struct{ campaigns, changes, cuts, restarts, crashes, losses, disks, shots, requests, powers uint8 }

// start is the first state of a run.
func (s *search) start() world {
	w := world{third: [2]uint8{witness, witness}, lies: s.bounds.Lies, versions: 4}
	if a := s.bounds.Arbiter; a == Never || a == Taken {
		w.third = [2]uint8{}
	}
	for n := range w.props {
		w.props[n] = reign.New(arbiter.NodeID(n), w.identity(n))
	}
	for v := range w.regs {
		w.regs[v].Record.Fresh = true
	}
	if s.bounds.From != Birth {
		w.settle(step{kind: campaign})
		w.settle(step{kind: promote})
	}
	if s.bounds.From == Pair {
		for _, k := range []kind{connect, resync, becomeReady, grow, tell} {
			w.settle(step{kind: k})
		}
	}
	w.prepare(s.bounds.Arbiter)
	w.spent, w.prepares, w.accepts, w.rules = spent{}, [4]uint8{}, [4][epochs]uint32{}, [epochs][maxVersions][2]uint8{}
	return w
}

// prepare gives node 0 its new configuration.
func (w *world) prepare(a Arbiters) {
	switch a {
	case Dropped:
		w.configure(0, 0)
	case Taken:
		w.configure(0, witness)
	case Other:
		w.configure(0, another)
	case Retaken:
		for n := range uint8(2) {
			w.configure(n, 0)
		}
		w.settle(step{kind: changeRule})
		w.settle(step{kind: tell})
		w.configure(0, witness)
	}
	if w.later = a > Never; w.later {
		w.versions = maxVersions
	}
}

// configure restarts the agent of n with another third voter.
func (w *world) configure(n, third uint8) {
	w.third[n] = third
	w.settle(step{kind: restartAgent, n: n})
}

// identity is what n's configuration calls the third voter.
func (w *world) identity(n int) arbiter.Third {
	switch w.third[n] {
	case witness:
		return 0
	case another:
		return 1
	}
	return arbiter.NoThird
}

// register is the register that node n means by voter.
func (w *world) register(n, voter arbiter.NodeID) arbiter.NodeID {
	if voter == arbiter.Witness {
		return arbiter.NodeID(w.third[n])
	}
	return voter
}

// settle takes a step and delivers everything that follows from it. Eight
// rounds are more than any step needs.
func (w *world) settle(st step) {
	w.take(st, None)
	for range 8 {
		for _, next := range w.deliveries() {
			w.take(next, None)
		}
		w.tidy()
	}
	w.promises, w.recorded = [2][3]promise{}, [2][3]recorded{}
}

// send puts a proposer's messages on the network.
func (w *world) send(n arbiter.NodeID, messages []reign.Message, mutant Mutant) {
	for _, m := range messages {
		switch m.Kind {
		case reign.SendPrepare:
			w.prepares[w.register(n, m.Voter)] |= 1 << (m.Epoch - firstEpoch)
			w.known[m.Epoch-firstEpoch] = m.Known
		case reign.SendAccept:
			w.request(w.register(n, m.Voter), m.Proposal)
			if mutant == OthersFirst && m.Voter == n {
				w.request(1-n, m.Proposal)
				w.request(arbiter.Witness, m.Proposal)
			}
		}
	}
}

func (w *world) request(voter arbiter.NodeID, p arbiter.Accepted) {
	w.accepts[voter][p.Epoch-firstEpoch] |= 1 << w.bitOf(p)
}

// bitOf is the bit of a request: (version-1)*4, plus 1 for both, 2 for the peer, 3
// for both with a change of the rule.
func (w *world) bitOf(p arbiter.Accepted) uint8 {
	bit, changes := uint8(p.Version-1)*sets, uint8(0)
	switch {
	case p.Set == arbiter.Only(1-p.Epoch.Owner()):
		bit += 2
	case p.Set == arbiter.Both && w.changes(p):
		bit, changes = bit+3, 1
	case p.Set == arbiter.Both:
		bit++
	}
	w.rules[p.Epoch-firstEpoch][p.Version-1][changes] = codeOf(p.Rule)
	return bit
}

// changes reports whether p is a change of the third voter.
func (w *world) changes(p arbiter.Accepted) bool {
	return p.Version > 1 && w.props[p.Epoch.Owner()].Rule() != p.Rule
}

func (w *world) proposalOf(epoch arbiter.Epoch, bit uint8) arbiter.Accepted {
	p := arbiter.Accepted{Epoch: epoch, Version: uint32(bit/sets) + 1, Set: arbiter.Only(epoch.Owner())}
	rules := &w.rules[epoch-firstEpoch][p.Version-1]
	p.Rule = ruleOf(rules[0])
	switch bit % sets {
	case 1:
		p.Set = arbiter.Both
	case 2:
		p.Set = arbiter.Only(1 - epoch.Owner())
	case 3:
		p.Set, p.Rule = arbiter.Both, ruleOf(rules[1])
	}
	return p
}

// thirds are the identities in use; a rule's code is made of its place here and of
// its number.
var thirds = [...]arbiter.Third{0, 1, arbiter.NoThird}

func codeOf(r arbiter.Rule) uint8 {
	return 1 + uint8(r.Change)*uint8(len(thirds)) + uint8(slices.Index(thirds[:], r.Third))
}

func ruleOf(code uint8) arbiter.Rule {
	code--
	return arbiter.Rule{Change: uint32(code) / uint32(len(thirds)), Third: thirds[code%uint8(len(thirds))]}
}

// tidy forgets messages that can have no effect any more, so that states which
// differ only in them count as one.
func (w *world) tidy() {
	if l := w.link; l.up && w.regs[1-l.source].Record.Promised > l.epoch {
		w.link.sent = 0 // the peer refuses them
	}
	for v := range w.regs {
		w.tidyRequests(v)
	}
	for n := range w.props {
		for v := range arbiter.NodeID(3) {
			w.tidyReplies(n, v)
		}
	}
	w.tidyRules()
}

// tidyRules forgets the rules of requests that are not on their way any more.
func (w *world) tidyRules() {
	for e := range w.rules {
		all := uint32(0)
		for v := range w.accepts {
			all |= w.accepts[v][e]
		}
		for v := range w.rules[e] {
			bits := all >> (v * sets) & (1<<sets - 1)
			if bits&^8 == 0 {
				w.rules[e][v][0] = 0
			}
			if bits&8 == 0 {
				w.rules[e][v][1] = 0
			}
		}
	}
}

// tidyReplies drops a reply that the proposer would ignore.
func (w *world) tidyReplies(n int, v arbiter.NodeID) {
	before := w.props[n]
	if m := w.promises[n][v]; m.epoch != 0 {
		p := before
		p.Promise(v, m.epoch, arbiter.PrepareReply{OK: m.ok, Record: m.record})
		if p == before {
			w.promises[n][v] = promise{}
		}
	}
	if m := w.recorded[n][v]; m.proposal.Version != 0 {
		p := before
		p.Accepted(v, m.proposal, arbiter.AcceptReply{OK: m.ok, Record: m.record, Volatile: m.volatile})
		if p == before {
			w.recorded[n][v] = recorded{}
		}
	}
}

func (w *world) tidyRequests(v int) {
	record := w.regs[v].Record
	for i := range epochs {
		epoch := arbiter.Epoch(i + firstEpoch)
		current := w.props[epoch.Owner()].Epoch() == epoch
		if current || epoch > record.Promised {
			continue
		}
		w.prepares[v] &^= 1 << i
		if epoch < record.Promised || epoch < record.Accepted.Epoch {
			w.accepts[v][i] = 0
		}
	}
}

// broken names the invariant that does not hold.
func (w *world) broken() string {
	if w.violation != 0 {
		return [...]string{
			"", "a register was asked to record two sets under one epoch and version",
			"a node was elected that the newest in-sync set does not hold",
			"a set of an old epoch was chosen although a node outside it reigns",
		}[w.violation]
	}
	for n := range arbiter.NodeID(2) {
		if w.best.Set.Has(n) && w.acked&^w.reps[n].data != 0 {
			return "an acknowledged write is missing on a member of the newest in-sync set"
		}
	}
	for a := range w.regs {
		for b := range a {
			x, y := w.regs[a].Record.Accepted, w.regs[b].Record.Accepted
			if x.Epoch == y.Epoch && x.Version == y.Version && (x.Set != y.Set || x.Rule != y.Rule) {
				return "two voters recorded different sets under one epoch and version"
			}
		}
	}
	return ""
}
