package handshake

import (
	"errors"
	"fmt"
	"strings"

	"gemel/node/arbiter"
)

// ZeroPrimaries is what happens after a split brain while neither node is
// Primary, under DRBD's name after-sb-0pri.
type ZeroPrimaries uint8

// Policies for no Primary.
const (
	Disconnect0           ZeroPrimaries = iota // a human decides
	DiscardYoungerPrimary                      // who became Primary last loses
	DiscardOlderPrimary                        // who became Primary first loses
	DiscardZeroChanges                         // who changed nothing loses; else a human decides
	DiscardLeastChanges                        // who changed fewer bytes loses
	DiscardNode0
	DiscardNode1
)

// OnePrimary is what happens while one node is Primary, after-sb-1pri.
type OnePrimary uint8

// Policies for one Primary.
const (
	Disconnect1      OnePrimary = iota
	Consensus                   // the Secondary loses if after-sb-0pri says so too
	DiscardSecondary            // the Secondary loses
)

// Policy settles split brains without a human. Both nodes must have the same.
type Policy struct {
	Zero ZeroPrimaries
	One  OnePrimary
}

var zeroNames = map[string]ZeroPrimaries{"": Disconnect0, "disconnect": Disconnect0,
	"discard-younger-primary": DiscardYoungerPrimary, "discard-older-primary": DiscardOlderPrimary,
	"discard-zero-changes": DiscardZeroChanges, "discard-least-changes": DiscardLeastChanges}

// ParseZero reads after-sb-0pri; nodes are the names of node 0 and 1.
func ParseZero(text string, nodes []string) (ZeroPrimaries, error) {
	if p, ok := zeroNames[text]; ok {
		return p, nil
	}
	if name, ok := strings.CutPrefix(text, "discard-node-"); ok {
		for i, n := range nodes {
			if n == name && i < 2 {
				return DiscardNode0 + ZeroPrimaries(i), nil
			}
		}
		return 0, fmt.Errorf("%q names no node of the pair; they are %s", text, strings.Join(nodes, " and "))
	}
	return 0, fmt.Errorf("%q is not one of disconnect, discard-younger-primary, discard-older-primary, "+
		"discard-zero-changes, discard-least-changes, discard-node-NAME", text)
}

// ParseOne reads after-sb-1pri.
func ParseOne(text string) (OnePrimary, error) {
	switch text {
	case "", "disconnect":
		return Disconnect1, nil
	case "consensus":
		return Consensus, nil
	case "discard-secondary":
		return DiscardSecondary, nil
	case "violently-as0p":
		return 0, errors.New("violently-as0p could overwrite the Primary's data under its mounted file system; " +
			"take consensus, and let the Primary go by hand where its data shall be given up")
	case "call-pri-lost-after-sb":
		return 0, errors.New("there are no such handlers here; take consensus or discard-secondary")
	}
	return 0, fmt.Errorf("%q is not one of disconnect, consensus, discard-secondary", text)
}

// CheckTwo checks after-sb-2pri.
func CheckTwo(text string) error {
	if text == "" || text == "disconnect" {
		return nil
	}
	return fmt.Errorf("%q: there is nothing to settle between two Primaries here: the voters let one node reign, "+
		"the other lets go by itself and after-sb-1pri applies; only disconnect makes sense", text)
}

// loser returns who gives its data up by policy and by which, or why nobody does.
func (m *meeting) loser() (loser arbiter.NodeID, why string, ok bool) {
	if m.s.Policy != m.t.Policy {
		return 0, "the nodes have different policies for it", false
	}
	p := m.s.Policy
	switch {
	case !m.primary:
		loser, why, ok = m.zero(p.Zero)
	case p.One == DiscardSecondary:
		loser, why, ok = m.t.Node, "after-sb-1pri is discard-secondary", true
	case p.One == Consensus:
		loser, why, ok = m.zero(p.Zero)
		if ok && loser != m.t.Node {
			return 0, why + ", which is Primary", false
		}
	}
	if only, known := m.current(); ok && known && only == loser {
		return 0, fmt.Sprintf("%s, but node %d is the only one that the voters let reign", why, loser), false
	}
	return loser, why, ok
}

// zero is the choice of after-sb-0pri between both sides. It does not look at
// who is who, so both sides choose the same.
func (m *meeting) zero(p ZeroPrimaries) (arbiter.NodeID, string, bool) {
	a, b := &m.s, &m.t
	switch p {
	case DiscardNode0, DiscardNode1:
		return arbiter.NodeID(p - DiscardNode0), fmt.Sprintf("after-sb-0pri discards node %d", p-DiscardNode0), true
	case DiscardYoungerPrimary:
		return smaller(a, b, a.ReignStart, b.ReignStart, a.ReignStart != 0 && b.ReignStart != 0,
			"after-sb-0pri is discard-younger-primary", -1)
	case DiscardOlderPrimary:
		return smaller(a, b, a.ReignStart, b.ReignStart, a.ReignStart != 0 && b.ReignStart != 0,
			"after-sb-0pri is discard-older-primary", 1)
	case DiscardLeastChanges:
		return smaller(a, b, a.Changed, b.Changed, m.counted(), "after-sb-0pri is discard-least-changes", 1)
	case DiscardZeroChanges:
		return smaller(a, b, a.Changed, b.Changed, m.counted() && min(a.Changed, b.Changed) == 0,
			"after-sb-0pri is discard-zero-changes", 1)
	}
	return 0, "", false
}

// smaller picks the side with the smaller number, or with sign -1 the larger;
// equal numbers, and such as are not known, leave it to a human.
func smaller(a, b *State, x, y int64, known bool, why string, sign int64) (arbiter.NodeID, string, bool) {
	switch {
	case !known || x == y:
		return 0, why + ", but the sides do not differ in it or it is not known", false
	case sign*x < sign*y:
		return a.Node, why, true
	}
	return b.Node, why, true
}
