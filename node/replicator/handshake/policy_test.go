package handshake

import (
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
)

// apart is a pair after a split brain: node 0 became Primary first and changed
// 100 bytes, node 1 changed 50.
func apart(zero ZeroPrimaries, one OnePrimary) (a, b State) {
	gen := func(c block.Generation) block.Generations { return block.Generations{Current: c, Bitmap: 1} }
	policy := Policy{Zero: zero, One: one}
	a = State{Node: 0, Generations: gen(2), Claims: Claims{ReignStart: 10, Changed: 100, Policy: policy}}
	b = State{Node: 1, Generations: gen(3), Claims: Claims{ReignStart: 20, Changed: 50, Policy: policy}}
	return a, b
}

func TestPolicies(t *testing.T) {
	const nobody = 9
	same := func(*State, *State) {}
	primary := func(a, _ *State) { a.Primary = true }
	tests := []struct {
		name   string
		zero   ZeroPrimaries
		one    OnePrimary
		change func(a, b *State)
		loser  arbiter.NodeID
	}{
		{"disconnect", Disconnect0, DiscardSecondary, same, nobody},
		{"younger", DiscardYoungerPrimary, Disconnect1, same, 1},
		{"older", DiscardOlderPrimary, Disconnect1, same, 0},
		{"older, one unknown", DiscardOlderPrimary, Disconnect1, func(_, b *State) { b.ReignStart = 0 }, nobody},
		{"least", DiscardLeastChanges, Disconnect1, same, 1},
		{"least, a tie", DiscardLeastChanges, Disconnect1, func(a, _ *State) { a.Changed = 50 }, nobody},
		{"least, crashed", DiscardLeastChanges, Disconnect1, func(a, _ *State) { a.Crashed = true }, nobody},
		{"zero, both changed", DiscardZeroChanges, Disconnect1, same, nobody},
		{"zero", DiscardZeroChanges, Disconnect1, func(a, _ *State) { a.Changed = 0 }, 0},
		{"node", DiscardNode0, Disconnect1, same, 0},
		{"node that the voters hold current", DiscardNode0, Disconnect1,
			func(_, b *State) { b.Accepted = arbiter.Accepted{Epoch: 4, Version: 1, Set: 1} }, nobody},
		{"different policies", DiscardNode0, Disconnect1, func(a, _ *State) { a.Policy.Zero = DiscardNode1 }, nobody},
		{"one Primary: disconnect", DiscardNode1, Disconnect1, primary, nobody},
		{"one Primary: secondary", Disconnect0, DiscardSecondary, primary, 1},
		{"one Primary: consensus", DiscardLeastChanges, Consensus, primary, 1},
		{"one Primary: no consensus", DiscardOlderPrimary, Consensus, primary, nobody},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			a, b := apart(tc.zero, tc.one)
			tc.change(&a, &b)
			v, w := Decide(a, b), Decide(b, a)
			if v.Name != SplitBrain || w.Name != SplitBrain || v.Loser != w.Loser || v.Discards != w.Discards {
				t.Fatalf("%+v and %+v", v, w)
			}
			if v.Discards != (tc.loser != nobody) || v.Discards && v.Loser != tc.loser {
				t.Errorf("%v: discards %v node %d", v, v.Discards, v.Loser)
			}
		})
	}
}

func TestParsePolicies(t *testing.T) {
	nodes := []string{"server1", "server2"}
	for text, want := range map[string]ZeroPrimaries{"": Disconnect0, "discard-least-changes": DiscardLeastChanges,
		"discard-node-server2": DiscardNode1} {
		if p, err := ParseZero(text, nodes); err != nil || p != want {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"discard-node-server3", "violently"} {
		if _, err := ParseZero(text, nodes); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if _, err := ParseOne("violently-as0p"); err == nil {
		t.Error("violently-as0p was taken")
	}
	if p, err := ParseOne("consensus"); err != nil || p != Consensus {
		t.Errorf("%v, %v", p, err)
	}
	if CheckTwo("disconnect") != nil || CheckTwo("violently-as0p") == nil {
		t.Error("after-sb-2pri takes disconnect only")
	}
}
