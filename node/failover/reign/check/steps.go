package check

import (
	"fmt"

	"gemel/node/arbiter"
	"gemel/node/failover/reign"
)

// step is one thing that happens. n is the node it happens at (for requests:
// the voter), a and b are arguments by kind.
type step struct {
	kind    kind
	n, a, b uint8
}

type kind uint8

const (
	campaign kind = iota + 1
	again
	shrink
	grow
	hearFresh
	restartAgent
	yield
	changeRule
	assure
	shoot
	askReboot // a: 0, the peer does; 1, it says so and goes on
	letGo

	deliverPrepare // a: epoch bit
	deliverAccept  // a: epoch bit, b: proposal bit
	deliverPromise // a: voter
	deliverRecorded

	promote
	tell
	write
	complete // a: write bit
	connect
	resync
	becomeReady
	deliverWrite // a: write bit
	deliverAck
	cut
	crash
	failDisk
	loseWitness
	cutPower
	switchOn
)

// steps lists what may happen next.
func (w *world) steps(b Bounds, mutant Mutant) []step {
	out := w.deliveries()
	for n := range uint8(2) {
		if w.off[n] {
			out = append(out, step{kind: switchOn, n: n})
			continue
		}
		out = append(out, w.agentSteps(n, b, mutant)...)
		out = append(out, w.replicaSteps(n, b, mutant)...)
		if w.spent.powers < b.PowerCut {
			out = append(out, step{kind: cutPower, n: n})
		}
	}
	if w.link.up {
		if !w.link.resynced && !w.reps[w.link.source].dead && w.regs[1-w.link.source].Record.Promised <= w.link.epoch {
			out = append(out, step{kind: resync})
		}
		if w.spent.cuts < b.Cuts {
			out = append(out, step{kind: cut})
		}
	}
	if w.spent.losses < b.WitnessLosses || mutant == WitnessForgets && w.spent.losses == 0 {
		out = append(out, step{kind: loseWitness})
	}
	return out
}

func (w *world) agentSteps(n uint8, b Bounds, mutant Mutant) (out []step) {
	p, r := &w.props[n], &w.reps[n]
	add := func(may bool, k kind) {
		if may {
			out = append(out, step{kind: k, n: n})
		}
	}
	may := w.spent.changes < b.Changes && w.spare(n)
	add(r.reign == 0 && w.spent.campaigns < b.Campaigns && w.nextEpoch(n) < firstEpoch+epochs, campaign)
	add(p.State() != reign.Idle, again)
	add(may && w.wantsShrink(n), shrink)
	add(may && r.dead && w.feeds(n) && w.settledOnBoth(n), yield)
	add(may && r.reign != 0 && !r.dead && (r.ready || mutant == GrowEarly && w.feeds(n)), grow)
	add(w.third[n] != 0 && w.regs[w.third[n]].Record.Fresh && p.State() == reign.Reigning, hearFresh)
	add(w.mayRestart(n, b), restartAgent)
	add(p.Superseded() && p.State() != reign.Idle, letGo)
	add(p.State() == reign.Reigning && w.mayPromote(n), promote)
	add(r.reign != 0 && p.Epoch() == r.reign && p.Chosen().Newer(r.chosen), tell)
	return append(out, w.arbiterSteps(n, b)...)
}

// settledOnBoth reports whether n knows the set of both to be chosen, and wants no other.
func (w *world) settledOnBoth(n uint8) bool {
	return w.props[n].Chosen().Set == arbiter.Both && !w.undecided(n)
}

// mayRestart reports whether n's agent may restart; with a new configuration it may once more.
func (w *world) mayRestart(n uint8, b Bounds) bool {
	return w.spent.restarts < b.AgentRestarts || w.later && n == 1
}

