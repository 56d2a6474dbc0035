package main

import (
	"strings"
	"testing"
)

func TestDuelsAreMediansOfRounds(t *testing.T) {
	d := &duel{Row: "1M write qd8", Wanted: 2,
		Ours:   []figures{{IOPS: 100}, {IOPS: 40}, {IOPS: 90}},
		Theirs: []figures{{IOPS: 50}, {IOPS: 10}, {IOPS: 30}}}
	if r := d.ratio(); r != 3 { // of 2, 4 and 3
		t.Errorf("ratio %v, want 3", r)
	}
	var out strings.Builder
	(&report{Duels: []*duel{d}}).writeDuels(&out)
	if want := "| 1M write qd8 | 90 | 0.0 | 0 | 30 | 0.0 | 0 | 3.00 | 2.0 |"; !strings.Contains(out.String(), want) {
		t.Errorf("no line %q in\n%s", want, out.String())
	}
	if median([]float64{1, 4}) != 2.5 || median(nil) != 0 {
		t.Error("median of an even list, or of none")
	}
}

// TestWantedRowsExist: a row that was renamed would not be measured.
func TestWantedRowsExist(t *testing.T) {
	found := 0
	for _, w := range rows {
		if wanted[w.Name] > 0 {
			found++
		}
	}
	if found != len(wanted) {
		t.Errorf("%d of %d rows exist", found, len(wanted))
	}
}
