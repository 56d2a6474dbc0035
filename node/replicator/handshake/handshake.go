// Package handshake decides, when two replicas of a volume meet, who is source
// and who is target of a resynchronisation, or why they must not talk. It is a
// pure function of what both say of themselves; it does not talk, and it does
// not choose the Primary: the arbiter's registers did that.
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
	// Crashed: it died as Primary; which of its last writes reached which disk
	// is unknown.
	Crashed bool
	// Bits: at least one of its out-of-sync bits is set.
	Bits bool
	block.Generations
	Size   int64 // bytes of the volume; fixed unless Created
	Usable int64 // bytes the backing device has room for
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
	OldReign          = "reign-is-over"
	TwoPrimaries      = "two-primaries"
	SplitBrain        = "split-brain"
	Unrelated         = "unrelated-data"
	PrimaryStale      = "primary-is-stale"
	PrimaryIncomplete = "primary-is-inconsistent"
	PeerSmaller       = "backing-device-too-small"
	SizesDiffer       = "volume-sizes-differ"
	SameNode          = "same-node"
)

// Verdict is a Kind and, for Refuse, its name, what happened, and what to do.
type Verdict struct {
	Kind Kind
	Name string
	Text string
	Next string
	// Retry: the obstacle goes away by itself; otherwise the volume stands
	// alone until a human acts.
	Retry bool
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
	if v, bad := impossible(mine, peer); bad {
		return v
	}
	if _, v := AgreeSize(mine, peer); v.Kind == Refuse {
		return v
	}
	switch {
	case mine.Primary:
		return bySource(mine, peer)
	case peer.Primary:
		v := bySource(peer, mine)
		v.Kind = v.Kind.Mirror()
		return v
	}
	return idle(mine, peer)
}

func impossible(a, b State) (Verdict, bool) {
	if a.Node == b.Node {
		return refuse(SameNode, "both sides say they are the same node of the pair",
			"correct 'node' in one of the two configurations"), true
	}
	if a.Primary && a.Reign < b.Promised || b.Primary && b.Reign < a.Promised {
		v := refuse(OldReign, "the Secondary promised a newer epoch than the Primary's reign",
			"wait: the Primary lets go or is elected again")
		v.Retry = true
		if a.Primary && b.Primary {
			v.Text = "both replicas are Primary; the one of the older reign must let go first"
		}
		return v, true
	}
	if a.Primary && b.Primary {
		v := refuse(TwoPrimaries, "both replicas are Primary of the same age",
			"wait for one to let go; with a reign taken by an operator's word, demote one of them")
		v.Retry = true
		return v, true
	}
	return Verdict{}, false
}

// idle is the meeting of two Secondaries: nothing moves, but sides that
// diverged say so at once.
func idle(a, b State) Verdict {
	if a.Created || b.Created || a.Inconsistent || b.Inconsistent {
		return Verdict{Kind: NoSync}
	}
	switch relate(a.Generations, b.Generations) {
	case diverged:
		return splitBrain()
	case unrelated:
		return refuseUnrelated()
	}
	return Verdict{Kind: NoSync}
}

// bySource decides for the reigning Primary s and the Secondary t; the kind is
// the one of s.
func bySource(s, t State) Verdict {
	switch {
	case s.Inconsistent || s.Created:
		return refuse(PrimaryIncomplete, "the Primary's own data is not whole", "restore it from a backup or demote it")
	case t.Created:
		return Verdict{Kind: SourceFull}
	}
	rel := relate(s.Generations, t.Generations)
	if t.Inconsistent {
		return resume(s, t)
	}
	switch rel {
	case diverged:
		return splitBrain()
	case unrelated:
		return refuseUnrelated()
	case behind, ancient: // s is the older one
		return refuse(PrimaryStale, "the Secondary holds acknowledged writes that the Primary lacks",
			"decide which side to keep: demote the Primary, or create the Secondary's replica anew")
	}
	switch {
	case s.Crashed || t.Crashed || rel == ancestor:
		return Verdict{Kind: SourceFull}
	case rel == ahead || s.Bits || t.Bits:
		return Verdict{Kind: SourceBitmap}
	}
	return Verdict{Kind: NoSync}
}

// resume goes on with a target that was interrupted: what it holds counts for
// nothing, so no relation forbids it; only the bits of the very source that
// began may shorten the work.
func resume(s, t State) Verdict {
	if s.Bitmap != 0 && t.Current == s.Bitmap && !s.Crashed {
		return Verdict{Kind: SourceBitmap}
	}
	return Verdict{Kind: SourceFull}
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
// replica's size is open; both open: the smaller room counts.
func AgreeSize(a, b State) (int64, Verdict) {
	switch {
	case a.Created && b.Created:
		return min(a.Usable, b.Usable), Verdict{}
	case a.Created:
		return fits(a, b.Size)
	case b.Created:
		return fits(b, a.Size)
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

func splitBrain() Verdict {
	return refuse(SplitBrain, "both replicas acknowledged writes that the other lacks",
		"choose the side to lose its writes and create its replica anew")
}

func refuseUnrelated() Verdict {
	return refuse(Unrelated, "the replicas have no generation in common",
		"check that both nodes name the same volume; create one replica anew if it is to be overwritten")
}

func refuse(name, text, next string) Verdict {
	return Verdict{Kind: Refuse, Name: name, Text: text, Next: next}
}
