package handshake

import (
	"fmt"
	"testing"

	"gemel/node/block"
)

// tuples enumerates generations over a small alphabet with one history entry.
func tuples() []block.Generations {
	var out []block.Generations
	for c := block.Generation(1); c <= 4; c++ {
		for b := block.Generation(0); b <= 4; b++ {
			for h := block.Generation(0); h <= 4; h++ {
				if b == c || h == c || (h != 0 && h == b) {
					continue // Rotate and Adopt never make these
				}
				out = append(out, block.Generations{Current: c, Bitmap: b, History: [block.HistoryLen]block.Generation{h}})
			}
		}
	}
	return out
}

// flags enumerates the flags a replica can have together.
func flags() []State {
	var out []State
	for bits := range 64 {
		s := State{Primary: bits&1 != 0, Created: bits&2 != 0, Inconsistent: bits&4 != 0, Crashed: bits&8 != 0,
			Bits: bits&16 != 0, Discard: bits&32 != 0, Size: 4096, Usable: 4096}
		if s.Created && (s.Crashed || s.Bits || s.Discard) || s.Discard && s.Primary {
			continue // nothing makes these
		}
		out = append(out, s)
	}
	return out
}

func eachPair(t *testing.T, check func(a, b State) string) {
	t.Helper()
	gens, fl := tuples(), flags()
	n := 0
	for _, ga := range gens {
		for _, gb := range gens {
			for _, a := range fl {
				for _, b := range fl {
					a.Generations, b.Generations = ga, gb
					a.Node, b.Node = 0, 1
					n++
					if why := check(a, b); why != "" {
						t.Fatalf("%s\n mine %+v\n peer %+v\n verdict %v", why, a, b, Decide(a, b))
					}
				}
			}
		}
	}
	t.Logf("%d pairs", n)
}

func TestEveryPair(t *testing.T) {
	rules := []func(a, b State, v, mirrored Verdict) string{
		mirrored, onlyThePrimaryIsSource, nothingAcknowledgedIsOverwritten, splitBrainIsSeenByBoth, noSyncMeansNothingToCopy,
		aCrashChangesNothing, refusalsHaveWords,
	}
	used := map[string]bool{}
	eachPair(t, func(a, b State) string {
		v, w := Decide(a, b), Decide(b, a)
		used[v.Row] = true
		for _, rule := range rules {
			if why := rule(a, b, v, w); why != "" {
				return why
			}
		}
		return ""
	})
	claims := map[string]bool{"same-node": true, "kept": true, "clone": true, "sizes": true, "restored": true, "old-reign": true}
	for _, r := range Rows() {
		if !used[r.Name] && !claims[r.Name] {
			t.Errorf("row %s never decides", r.Name)
		}
	}
}

func mirrored(_, _ State, v, w Verdict) string {
	if v.Kind.Mirror() != w.Kind || v.Name != w.Name || v.Retry != w.Retry || v.Row != w.Row || v.Loser != w.Loser {
		return fmt.Sprintf("not mirrored: %v and %v", v, w)
	}
	return ""
}

func sends(v Verdict) bool { return v.Kind == SourceBitmap || v.Kind == SourceFull }

func onlyThePrimaryIsSource(a, b State, v, _ Verdict) string {
	if sends(v) && (!a.Primary || b.Primary || a.Inconsistent || a.Created || a.Discard) {
		return "source is not a whole, sole Primary"
	}
	return ""
}

func refusalsHaveWords(_, _ State, v, _ Verdict) string {
	if v.Kind == Refuse && (v.Name == "" || v.Text == "" || v.Next == "") {
		return "refusal without words"
	}
	return ""
}

// aloneAhead: x carries writes acknowledged without y: x rotated away from a
// generation that y's line contains, and y does not carry x's.
func aloneAhead(x, y State) bool {
	return x.Bitmap != 0 && !x.Created && !x.Inconsistent &&
		y.Current != x.Current && y.Bitmap != x.Current && !y.Knows(x.Current)
}

func nothingAcknowledgedIsOverwritten(a, b State, v, _ Verdict) string {
	if sends(v) && aloneAhead(b, a) && !b.Discard {
		return "the target's acknowledged writes would be overwritten without anybody's word"
	}
	return ""
}

func splitBrainIsSeenByBoth(a, b State, v, w Verdict) string {
	whole := !a.Created && !b.Created && !a.Inconsistent && !b.Inconsistent && !a.Discard && !b.Discard
	split := whole && a.Bitmap != 0 && a.Bitmap == b.Bitmap && a.Current != b.Current
	if split && !(a.Primary && b.Primary) && (v.Name != SplitBrain || w.Name != SplitBrain) {
		return "split brain not detected"
	}
	return ""
}

