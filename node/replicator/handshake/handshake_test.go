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
	for bits := range 32 {
		s := State{Primary: bits&1 != 0, Created: bits&2 != 0, Inconsistent: bits&4 != 0, Crashed: bits&8 != 0,
			Bits: bits&16 != 0, Size: 4096, Usable: 4096}
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

func TestVerdictsAreMirrorImages(t *testing.T) {
	eachPair(t, func(a, b State) string {
		va, vb := Decide(a, b), Decide(b, a)
		if va.Kind.Mirror() != vb.Kind || va.Name != vb.Name || va.Retry != vb.Retry {
			return fmt.Sprintf("not mirrored: %v and %v", va, vb)
		}
		return ""
	})
}

func TestOnlyThePrimaryIsSource(t *testing.T) {
	eachPair(t, func(a, b State) string {
		switch v := Decide(a, b); v.Kind {
		case SourceBitmap, SourceFull:
			if !a.Primary || b.Primary || a.Inconsistent || a.Created {
				return "source is not a whole, sole Primary"
			}
		case Refuse:
			if v.Name == "" || v.Text == "" || v.Next == "" {
				return "refusal without words"
			}
		}
		return ""
	})
}

// aloneAhead: x carries writes acknowledged without y: x rotated away from a
// generation that y's line contains, and y does not carry x's.
func aloneAhead(x, y State) bool {
	return x.Bitmap != 0 && !x.Created && !x.Inconsistent &&
		y.Current != x.Current && y.Bitmap != x.Current && !y.Knows(x.Current)
}

func TestNoTargetHoldsWritesTheSourceLacks(t *testing.T) {
	eachPair(t, func(a, b State) string {
		switch Decide(a, b).Kind {
		case SourceBitmap, SourceFull:
			if aloneAhead(b, a) {
				return "the target's acknowledged writes would be overwritten"
			}
		}
		return ""
	})
}

func TestSplitBrainIsDetectedOnBothSides(t *testing.T) {
	eachPair(t, func(a, b State) string {
		whole := !a.Created && !b.Created && !a.Inconsistent && !b.Inconsistent
		split := whole && a.Bitmap != 0 && a.Bitmap == b.Bitmap && a.Current != b.Current
		if split && !(a.Primary && b.Primary) {
			if va, vb := Decide(a, b), Decide(b, a); va.Name != SplitBrain || vb.Name != SplitBrain {
				return "split brain not detected"
			}
		}
		return ""
	})
}

func TestNoSyncMeansNothingToCopy(t *testing.T) {
	eachPair(t, func(a, b State) string {
		if Decide(a, b).Kind != NoSync || !a.Primary && !b.Primary {
			return ""
		}
		if a.Current != b.Current || a.Bits || b.Bits || a.Crashed || b.Crashed || a.Inconsistent || b.Inconsistent ||
			a.Created || b.Created {
			return "no sync although the sides may differ"
		}
		return ""
	})
}

func TestCrashNeverTrustsBits(t *testing.T) {
	eachPair(t, func(a, b State) string {
		if Decide(a, b).Kind == SourceBitmap && (a.Crashed || b.Crashed && !b.Inconsistent) {
			return "bitmap used after a crash"
		}
		return ""
	})
}

func TestTable(t *testing.T) {
	g := func(c, b block.Generation, h ...block.Generation) block.Generations {
		out := block.Generations{Current: c, Bitmap: b}
		copy(out.History[:], h)
		return out
	}
	p := func(s State) State { s.Primary = true; return s }
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
		{"peer crashed", p(State{Generations: g(2, 1)}), State{Generations: g(1, 0), Crashed: true}, SourceFull, ""},
		{"old peer", p(State{Generations: g(3, 2, 1)}), State{Generations: g(1, 0)}, SourceFull, ""},
		{"new peer", p(State{Generations: g(3, 2)}), State{Generations: g(9, 0), Created: true}, SourceFull, ""},
		{"interrupted target", p(State{Generations: g(2, 1)}), State{Generations: g(1, 0), Inconsistent: true}, SourceBitmap, ""},
		{"stale grab", p(State{Generations: g(1, 0)}), State{Generations: g(2, 1)}, Refuse, PrimaryStale},
		{"split brain", p(State{Generations: g(2, 1)}), State{Generations: g(3, 1)}, Refuse, SplitBrain},
		{"unrelated", p(State{Generations: g(2, 0)}), State{Generations: g(3, 0)}, Refuse, Unrelated},
		{"old Primary", p(State{Reign: 4, Generations: g(1, 0)}), State{Promised: 5, Generations: g(2, 1)}, Refuse, OldReign},
		{"both idle", State{Generations: g(2, 1)}, State{Generations: g(1, 0)}, NoSync, ""},
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
	}
	for _, tc := range tests {
		if n, name := both(tc.a, tc.b); n != tc.want || name != tc.name {
			t.Errorf("%+v %+v: got %d %q", tc.a, tc.b, n, name)
		}
	}
}
