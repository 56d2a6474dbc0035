package volume

import (
	"time"

	"gemel/node/replicator/volume/core"
	"gemel/node/replicator/wire"
)

// Meeting is what a replica writes down of a peer that it met: its id, the
// number of its metadata, and the own number that it certainly wrote down; zero:
// not known. Metadata that later turns up without that is older than the
// meeting: somebody put a backup back.
type Meeting struct {
	Replica        [16]byte
	Sequence, Said uint64
}

// RenewEvery is how often a meeting is renewed while data moves: an image that
// is older is noticed when it is put back.
const RenewEvery = time.Minute

// Renewal renews the meeting of a connection, which may last for months. The
// Primary begins and says the number of its metadata; the Secondary writes it
// down and answers with its own; the Primary writes that down and says so. Each
// answer leaves once what it rests on is on stable storage, which the shell sees
// to. What was written down has a new number each time.
type Renewal struct {
	Every time.Duration
	// Moved is set by the shell when data was written; without that there is
	// nothing that an image could lack.
	Moved bool

	due  time.Duration
	said uint64 // own number, until the peer tells that it wrote it down
}

// Start begins with a connection.
func (n *Renewal) Start(now time.Duration) { n.due, n.said = now+n.Every, 0 }

// Due reports whether the Primary shall begin.
func (n *Renewal) Due(now time.Duration) bool {
	if !n.Moved || now < n.due {
		return false
	}
	n.due, n.Moved = now+n.Every, false
	return true
}

// Say is the message of a kind, from a replica whose metadata on stable storage
// has the number sequence.
func (n *Renewal) Say(kind core.MsgKind, sequence uint64) core.Msg {
	if kind != core.MetKnown {
		n.said = sequence
	}
	return core.Msg{Kind: kind, ID: sequence}
}

// Take notes in met what m says, and returns what to answer once that is on
// stable storage; zero: nothing.
func (n *Renewal) Take(m *core.Msg, met *Meeting) (answer core.MsgKind) {
	switch {
	case m.Kind == core.Met:
		met.Sequence = m.ID
		return core.MetAck
	case n.said == 0:
		return 0
	case m.Kind == core.MetAck:
		met.Sequence, answer = m.ID, core.MetKnown
	}
	met.Said, n.said = n.said, 0
	return answer
}

func metKind(f wire.Flags) core.MsgKind {
	switch {
	case f&wire.FlagReply != 0:
		return core.MetAck
	case f&wire.FlagLast != 0:
		return core.MetKnown
	}
	return core.Met
}

// renewing is a Renewal, and the answer that waits for stable storage.
type renewing struct {
	Renewal
	answer  core.MsgKind // zero: none
	after   uint64       // the record that it waits for
	session uint64
}

// renew begins when it is due; v.mu is held.
func (v *Volume) renew(now time.Duration) {
	if v.conn != nil && v.renewal.Due(now) && v.core.View(now).Primary {
		v.queue(v.renewal.Say(core.Met, v.o.Store.Super().Sequence))
		v.run()
	}
}

// renewed takes the peer's part; v.mu is held.
func (v *Volume) renewed(session uint64, m *core.Msg) {
	if v.conn == nil || v.session != session {
		return
	}
	v.recordWanted++
	v.renewal.answer, v.renewal.after, v.renewal.session = v.renewal.Take(m, &v.met), v.recordWanted, session
	v.metaReady.Signal()
}

// answerRenewal answers once the metadata is stable; v.mu is held.
func (v *Volume) answerRenewal() {
	n := &v.renewal
	if n.answer == 0 || v.recordStable < n.after {
		return
	}
	if v.conn != nil && v.session == n.session {
		v.queue(n.Say(n.answer, v.o.Store.Super().Sequence))
	}
	n.answer = 0
}
