package sim

import (
	"fmt"
	"strings"
)

// Only returns the plan with none but the faults that are numbered in keep.
func (p Plan) Only(keep []int) Plan {
	faults := p.Faults
	p.Faults = nil
	for _, i := range keep {
		if i >= 0 && i < len(faults) {
			p.Faults = append(p.Faults, faults[i])
		}
	}
	return p
}

// Shrink looks for the fewest faults of p that still break the promise that v
// broke. It returns their numbers, and plays the plan at most tries times.
func Shrink(p Plan, v *Violation, tries int) []int {
	var keep []int
	for i, f := range p.Faults {
		if f.At <= v.At { // what came later is not to blame
			keep = append(keep, i)
		}
	}
	breaks := func(some []int) bool {
		tries--
		r := Run(p.Only(some), Options{})
		return r.Violation != nil && r.Violation.Promise == v.Promise
	}
	if !breaks(keep) { // it was the fault's absence that did it: keep them all
		return all(len(p.Faults))
	}
	for size := (len(keep) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from < len(keep) && tries > 0; {
			less := append(append([]int(nil), keep[:from]...), keep[min(from+size, len(keep)):]...)
			if breaks(less) {
				keep = less
			} else {
				from += size
			}
		}
	}
	return keep
}

func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// storyLines is how many of the last sentences of a story are worth reading.
const storyLines = 60

// Explain plays the seed's plan with none but the faults in keep, and tells it
// in words: the faults, the last of what happened, the promise that broke, and
// how to play it again. keep nil keeps all of them.
func Explain(p Plan, keep []int) string {
	if keep == nil {
		keep = all(len(p.Faults))
	}
	r := Run(p.Only(keep), Options{Story: true})
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %d of its %d faults\n\nfaults (seconds):\n", p.Seed, len(keep), len(p.Faults))
	for _, f := range r.Plan.Faults {
		fmt.Fprintf(&b, "%v\n", f)
	}
	b.WriteString("\nwhat happened:\n")
	if skipped := len(r.Story) - storyLines; skipped > 0 {
		fmt.Fprintf(&b, "           (%d sentences before)\n", skipped)
		r.Story = r.Story[skipped:]
	}
	for _, l := range r.Story {
		fmt.Fprintf(&b, "%s\n", l)
	}
	if r.Violation == nil {
		b.WriteString("\nevery promise was kept\n")
	} else {
		fmt.Fprintf(&b, "\nBROKEN %v\n", r.Violation)
	}
	fmt.Fprintf(&b, "\nagain: go run ./lab/sim/simulate -first %d -keep %s\n", p.Seed, numbers(keep))
	return b.String()
}

func numbers(keep []int) string {
	if len(keep) == 0 {
		return "none"
	}
	var out []string
	for _, i := range keep {
		out = append(out, fmt.Sprint(i))
	}
	return strings.Join(out, ",")
}
