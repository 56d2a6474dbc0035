package handshake

import (
	"fmt"

	"gemel/node/arbiter"
)

// meeting is two replicas in the table's order: s is the Primary; without one,
// the node of the lower number.
type meeting struct {
	s, t    State
	primary bool // s is Primary, t is not
	rel     relation
}

func meet(a, b State) meeting {
	if b.Primary != a.Primary && b.Primary || b.Primary == a.Primary && b.Node < a.Node {
		a, b = b, a
	}
	return meeting{s: a, t: b, primary: a.Primary && !b.Primary, rel: relate(a.Generations, b.Generations)}
}

// exact: the bits of both sides together name every block that differs. They
// count from a generation that both held.
func (m *meeting) exact() bool {
	switch m.rel {
	case equal, ahead, behind:
		return true
	case diverged:
		return m.s.Bitmap != 0 && m.s.Bitmap == m.t.Bitmap
	}
	return false
}

// counted: what both sides count as changed is what was written, not what may
// have been.
func (m *meeting) counted() bool { return m.exact() && !m.s.Crashed && !m.t.Crashed }

// raw: at least one side has no data of its own that means anything.
func (m *meeting) raw() bool {
	return m.s.Created || m.t.Created || m.s.Inconsistent || m.t.Inconsistent || m.s.Discard || m.t.Discard
}

// Row is one line of the table. The first that fits decides.
type Row struct {
	Name      string // stable
	Situation string // for people; S is the Primary, T the other
	Verdict   string
	fits      func(*meeting) bool
	verdict   func(*meeting) Verdict
}

// Rows returns the table, for the documentation.
func Rows() []Row { return table }

func always(k Kind) func(*meeting) Verdict {
	return func(*meeting) Verdict { return Verdict{Kind: k} }
}

var table = []Row{
	{"same-node", "both say they are the same node", "refuse: same-node",
		func(m *meeting) bool { return m.s.Node == m.t.Node }, isSameNode},
	{"clone", "both carry the same replica id: one device is a copy of the other", "refuse: cloned-replica",
		func(m *meeting) bool { return m.s.Replica == m.t.Replica && m.s.Replica != [16]byte{} }, isClone},
	{"old-reign", "one promised a newer epoch than the other reigns in", "refuse: reign-is-over; tries again by itself",
		oldReign, reignIsOver},
	{"two-primaries", "both are Primary, of the same age", "refuse: two-primaries; tries again by itself",
		func(m *meeting) bool { return m.s.Primary && m.t.Primary }, twoPrimaries},
	{"sizes", "sizes in use differ and the smaller side has not prepared to grow, or a new replica is too small",
		"refuse: volume-sizes-differ, backing-device-too-small", sizesClash, whySizesClash},
	{"kept", "T was created over data to keep, and S is Primary already, or was so as well", "refuse: kept-data",
		func(m *meeting) bool { return m.t.Keep && (m.primary || m.s.Keep) }, isKept},
	{"restored", "one side's metadata is older than when the two last met: a backup or snapshot was put back",
		"refuse: older-data-restored", func(m *meeting) bool { return m.restored(&m.s, &m.t) || m.restored(&m.t, &m.s) }, isRestored},

	{"idle-raw", "no Primary; one is new, Inconsistent or given up", "connected, nothing moves",
		func(m *meeting) bool { return !m.primary && m.raw() }, always(NoSync)},
	{"idle-split", "no Primary; both acknowledged writes alone", "refuse: split-brain, unless after-sb-0pri settles it",
		func(m *meeting) bool { return !m.primary && m.rel == diverged }, split},
	{"idle-unrelated", "no Primary; no generation in common", "refuse: unrelated-data",
		func(m *meeting) bool { return !m.primary && m.rel == unrelated }, isUnrelated},
	{"idle", "no Primary; otherwise (also after a crash of either or both: the voters choose)", "connected, nothing moves",
		func(m *meeting) bool { return !m.primary }, always(NoSync)},

	{"primary-raw", "S is new, Inconsistent or given up", "refuse: primary-is-inconsistent",
		func(m *meeting) bool { return m.s.Inconsistent || m.s.Created || m.s.Discard }, isIncomplete},
	{"new", "T is new", "S sends everything", func(m *meeting) bool { return m.t.Created }, always(SourceFull)},
	{"resume", "T is Inconsistent, S has counted bits since exactly what T holds",
		"S sends what the bits name", resumes, always(SourceBitmap)},
	{"refill", "T is Inconsistent, otherwise", "S sends everything",
		func(m *meeting) bool { return m.t.Inconsistent }, always(SourceFull)},
	{"given-up", "T was given up, and the bits of both count from what both held", "S sends what the bits of either side name",
		func(m *meeting) bool { return m.t.Discard && m.exact() }, always(SourceBitmap)},
	{"given-up-whole", "T was given up, otherwise", "S sends everything",
		func(m *meeting) bool { return m.t.Discard }, always(SourceFull)},
	{"split", "both acknowledged writes alone", "refuse: split-brain, unless after-sb-1pri settles it",
		func(m *meeting) bool { return m.rel == diverged }, split},
	{"unrelated", "no generation in common", "refuse: unrelated-data",
		func(m *meeting) bool { return m.rel == unrelated }, isUnrelated},
	{"stale", "T acknowledged writes that S lacks: S took over with older data by an operator's word",
		"refuse: primary-is-stale", func(m *meeting) bool { return m.rel == behind || m.rel == ancient }, isStale},
	{"ancestor", "T is an ancestor that no bits count from", "S sends everything",
		func(m *meeting) bool { return m.rel == ancestor }, always(SourceFull)},
	{"ahead", "S went on alone since exactly what T holds", "S sends what the bits of either side name",
		func(m *meeting) bool { return m.rel == ahead }, always(SourceBitmap)},
	{"bits", "same generation, but bits are set on either side: writes that were not stable on both",
		"S sends what the bits of either side name", func(m *meeting) bool { return m.s.Bits || m.t.Bits }, always(SourceBitmap)},
	{"source-missed-end", "same generation, no bits, and S still counts: it missed the end of a resync to T",
		"connected; the end is told again", func(m *meeting) bool { return m.s.Bitmap != 0 }, always(NoSync)},
	{"target-missed-end", "same generation, no bits, and T still counts: it missed the end of a resync to S",
		"connected; T forgets its bits", func(m *meeting) bool { return m.t.Bitmap != 0 }, always(SourceBitmap)},
	{"same", "same generation, no bits", "connected, nothing moves", func(*meeting) bool { return true }, always(NoSync)},
}

