package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// contestant is one of several subjects that are up all the time and work in
// turn, so that other load on the machine meets all alike.
type contestant struct {
	name    string
	text    string // what it is, for the report
	on      target
	daemons []*daemon // whose processor time is told
}

// claim is how many times as fast as another a contestant should be in a row.
type claim struct {
	Row    string  `json:"row"`
	Over   string  `json:"over"`
	Under  string  `json:"under"`
	Wanted float64 `json:"wanted_ratio"`
}

// contest is what the rounds of one part found.
type contest struct {
	What    string                          `json:"what"`
	Names   []string                        `json:"names"`
	Texts   map[string]string               `json:"texts"`
	Claims  []claim                         `json:"claims"`
	Samples map[string]map[string][]figures `json:"samples"` // by row, then contestant; one of each round
}

// contend measures, round by round, each row of the claims on everybody whom a
// claim on it names. Who is first changes with the round.
func (b *bench) contend(what string, claims []claim, all []contestant) error {
	c := &contest{What: what, Texts: map[string]string{}, Samples: map[string]map[string][]figures{}}
	for _, x := range all {
		c.Names, c.Texts[x.name] = append(c.Names, x.name), x.text
	}
	for _, claim := range claims {
		if strings.Contains(claim.Row, b.match) {
			c.Claims = append(c.Claims, claim)
		}
	}
	b.report.Contests = append(b.report.Contests, c)
	for round := range b.rounds {
		for _, w := range rows {
			if err := b.round(c, w, round, all); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) round(c *contest, w row, round int, all []contestant) error {
	all = slices.DeleteFunc(slices.Clone(all), func(x contestant) bool { return !c.needs(w.Name, x.name) })
	if round%2 == 1 {
		slices.Reverse(all)
	}
	for _, x := range all {
		before, switched := busy(x.daemons), switches(x.daemons)
		f, err := measure(b.room.ctx, x.on, w, b.seconds)
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		// The first second is not in the figures, but in the processor time.
		requests := max(f.IOPS*float64(b.seconds+1), 1)
		f.CPU = (busy(x.daemons) - before) / requests * 1e6
		f.Switches = (switches(x.daemons) - switched) / requests
		if c.Samples[w.Name] == nil {
			c.Samples[w.Name] = map[string][]figures{}
		}
		c.Samples[w.Name][x.name] = append(c.Samples[w.Name][x.name], f)
		say("%d  %-22s %-10s %8.0f IOPS %8.1f MB/s  mean %6.0f us  CPU %5.0f us %5.1f switches", round+1, w.Name, x.name,
			f.IOPS, f.MBps, f.Mean, f.CPU, f.Switches)
	}
	return nil
}

func (c *contest) needs(row, name string) bool {
	return slices.ContainsFunc(c.Claims, func(k claim) bool {
		return k.Row == row && (k.Over == name || k.Under == name)
	})
}

// ratio is how many times as fast the one was as the other.
func (c *contest) ratio(k claim) float64 {
	return c.ratioOf(k, func(f figures) float64 { return f.IOPS })
}

// cost is how many times the other's processor time a request took.
func (c *contest) cost(k claim) float64 {
	return c.ratioOf(k, func(f figures) float64 { return f.CPU })
}

// ratioOf is the median of the rounds' own ratios: all of one round met about the
// same load. It is 0 where nothing is known of one of them.
func (c *contest) ratioOf(k claim, of func(figures) float64) float64 {
	over, under := c.Samples[k.Row][k.Over], c.Samples[k.Row][k.Under]
	var list []float64
	for i := range min(len(over), len(under)) {
		if of(under[i]) > 0 {
			list = append(list, of(over[i])/of(under[i]))
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

// write prints the claims with what was found, then the medians.
func (c *contest) write(out io.Writer) {
	_, _ = fmt.Fprintf(out, "\n## %s\n\n", c.What)
	for _, name := range c.Names {
		_, _ = fmt.Fprintf(out, "- %s: %s\n", name, c.Texts[name])
	}
	_, _ = fmt.Fprintln(out, "\n| row | ratio of | to | median | wanted | | of the processor time |")
	_, _ = fmt.Fprintln(out, "|---|---|---|--:|--:|---|--:|")
	for _, k := range c.Claims {
		ratio, verdict := c.ratio(k), "short"
		if ratio >= k.Wanted {
			verdict = "met"
		}
		_, _ = fmt.Fprintf(out, "| %s | %s | %s | %.2f | %.1f | %s | %.2f |\n", k.Row, k.Over, k.Under, ratio, k.Wanted, verdict,
			c.cost(k))
	}
	_, _ = fmt.Fprintln(out, "\n| medians of the rounds | on | IOPS | MB/s | mean us | CPU us per request | CPU s per GB | context switches |")
	_, _ = fmt.Fprintln(out, "|---|---|--:|--:|--:|--:|--:|--:|")
	for _, w := range rows {
		for _, name := range c.Names {
			if list := c.Samples[w.Name][name]; len(list) > 0 {
				_, _ = fmt.Fprintf(out, "| %s | %s | %.0f | %.1f | %.0f | %.0f | %.2f | %.1f |\n", w.Name, name,
					medianOf(list, func(f figures) float64 { return f.IOPS }),
					medianOf(list, func(f figures) float64 { return f.MBps }),
					medianOf(list, func(f figures) float64 { return f.Mean }),
					medianOf(list, func(f figures) float64 { return f.CPU }), medianOf(list, figures.perGB),
					medianOf(list, func(f figures) float64 { return f.Switches }))
			}
		}
	}
}

// perGB is the daemons' processor time in seconds for 10^9 bytes.
func (f figures) perGB() float64 {
	if f.MBps == 0 {
		return 0
	}
	return f.CPU * f.IOPS / f.MBps / 1e3
}

func medianOf(list []figures, of func(figures) float64) float64 {
	var values []float64
	for _, f := range list {
		values = append(values, of(f))
	}
	return median(values)
}

// busy returns the processor time in seconds that the daemons have used so far.
func busy(daemons []*daemon) float64 {
	var sum float64
	for _, d := range daemons {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(d.cmd.Process.Pid), "stat"))
		if err == nil {
			sum += busyOf(string(text))
		}
	}
	return sum
}

// switches returns how often threads of the daemons went to sleep or were made to
// wait so far; those of threads that have ended are not known.
func switches(daemons []*daemon) (sum float64) {
	for _, d := range daemons {
		threads, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(d.cmd.Process.Pid), "task", "*", "status"))
		for _, path := range threads {
			text, _ := os.ReadFile(path)
			sum += switchesOf(string(text))
		}
	}
	return sum
}

// switchesOf adds both kinds of context switches in a thread's status.
func switchesOf(status string) (sum float64) {
	for line := range strings.Lines(status) {
		if name, value, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "_ctxt_switches") {
			n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			sum += n
		}
	}
	return sum
}

// busyOf reads utime and stime, the 14th and 15th field of /proc/PID/stat, which
// are counted in hundredths of a second. The second field may hold blanks.
func busyOf(stat string) float64 {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}