// arbiterSteps are what an agent does about the third voter, or without one.
func (w *world) arbiterSteps(n uint8, b Bounds) (out []step) {
	p := &w.props[n]
	if b.Arbiter > Never && w.spare(n) && w.settledOnBoth(n) && p.Rule().Third != w.identity(int(n)) {
		out = append(out, step{kind: changeRule, n: n})
	}
	if w.mayAssure(n) {
		out = append(out, step{kind: assure, n: n})
	}
	if w.spent.requests < b.Requests && !w.off[1-n] && p.State() != reign.Idle {
		out = append(out, step{kind: askReboot, n: n}, step{kind: askReboot, n: n, a: 1})
	}
	if w.spent.shots < b.Shots && p.Proves() {
		out = append(out, step{kind: shoot, n: n})
	}
	return out
}

func (w *world) replicaSteps(n uint8, b Bounds, mutant Mutant) (out []step) {
	r := &w.reps[n]
	if r.reign == 0 {
		return nil
	}
	if w.writes < b.Writes {
		out = append(out, step{kind: write, n: n})
	}
	for bit := range w.writes {
		if r.flying&(1<<bit) != 0 && w.mayComplete(n, bit, mutant) {
			out = append(out, step{kind: complete, n: n, a: bit})
		}
	}
	if !w.link.up && !r.dead && !w.off[1-n] && w.regs[1-n].Record.Promised <= r.reign {
		out = append(out, step{kind: connect, n: n})
	}
	if w.feeds(n) && w.link.resynced && !r.ready && !r.dead && r.data&^r.onPeer == 0 {
		out = append(out, step{kind: becomeReady, n: n})
	}
	if w.spent.crashes < b.Crashes {
		out = append(out, step{kind: crash, n: n})
	}
	if w.spent.disks < b.DiskFailures && !r.dead {
		out = append(out, step{kind: failDisk, n: n})
	}
	return out
}

// deliveries lists the messages that may arrive.
func (w *world) deliveries() (out []step) {
	for v := range uint8(len(w.regs)) {
		for e := range uint8(epochs) {
			if v < 2 && w.off[v] {
				break
			}
			if w.prepares[v]&(1<<e) != 0 {
				out = append(out, step{deliverPrepare, v, e, 0})
			}
			for bit := range uint8(sets * maxVersions) {
				if w.accepts[v][e]&(1<<bit) != 0 {
					out = append(out, step{deliverAccept, v, e, bit})
				}
			}
		}
		for n := range uint8(2) {
			if v == another {
				break
			}
			if w.promises[n][v].epoch != 0 {
				out = append(out, step{deliverPromise, n, v, 0})
			}
			if w.recorded[n][v].proposal.Version != 0 {
				out = append(out, step{deliverRecorded, n, v, 0})
			}
		}
	}
	for bit := range w.writes {
		peer := 1 - w.link.source
		if w.link.sent&(1<<bit) != 0 && w.regs[peer].Record.Promised <= w.link.epoch {
			out = append(out, step{kind: deliverWrite, a: bit})
		}
		if w.link.acks&(1<<bit) != 0 {
			out = append(out, step{kind: deliverAck, a: bit})
		}
	}
	return out
}

// mayAssure reports whether n's agent, which reigns, has something to tell the
// peer's, or hears of it.
func (w *world) mayAssure(n uint8) bool {
	p := &w.props[n]
	return !w.off[1-n] && w.reps[n].reign != 0 && p.Epoch() == w.reps[n].reign && p.Chosen().Rule.Alone() && p.Chosen().Newer(w.props[1-n].Assured())
}

// feeds reports whether n replicates to its peer now.
func (w *world) feeds(n uint8) bool { return w.link.up && w.link.source == arbiter.NodeID(n) }

func (w *world) waitsFor(n uint8) arbiter.Set {
	r := &w.reps[n]
	set := r.chosen.Set | r.open
	if r.ready {
		set = arbiter.Both
	}
	return set
}

func (w *world) mayComplete(n, bit uint8, mutant Mutant) bool {
	if r := &w.reps[n]; r.dead {
		alone := r.chosen.Set == arbiter.Only(arbiter.NodeID(1-n)) && (r.open|r.chosen.Set) == r.chosen.Set
		return (alone || mutant == AckBeforeYield) && (r.onPeer&(1<<bit) != 0 || mutant == AckUnentrusted)
	}
	return !w.waitsFor(n).Has(arbiter.NodeID(1-n)) || w.reps[n].onPeer&(1<<bit) != 0
}

