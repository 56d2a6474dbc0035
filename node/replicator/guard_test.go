package replicator

import (
	"testing"
	"time"

	"gemel/node/config"
	"gemel/node/vip"
)

func TestGuardDropsAddressesWhenTheLeaseIsOver(t *testing.T) {
	over, drops, notes := false, 0, 0
	g := &guard{volume: "data", over: func() bool { return over }, settled: time.Hour,
		drop: func([]vip.Address) error { drops++; return nil }, note: func(string, error) { notes++ }}
	start := time.Unix(1000, 0)
	for i, c := range []struct {
		after time.Duration
		over  bool
		drops int
		notes int
	}{
		{0, false, 0, 0},
		{50 * time.Millisecond, true, 1, 1},   // at once
		{100 * time.Millisecond, true, 1, 1},  // not again and again
		{1100 * time.Millisecond, true, 2, 1}, // but again, and without a word
		{1200 * time.Millisecond, false, 2, 1},
		{1250 * time.Millisecond, true, 3, 2}, // a lease that ran out anew
	} {
		over = c.over
		g.look(start.Add(c.after))
		if drops != c.drops || notes != c.notes {
			t.Errorf("look %d: %d drops, %d notes; want %d, %d", i, drops, notes, c.drops, c.notes)
		}
	}
}

func TestGuardDropsWhatADeadReignLeft(t *testing.T) {
	const settled = 6 * time.Second
	a := vip.Address{Interface: "lan0"}
	for name, c := range map[string]struct {
		there, primary bool
		want           int
	}{"left": {true, false, 1}, "nothing left": {false, false, 0}, "resumed meanwhile": {true, true, 0}} {
		drops := 0
		g := &guard{volume: "data", addresses: []vip.Address{a}, settled: settled, over: func() bool { return false },
			primary: func() bool { return c.primary },
			present: func(list []vip.Address) []vip.Address {
				if !c.there {
					return nil
				}
				return list
			},
			drop: func(list []vip.Address) error { drops += len(list); return nil }, note: func(string, error) {}}
		start := time.Unix(1000, 0)
		g.look(start)
		g.look(start.Add(settled - time.Millisecond))
		if drops != 0 {
			t.Errorf("%s: dropped before an agent could go on", name)
		}
		g.look(start.Add(settled))
		c.primary, c.there = false, true // later the agent decides
		g.look(start.Add(2 * settled))
		if drops != c.want {
			t.Errorf("%s: %d addresses dropped, want %d", name, drops, c.want)
		}
	}
}

func TestGuardedAddressesAreTheConfiguredOnes(t *testing.T) {
	list := guarded(&config.Volume{Addresses: []config.Address{{Address: "198.18.0.250", Interface: "lan0"},
		{Address: "fd00::250", Interface: "lan0"}}})
	if len(list) != 2 || list[0].String() != "198.18.0.250 on lan0" || list[1].String() != "fd00::250 on lan0" {
		t.Errorf("%v", list)
	}
}