func noSyncMeansNothingToCopy(a, b State, v, _ Verdict) string {
	if v.Kind != NoSync || !a.Primary && !b.Primary {
		return ""
	}
	if a.Current != b.Current || a.Bits || b.Bits || a.Inconsistent || b.Inconsistent ||
		a.Created || b.Created || a.Discard || b.Discard {
		return "no sync although the sides may differ"
	}
	return ""
}

// aCrashChangesNothing: the bits of a replica that died as Primary name what it
// had under way, so only they count. What a policy makes of them is another matter.
func aCrashChangesNothing(a, b State, v, _ Verdict) string {
	if v.Name == SplitBrain {
		return ""
	}
	for _, crashed := range []*bool{&a.Crashed, &b.Crashed} {
		if *crashed = !*crashed; Decide(a, b) != v {
			return "the crash changed the verdict"
		}
	}
	return ""
}

func TestTable(t *testing.T) {
	g := func(c, b block.Generation, h ...block.Generation) block.Generations {
		out := block.Generations{Current: c, Bitmap: b}
		copy(out.History[:], h)
		return out
	}
	p := func(s State) State { s.Primary = true; return s }
	// recalls: replica noted the sequence of peer, and said its own.
	recalls := func(replica, peer byte, noted, said uint64) Claims {
		return Claims{Replica: [16]byte{replica}, PeerReplica: [16]byte{peer}, PeerSequence: noted, Said: said}
	}
	tests := []struct {
		name       string
		mine, peer State
		want       Kind
		refusal    string
	}{
		{"same data", p(State{Generations: g(1, 0)}), State{Generations: g(1, 0)}, NoSync, ""},
		{"wrote alone", p(State{Generations: g(2, 1), Bits: true}), State{Generations: g(1, 0)}, SourceBitmap, ""},
		{"lost unflushed writes only", p(State{Generations: g(1, 0), Bits: true}), State{Generations: g(1, 0)}, SourceBitmap, ""},
		{"peer let go with bits", p(State{Generations: g(2, 1)}), State{Generations: g(1, 0), Bits: true}, SourceBitmap, ""},
		{"peer crashed with the same data", p(State{Generations: g(1, 0)}), State{Generations: g(1, 0), Crashed: true, Bits: true}, SourceBitmap, ""},
		{"crashed and elected again", p(State{Generations: g(1, 0), Crashed: true, Bits: true}), State{Generations: g(1, 0)}, SourceBitmap, ""},
		{"peer crashed, then this side wrote alone", p(State{Generations: g(2, 1)}), State{Generations: g(1, 0), Crashed: true}, SourceBitmap, ""},
		{"old peer", p(State{Generations: g(3, 2, 1)}), State{Generations: g(1, 0)}, SourceFull, ""},
		{"new peer", p(State{Generations: g(3, 2)}), State{Generations: g(9, 0), Created: true}, SourceFull, ""},
		{"interrupted target", p(State{Generations: g(2, 1)}), State{Generations: g(1, 0), Inconsistent: true}, SourceBitmap, ""},
		{"stale grab", p(State{Generations: g(1, 0)}), State{Generations: g(2, 1)}, Refuse, PrimaryStale},
		{"split brain", p(State{Generations: g(2, 1)}), State{Generations: g(3, 1)}, Refuse, SplitBrain},
		{"unrelated", p(State{Generations: g(2, 0)}), State{Generations: g(3, 0)}, Refuse, Unrelated},
		{"old Primary", p(State{Reign: 4, Generations: g(1, 0)}), State{Promised: 5, Generations: g(2, 1)}, Refuse, OldReign},
		{"both idle", State{Generations: g(2, 1)}, State{Generations: g(1, 0)}, NoSync, ""},
		{"both idle, both crashed", State{Generations: g(1, 0), Crashed: true}, State{Generations: g(1, 0), Crashed: true}, NoSync, ""},
		{"both crashed", p(State{Generations: g(1, 0), Crashed: true}), State{Generations: g(1, 0), Crashed: true, Bits: true}, SourceBitmap, ""},
		{"missed the end as source", p(State{Generations: g(2, 1)}), State{Generations: g(2, 0, 1)}, NoSync, ""},
		{"missed the end, roles changed", p(State{Generations: g(2, 0, 1)}), State{Generations: g(2, 1)}, SourceBitmap, ""},
		{"split brain, idle", State{Generations: g(2, 1)}, State{Generations: g(3, 1)}, Refuse, SplitBrain},
		{"given up after a split brain", p(State{Generations: g(2, 1)}), State{Generations: g(3, 1), Discard: true}, SourceBitmap, ""},
		{"given up, crashed", p(State{Generations: g(2, 1)}), State{Generations: g(3, 1), Discard: true, Crashed: true}, SourceBitmap, ""},
		{"given up although newer", p(State{Generations: g(1, 0)}), State{Generations: g(2, 1), Discard: true}, SourceBitmap, ""},
		{"given up, unrelated", p(State{Generations: g(1, 0)}), State{Generations: g(7, 0), Discard: true}, SourceFull, ""},
		{"clone", p(State{Generations: g(1, 0), Claims: recalls(5, 0, 0, 0)}), State{Generations: g(1, 0), Claims: recalls(5, 0, 0, 0)}, Refuse, Cloned},
		{"backup put back", p(State{Generations: g(2, 1), Claims: recalls(5, 6, 3, 10)}), State{Generations: g(1, 0), Claims: recalls(6, 5, 9, 0)}, Refuse, OlderRestored},
		{"backup of the Primary put back", p(State{Generations: g(1, 0), Claims: recalls(6, 5, 9, 0)}), State{Generations: g(1, 0), Claims: recalls(5, 6, 3, 10)}, Refuse, OlderRestored},
		{"backup to be filled", p(State{Generations: g(2, 1), Claims: recalls(5, 6, 3, 10)}), State{Generations: g(1, 0), Claims: recalls(6, 5, 9, 0), Discard: true}, SourceBitmap, ""},
		{"backup of before they met", p(State{Generations: g(2, 1), Claims: recalls(5, 6, 3, 10)}), State{Generations: g(1, 0), Claims: recalls(6, 0, 0, 0)}, Refuse, OlderRestored},
		{"nothing restored", p(State{Generations: g(2, 1), Claims: recalls(5, 6, 3, 10)}), State{Generations: g(1, 0), Claims: recalls(6, 5, 10, 3)}, SourceBitmap, ""},
		{"peer of another id", p(State{Generations: g(2, 1), Claims: recalls(5, 6, 3, 10)}), State{Generations: g(1, 0), Claims: recalls(7, 5, 9, 0)}, SourceBitmap, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tc.mine.Node, tc.peer.Node = 0, 1
			if v := Decide(tc.mine, tc.peer); v.Kind != tc.want || v.Name != tc.refusal {
				t.Errorf("got %v, want %v %s", v, tc.want, tc.refusal)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	both := func(a, b State) (int64, string) { a.Node, b.Node = 0, 1; n, v := AgreeSize(a, b); return n, v.Name }
	tests := []struct {
		a, b State
		want int64
		name string
	}{
		{State{Created: true, Usable: 8}, State{Created: true, Usable: 6}, 6, ""},
		{State{Size: 6, Usable: 8}, State{Created: true, Usable: 7}, 6, ""},
		{State{Size: 6, Usable: 8}, State{Created: true, Usable: 5}, 0, PeerSmaller},
		{State{Size: 6}, State{Size: 7}, 0, SizesDiffer},
		{State{Size: 6}, State{Size: 6}, 6, ""},
		{State{Created: true, Keep: true, Usable: 6}, State{Created: true, Usable: 8}, 6, ""},
		{State{Created: true, Usable: 5}, State{Created: true, Keep: true, Usable: 6}, 0, PeerSmaller},
		{State{Size: 6, Usable: 7}, State{Size: 7, Usable: 7}, 7, ""},
		{State{Size: 8, Usable: 9}, State{Size: 6, Usable: 8}, 8, ""},
		{State{Size: 8, Usable: 9}, State{Size: 6, Usable: 7}, 0, SizesDiffer},
	}
	for _, tc := range tests {
		if n, name := both(tc.a, tc.b); n != tc.want || name != tc.name {
			t.Errorf("%+v %+v: got %d %q", tc.a, tc.b, n, name)
		}
	}
}

// TestKeptDataIsNeverOverwritten: a replica that was created over data begins its
// volume, or stays apart.
func TestKeptDataIsNeverOverwritten(t *testing.T) {
	keeps := State{Created: true, Inconsistent: true, Keep: true, Usable: 8}
	fresh := State{Created: true, Inconsistent: true, Usable: 8}
	primary := State{Primary: true, Reign: 2, Promised: 2, Size: 8, Generations: block.Generations{Current: 7}}
	begun := primary
	begun.Primary, begun.Reign = false, 0
	for name, c := range map[string]struct {
		a, b State
		want string
	}{
		"a new peer":         {keeps, fresh, ""},
		"both":               {keeps, keeps, KeptData},
		"a Primary":          {keeps, primary, KeptData},
		"one that was it":    {keeps, begun, ""}, // the voters let nobody reign with it but that one
		"the Primary's side": {primary, keeps, KeptData},
	} {
		c.a.Node, c.b.Node = 0, 1
		if v := Decide(c.a, c.b); v.Name != c.want || v.Name == "" && v.Kind != NoSync {
			t.Errorf("%s: %v", name, v)
		}
		if v, o := Decide(c.a, c.b), Decide(c.b, c.a); v.Kind != o.Kind.Mirror() {
			t.Errorf("%s: %v and %v", name, v, o)
		}
	}
}