func (w *world) wantsShrink(n uint8) bool {
	return w.reps[n].reign != 0 && !w.reps[n].dead && !w.feeds(n) && (w.waitsFor(n).Has(arbiter.NodeID(1-n)) || w.undecided(n))
}

func (w *world) undecided(n uint8) bool {
	_, pending := w.props[n].Pending()
	return pending
}

// spare keeps two versions free within the bits: for a lost witness' return.
func (w *world) spare(n uint8) bool {
	pending, _ := w.props[n].Pending()
	return max(pending.Version, w.props[n].Chosen().Version) < w.versions
}

func (w *world) nextEpoch(n uint8) arbiter.Epoch {
	own := w.regs[n].Record
	return max(w.props[n].Highest(), own.Promised, own.Accepted.Epoch).NextFor(arbiter.NodeID(n))
}

func (w *world) mayPromote(n uint8) bool {
	c := w.props[n].Chosen()
	return c.Version != 0 && w.reps[n].reign != c.Epoch && c.Set == arbiter.Only(arbiter.NodeID(n)) &&
		w.regs[n].Record.Accepted == c
}

var texts = map[kind]string{
	again:    "node %d's agent repeats its questions",
	shrink:   "node %d's agent proposes the set {%[1]d}",
	grow:     "node %d's agent proposes the set {0 1}",
	assure:   "node %d's agent assures the peer of the chosen set",
	shoot:    "node %[1]d has its peer's power cut, and it is proved",
	cutPower: "node %d loses its power",
	switchOn: "node %d is switched on",
	yield:    "node %[1]d's agent proposes the set without node %[1]d",
	failDisk: "the disk of node %d fails",
	letGo:    "node %d lets its lost reign go",
	promote:  "node %d becomes Primary",
	tell:     "node %d's replica is told the chosen set",
	connect:  "node %d as Primary connects to its peer",
	crash:    "node %d's replica crashes and restarts",
	write:    "the application writes at node %d",
	campaign: "node %d campaigns",

	changeRule:   "node %d's agent proposes another third voter",
	hearFresh:    "node %d's agent hears that the witness lost its memory",
	restartAgent: "node %d's agent restarts",
	becomeReady:  "node %d's replica is ready to take the peer back",
}

// words tells a step that is about to be taken.
func (w *world) words(st step) string {
	switch st.kind {
	case campaign:
		return fmt.Sprintf("node %d campaigns with epoch %d", st.n, w.nextEpoch(st.n))
	case deliverPrepare:
		return fmt.Sprintf("voter %d gets the campaign for epoch %d", st.n, st.a+firstEpoch)
	case deliverAccept:
		p := w.proposalOf(arbiter.Epoch(st.a+firstEpoch), st.b)
		return fmt.Sprintf("voter %d gets the proposal epoch %d version %d set %02b rule %d of %d", st.n, p.Epoch, p.Version, p.Set, p.Rule.Change, int32(p.Rule.Third))
	case deliverPromise:
		return fmt.Sprintf("node %d gets the promise (or refusal) of voter %d", st.n, st.a)
	case deliverRecorded:
		return fmt.Sprintf("node %d hears that voter %d recorded the set (or refused)", st.n, st.a)
	case askReboot:
		return fmt.Sprintf("node %d's peer says that it reboots itself, and %s", st.n, [...]string{"does", "goes on"}[st.a])
	case complete:
		return fmt.Sprintf("node %d acknowledges write %d to the application", st.n, st.a)
	case resync:
		return fmt.Sprintf("node %d is resynced", 1-w.link.source)
	case deliverWrite:
		return fmt.Sprintf("node %d gets write %d", 1-w.link.source, st.a)
	case deliverAck:
		return fmt.Sprintf("node %d hears that its peer has write %d", w.link.source, st.a)
	case cut:
		return "the replication link breaks"
	case loseWitness:
		return "the witness loses its register"
	}
	return fmt.Sprintf(texts[st.kind], st.n)
}
