package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"gemel/node/config"
)

// wanted is how far ahead of the mirror each row over NBD should be.
var wanted = map[string]float64{
	"1M write qd8":      2,
	"4k randwrite qd32": 4,
	"4k write qd1":      1.3,
	"1M read qd8":       1,
	"4k randread qd32":  1,
}

// duel is one row, measured in turn on the replicated volume and on the mirror,
// both through the same NBD client.
type duel struct {
	Row    string    `json:"row"`
	Wanted float64   `json:"wanted_ratio"`
	Ours   []figures `json:"gemel"`
	Theirs []figures `json:"mirror"`
}

// nbd measures volume and mirror side by side: both are up all the time, and one
// of them works at a time, so that other load on the machine meets both alike.
func (b *bench) nbd() error {
	mirrorWiring, err := newWiringOf(b.room, "m", "")
	if err != nil {
		return err
	}
	m, err := newMirror(b.room, mirrorWiring, b.size)
	if err != nil {
		return err
	}
	w, err := newWiring(b.room, "")
	if err != nil {
		return err
	}
	p, err := newPair(b.room, w, b.gemel, config.FrontendNBDSocket, b.size)
	if err != nil {
		return err
	}
	for _, w := range rows {
		if target := wanted[w.Name]; target > 0 && strings.Contains(w.Name, b.match) {
			b.report.Duels = append(b.report.Duels, &duel{Row: w.Name, Wanted: target})
		}
	}
	for round := range b.rounds {
		for _, d := range b.report.Duels {
			if err := b.fight(d, round, p.target, m.target); err != nil {
				return err
			}
		}
	}
	return nil
}

// fight adds one measurement of each side; who is first changes with the round.
func (b *bench) fight(d *duel, round int, ours, theirs target) error {
	w := rows[slices.IndexFunc(rows, func(w row) bool { return w.Name == d.Row })]
	sides := []struct {
		name string
		on   target
		into *[]figures
	}{{"gemel", ours, &d.Ours}, {"mirror", theirs, &d.Theirs}}
	if round%2 == 1 {
		slices.Reverse(sides)
	}
	for _, s := range sides {
		f, err := measure(b.room.ctx, s.on, w, b.seconds)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		*s.into = append(*s.into, f)
		say("%d  %-18s %-6s %8.0f IOPS %8.1f MB/s  mean %6.0f us", round+1, w.Name, s.name, f.IOPS, f.MBps, f.Mean)
	}
	return nil
}

// ratio is the median of the rounds' own ratios: the two sides of one round met
// the same load.
func (d *duel) ratio() float64 {
	var list []float64
	for i := range min(len(d.Ours), len(d.Theirs)) {
		if d.Theirs[i].IOPS > 0 {
			list = append(list, d.Ours[i].IOPS/d.Theirs[i].IOPS)
		}
	}
	return median(list)
}

// median returns the middle of the list, 0 when it is empty.
func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	half := len(list) / 2
	if len(list)%2 == 1 {
		return list[half]
	}
	return (list[half-1] + list[half]) / 2
}

func medianOf(list []figures, of func(figures) float64) float64 {
	var values []float64
	for _, f := range list {
		values = append(values, of(f))
	}
	return median(values)
}

func (p *report) writeDuels(out io.Writer) {
	if len(p.Duels) == 0 {
		return
	}
	_, _ = fmt.Fprintf(out, "\nOver NBD, in turn, medians of %d rounds: the replicated volume (protocol C, TLS) against the mirror (no TLS).\n\n",
		len(p.Duels[0].Ours))
	_, _ = fmt.Fprintln(out, "| row | gemel IOPS | MB/s | mean us | mirror IOPS | MB/s | mean us | ratio | wanted |")
	_, _ = fmt.Fprintln(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, d := range p.Duels {
		cells := []string{d.Row}
		for _, side := range [][]figures{d.Ours, d.Theirs} {
			cells = append(cells,
				fmt.Sprintf("%.0f", medianOf(side, func(f figures) float64 { return f.IOPS })),
				fmt.Sprintf("%.1f", medianOf(side, func(f figures) float64 { return f.MBps })),
				fmt.Sprintf("%.0f", medianOf(side, func(f figures) float64 { return f.Mean })))
		}
		cells = append(cells, fmt.Sprintf("%.2f", d.ratio()), fmt.Sprintf("%.1f", d.Wanted))
		_, _ = fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
	}
}
