package main

import (
	"slices"
	"strings"
	"testing"
)

func TestContestTellsMediansOfRounds(t *testing.T) {
	k := claim{"1M write qd8", "ours", "theirs", 2}
	c := &contest{What: "x", Names: []string{"ours", "theirs"}, Claims: []claim{k}, Samples: map[string]map[string][]figures{
		k.Row: {"ours": {{IOPS: 100, Switches: 2.5}, {Switches: 2, IOPS: 40}, {IOPS: 90, Switches: 3}}, "theirs": {{IOPS: 50}, {IOPS: 10}, {IOPS: 30}}}}}
	if r := c.ratio(k); r != 3 { // of 2, 4 and 3
		t.Errorf("ratio %v, want 3", r)
	}
	var out strings.Builder
	c.write(&out)
	for _, want := range []string{"| 1M write qd8 | ours | theirs | 3.00 | 2.0 | met |", "| 1M write qd8 | ours | 90 | 0.0 | 0 | 0 | 0.00 | 2.5 |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
	if median([]float64{1, 4}) != 2.5 || median(nil) != 0 {
		t.Error("median of an even list, or of none")
	}
}

// TestClaimedRowsExist: a row that was renamed would not be measured.
func TestClaimedRowsExist(t *testing.T) {
	for _, k := range append(overNBD, overFUSE...) {
		if !slices.ContainsFunc(rows, func(w row) bool { return w.Name == k.Row }) {
			t.Errorf("there is no row %q", k.Row)
		}
	}
}

func TestBusyOf(t *testing.T) {
	const stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 9 0 0 0 150 25 0 0 20 0 8 0 1 2 3"
	if got := busyOf(stat); got != 1.75 {
		t.Errorf("%v seconds, want 1.75", got)
	}
	if got := busyOf("42 (short) S 1"); got != 0 {
		t.Errorf("%v seconds of nothing", got)
	}
}

func TestSwitchesOf(t *testing.T) {
	const status = "Name:\tgemel\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t25\n"
	if got := switchesOf(status); got != 175 {
		t.Errorf("%v switches, want 175", got)
	}
}
