package config

import (
	"fmt"
	"sort"
	"strings"
)

// Mistake is one thing that is wrong with a configuration.
type Mistake struct {
	Where string // "gemel.yaml:12", or "environment GEMEL_TIMING_LEASE"
	Line  int    // 0 when the file as a whole or the environment is meant
	Key   string // such as "volumes[0].name"
	Text  string
}

// String shows the mistake as one line.
func (m Mistake) String() string {
	if m.Key == "" {
		return fmt.Sprintf("%s: %s", m.Where, m.Text)
	}
	return fmt.Sprintf("%s: %s: %s", m.Where, m.Key, m.Text)
}

// Mistakes is every mistake of a configuration, in the order of the file. It is
// the error that Load returns for a file that could be read but not accepted.
type Mistakes []Mistake

// Error lists the mistakes, one per line.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

func (ms Mistakes) sorted() Mistakes {
	sort.SliceStable(ms, func(i, j int) bool { return ms[i].Line < ms[j].Line })
	return ms
}

// nearest returns the candidate that takes the fewest edits to reach from name,
// or "" when none is near enough to be what was meant.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", len(name)/2+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), strings.ToLower(c)); d <= bestDistance && (d < bestDistance || best == "") {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours between a and b.
func editDistance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
