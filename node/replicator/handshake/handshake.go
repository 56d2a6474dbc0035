// Package handshake decides, when two replicas of a volume meet, who is source
// and who is target of a resynchronisation, or why they must not talk. It is a
// pure function of what both say of themselves; it does not talk, and it does
// not choose the Primary: the arbiter's registers did that. The table itself is
// in table.go, in the order in which its rows are tried.
package handshake

import (
	"fmt"

	"gemel/node/arbiter"
	"gemel/node/block"
)

// State is what a replica says of itself when it connects.
type State struct {
	Node    arbiter.NodeID
	Primary bool
	// Reign is the epoch it serves as Primary; Promised what its register
	// promised, below which nothing is taken from a Primary.
	Reign, Promised arbiter.Epoch
	// Created: the metadata is new, no reign ever used this replica.
	Created bool
	// Inconsistent: it is the target of an unfinished resynchronisation, its
	// content is a mixture.
	Inconsistent bool
	// Crashed: it died as Primary; its bits name also what it had under way.
	Crashed bool
	// Bits: at least one of its out-of-sync bits is set.
	Bits bool
	// Discard: an operator's word or a policy gave this replica's data up; it
	// can only be overwritten, never be Primary.
	Discard bool
	// Keep: the replica is Created, over data that the volume is to begin with.
	Keep bool
	block.Generations
	Size int64 // bytes of the volume; fixed unless Created
	// Usable is how many bytes it could have at once: all that the backing device has
	// room for if Created; else as far as the space behind the volume is blank.
	Usable int64
	Claims
}

// Claims are what a replica tells beyond what its core knows. They tell clones
// and restored backups from the original, and decide automatic policies.
type Claims struct {
	// Replica is the id drawn when its metadata was made; zero: not told.
	Replica [16]byte
	// Sequence counts the updates of its metadata; it never goes back.
	Sequence uint64
	// PeerReplica and PeerSequence are the other side's, as this one wrote them
	// down when they last met; zero: they never met. Said is this side's own
	// that the other certainly wrote down, before it took anything.
	PeerReplica  [16]byte
	PeerSequence uint64
	Said         uint64
	// Accepted is the newest in-sync set in its register.
	Accepted arbiter.Accepted
	// ReignStart and ReignEnd bound its last reign, wall time in nanoseconds;
	// an end of zero: still running, or ended by a crash. Apart is since when
	// its bits count; zero: never.
	ReignStart, ReignEnd, Apart int64
	// Changed is how many bytes its bits mark.
	Changed int64
	Policy  Policy
}

// Kind is the outcome of a handshake, seen from one side.
type Kind uint8

// Outcomes.
const (
	NoSync       Kind = iota // both hold the same data, or nobody is Primary and the question waits
	SourceBitmap             // send what the bits of either side name
	SourceFull               // send everything
	TargetBitmap
	TargetFull
	Refuse // part; the Verdict says why
)

var kindNames = [...]string{"no sync", "source by bitmap", "source of everything",
	"target by bitmap", "target of everything", "refuse"}

func (k Kind) String() string { return kindNames[k] }

// Mirror returns the outcome the other side must have reached.
func (k Kind) Mirror() Kind {
	switch k {
	case SourceBitmap:
		return TargetBitmap
	case SourceFull:
		return TargetFull
	case TargetBitmap:
		return SourceBitmap
	case TargetFull:
		return SourceFull
	}
	return k
}

// Names of refusals; they are stable.
const (
	SameNode          = "same-node"
	Cloned            = "cloned-replica"
	OldReign          = "reign-is-over"
	TwoPrimaries      = "two-primaries"
	SizesDiffer       = "volume-sizes-differ"
	PeerSmaller       = "backing-device-too-small"
	KeptData          = "kept-data"
	OlderRestored     = "older-data-restored"
	SplitBrain        = "split-brain"
	Unrelated         = "unrelated-data"
	PrimaryStale      = "primary-is-stale"
	PrimaryIncomplete = "primary-is-inconsistent"
)