func isSameNode(*meeting) Verdict {
	return refuse(SameNode, "both sides say they are the same node of the pair",
		"correct 'node' in one of the two configurations")
}

func isClone(*meeting) Verdict {
	return refuse(Cloned, "both nodes carry one and the same replica: one backing device is a copy of the other, metadata included",
		"on the node that got the copy run `gemel volume create NAME --force`; it is then filled from the other")
}

func oldReign(m *meeting) bool {
	return m.s.Primary && m.s.Reign < m.t.Promised || m.t.Primary && m.t.Reign < m.s.Promised
}

func reignIsOver(m *meeting) Verdict {
	v := refuse(OldReign, "the Secondary promised a newer epoch than the Primary's reign",
		"wait: the Primary lets go or is elected again")
	v.Retry = true
	if m.s.Primary && m.t.Primary {
		v.Text = "both replicas are Primary; the one of the older reign must let go first"
	}
	return v
}

func twoPrimaries(*meeting) Verdict {
	v := refuse(TwoPrimaries, "both replicas are Primary of the same age",
		"wait for one to let go; with a reign taken by an operator's word, demote one of them")
	v.Retry = true
	return v
}

func sizesClash(m *meeting) bool {
	_, v := AgreeSize(m.s, m.t)
	return v.Kind == Refuse
}

func whySizesClash(m *meeting) Verdict {
	_, v := AgreeSize(m.s, m.t)
	return v
}

// restored reports that x does not know what it wrote down when it last met y.
// What is to be filled anew anyway may be as old as it likes.
func (m *meeting) restored(x, y *State) bool {
	met := x.Replica != [16]byte{} && y.PeerReplica == x.Replica && y.Said != 0
	knows := x.PeerReplica == y.Replica && x.PeerSequence >= y.Said
	return met && !knows && !x.Created && !x.Inconsistent && !x.Discard
}

func isRestored(m *meeting) Verdict {
	old := m.t.Node
	if m.restored(&m.s, &m.t) {
		old = m.s.Node
	}
	return refuse(OlderRestored,
		fmt.Sprintf("the replica on node %d is older than when the two last met: a backup or a snapshot of its device was put back", old),
		"run `gemel volume invalidate NAME` on that node and `gemel volume connect NAME` on the other to fill it from there, "+
			"or `gemel resolve NAME` to keep it")
}

func isKept(m *meeting) Verdict {
	v := refuse(KeptData, fmt.Sprintf("the replica on node %d was created with --keep-data, and the volume has begun with other data", m.t.Node),
		"run `gemel volume create NAME --force` on the node whose data is not needed; it is filled from the other")
	if m.s.Keep {
		v.Text = "the replicas of both nodes were created with --keep-data, and a volume can begin with one only"
	}
	return v
}

func isIncomplete(*meeting) Verdict {
	return refuse(PrimaryIncomplete, "the Primary's own data is not whole", "restore it from a backup or demote it")
}

// resumes: only the bits of the very source that began may shorten the work;
// what the target holds counts for nothing.
func resumes(m *meeting) bool {
	return m.t.Inconsistent && m.s.Bitmap != 0 && m.t.Current == m.s.Bitmap
}

func isUnrelated(*meeting) Verdict {
	return refuse(Unrelated, "the replicas have no generation in common",
		"check that both nodes name the same volume; `gemel resolve NAME` gives one replica up")
}

func isStale(*meeting) Verdict {
	return refuse(PrimaryStale, "the Secondary holds acknowledged writes that the Primary lacks",
		"decide which side to keep: `gemel resolve NAME`")
}

// split is a split brain: refused, unless both sides have the same policy and
// it names a loser.
func split(m *meeting) Verdict {
	v := refuse(SplitBrain, "both replicas acknowledged writes that the other lacks",
		"look at both sides and choose which to keep: `gemel resolve NAME`")
	loser, why, ok := m.loser()
	if !ok {
		if why != "" {
			v.Text += " (" + why + ")"
		}
		return v
	}
	v.Discards, v.Loser, v.Retry = true, loser, true
	v.Next = fmt.Sprintf("%s: node %d gives its changes up", why, loser)
	return v
}

// current returns the only node that the newest recorded set holds, if it holds
// one only: the voters let nobody else reign.
func (m *meeting) current() (arbiter.NodeID, bool) {
	newest := m.s.Accepted
	if m.t.Accepted.Newer(newest) {
		newest = m.t.Accepted
	}
	switch newest.Set {
	case arbiter.Only(0):
		return 0, true
	case arbiter.Only(1):
		return 1, true
	}
	return 0, false
}