// Verdict is a Kind and, for Refuse, its name, what happened, and what to do.
type Verdict struct {
	Kind Kind
	// Row is the stable name of the table's row that decided.
	Row  string
	Name string
	Text string
	Next string
	// Retry: the obstacle goes away by itself; otherwise the volume stands
	// alone until a human acts.
	Retry bool
	// Discards: a policy settles a split brain; Loser must give its data up,
	// durably, and both shake hands again.
	Discards bool
	Loser    arbiter.NodeID
}

// String is the refusal in words, or the kind.
func (v Verdict) String() string {
	if v.Kind != Refuse {
		return v.Kind.String()
	}
	return fmt.Sprintf("%s: %s; %s", v.Name, v.Text, v.Next)
}

// Decide compares both sides. Called on the other side with the arguments
// swapped it gives the mirror image: the same name for a refusal, Target for
// Source.
func Decide(mine, peer State) Verdict {
	m := meet(mine, peer)
	for i := range table {
		if !table[i].fits(&m) {
			continue
		}
		v := table[i].verdict(&m)
		v.Row = table[i].Name
		if m.s.Node != mine.Node {
			v.Kind = v.Kind.Mirror()
		}
		return v
	}
	panic("handshake: no row fits") // the last one fits always
}

// relation of generations a to b.
type relation uint8

const (
	equal     relation = iota
	ahead              // a acknowledged writes alone; its bits count from exactly what b holds
	ancestor           // b is an older generation of a; no bits count from it
	behind             // the mirror of ahead
	ancient            // the mirror of ancestor
	diverged           // both acknowledged writes alone
	unrelated          // nothing in common
)

func relate(a, b block.Generations) relation {
	switch {
	case a.Current == b.Current:
		return equal
	case a.Bitmap != 0 && a.Bitmap == b.Bitmap:
		return diverged
	}
	aKnows, bKnows := knows(a, b.Current), knows(b, a.Current)
	switch {
	case aKnows && bKnows:
		return diverged
	case aKnows && b.Current == a.Bitmap:
		return ahead
	case aKnows:
		return ancestor
	case bKnows && a.Current == b.Bitmap:
		return behind
	case bKnows:
		return ancient
	case common(a, b):
		return diverged
	}
	return unrelated
}

func knows(g block.Generations, x block.Generation) bool {
	return x != 0 && (g.Bitmap == x || g.Knows(x))
}

// common reports whether some older generation is in both.
func common(a, b block.Generations) bool {
	if knows(b, a.Bitmap) {
		return true
	}
	for _, h := range a.History {
		if knows(b, h) {
			return true
		}
	}
	return false
}

// AgreeSize returns the size of the volume in bytes, or a refusal. A Created
// replica's size is open; both open: the smaller room counts, unless one has data
// to keep: all of that must fit. One that missed
// that the volume grew takes the larger size if it has prepared for it.
func AgreeSize(a, b State) (int64, Verdict) {
	switch {
	case a.Created && b.Created && a.Keep:
		return fits(b, a.Usable)
	case a.Created && b.Created && b.Keep:
		return fits(a, b.Usable)
	case a.Created && b.Created:
		return min(a.Usable, b.Usable), Verdict{}
	case a.Created:
		return fits(a, b.Size)
	case b.Created:
		return fits(b, a.Size)
	case a.Size < b.Size && a.Usable >= b.Size:
		return b.Size, Verdict{}
	case b.Size < a.Size && b.Usable >= a.Size:
		return a.Size, Verdict{}
	case a.Size != b.Size:
		return 0, refuse(SizesDiffer,
			fmt.Sprintf("the volume has %d bytes on one node and %d on the other", min(a.Size, b.Size), max(a.Size, b.Size)),
			"create the replica that is wrong anew")
	}
	return a.Size, Verdict{}
}

func fits(fresh State, size int64) (int64, Verdict) {
	if fresh.Usable >= size {
		return size, Verdict{}
	}
	return 0, refuse(PeerSmaller,
		fmt.Sprintf("the volume has %d bytes and is in use, node %d has room for %d only", size, fresh.Node, fresh.Usable),
		"give that node a backing device at least as large")
}

func refuse(name, text, next string) Verdict {
	return Verdict{Kind: Refuse, Name: name, Text: text, Next: next}
}
