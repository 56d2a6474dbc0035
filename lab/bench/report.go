package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// subject is what rows are measured on; the letters are those of the report.
type subject string

const (
	raw        subject = "a"
	alone      subject = "b"
	replicated subject = "c"
	mirrored   subject = "d"
)

var subjects = []struct {
	letter subject
	text   string
}{
	{raw, "loop device on a file, direct I/O"},
	{alone, "gemel, FUSE + loop on a file, peer absent"},
	{replicated, "gemel, replicated: protocol C, TLS, unthrottled cable"},
	{mirrored, "qemu-storage-daemon mirror, write-blocking, NBD, no TLS, unthrottled cable"},
}

// ratios are the columns that compare two subjects.
var ratios = [][2]subject{{alone, raw}, {replicated, alone}, {replicated, mirrored}}

// report is everything one run found.
type report struct {
	Time    time.Time                       `json:"time"`
	Host    string                          `json:"host"`
	Seconds int                             `json:"seconds_per_row"`
	Size    int64                           `json:"size_bytes"`
	Rows    map[string]map[subject]*figures `json:"rows"` // by row, then subject
	Syncs   []syncRate                      `json:"first_syncs"`
	// Contests are the parts whose subjects were measured in turn.
	Contests []*contest `json:"contests"`
	Memory   []held     `json:"memory,omitempty"`
}

// syncRate is a first synchronisation, or replicated writes, beside what the cable
// carries.
type syncRate struct {
	What     string  `json:"what"`
	MBps     float64 `json:"mb_per_s"`
	TCPLimit float64 `json:"tcp_mb_per_s,omitempty"` // of one plain stream over the same cable
	Work     work    `json:"work"`
}

// work is the processor time of both replicators, Primary first, over a time.
type work struct {
	Seconds float64    `json:"seconds"` // of the clock on the wall; 0: not measured
	CPU     [2]float64 `json:"cpu_seconds"`
}

func (w work) text() string {
	if w.Seconds == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f and %.1f s in %.1f (%.0f and %.0f %%)", w.CPU[0], w.CPU[1], w.Seconds,
		100*w.CPU[0]/w.Seconds, 100*w.CPU[1]/w.Seconds)
}

func newReport(seconds int, size int64) *report {
	p := &report{Time: time.Now(), Host: host(), Seconds: seconds, Size: size, Rows: map[string]map[subject]*figures{}}
	for _, w := range rows {
		p.Rows[w.Name] = map[subject]*figures{}
	}
	return p
}

func host() string {
	var name unix.Utsname
	_ = unix.Uname(&name)
	return fmt.Sprintf("%d CPUs, kernel %s", runtime.NumCPU(), unix.ByteSliceToString(name.Release[:]))
}

// write prints the report as Markdown.
func (p *report) write(out io.Writer) {
	fmt.Fprintf(out, "%s; %d s per row, %d MiB; %s\n\n", p.Host, p.Seconds, p.Size>>20, p.Time.Format(time.DateTime))
	if p.measured() {
		for _, s := range subjects {
			fmt.Fprintf(out, "- %s: %s\n", s.letter, s.text)
		}
		fmt.Fprintln(out)
		p.writeRatios(out)
		p.writeFigures(out)
	}
	p.writeSyncs(out)
	for _, c := range p.Contests {
		c.write(out)
	}
	p.writeMemory(out)
}

// measured reports whether any row was measured outside the part nbd.
func (p *report) measured() bool {
	for _, w := range rows {
		if len(p.Rows[w.Name]) > 0 {
			return true
		}
	}
	return false
}

func (p *report) writeRatios(out io.Writer) {
	fmt.Fprintln(out, "| IOPS | a | b | c | d | b/a | c/b | c/d |")
	fmt.Fprintln(out, "|---|--:|--:|--:|--:|--:|--:|--:|")
	for _, w := range rows {
		cells := []string{w.Name}
		for _, s := range subjects {
			cells = append(cells, number(p.Rows[w.Name][s.letter]))
		}
		for _, r := range ratios {
			cells = append(cells, ratio(p.Rows[w.Name][r[0]], p.Rows[w.Name][r[1]]))
		}
		fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
	}
}

func number(f *figures) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f", f.IOPS)
}

func ratio(over, under *figures) string {
	if over == nil || under == nil || under.IOPS == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", over.IOPS/under.IOPS)
}

func (p *report) writeFigures(out io.Writer) {
	fmt.Fprintln(out, "\n| row | on | IOPS | MB/s | mean us | p99 us |")
	fmt.Fprintln(out, "|---|---|--:|--:|--:|--:|")
	for _, w := range rows {
		for _, s := range subjects {
			if f := p.Rows[w.Name][s.letter]; f != nil {
				fmt.Fprintf(out, "| %s | %s | %.0f | %.1f | %.0f | %.0f |\n", w.Name, s.letter, f.IOPS, f.MBps, f.Mean, f.P99)
			}
		}
	}
	fmt.Fprintln(out, "\nThe latencies of the fsync row are those of the fsync. The mirror's fsync reaches its local disk only.")
}

func (p *report) writeSyncs(out io.Writer) {
	if len(p.Syncs) == 0 {
		return
	}
	fmt.Fprintln(out, "\n| over the cable | MB/s | one TCP stream, MB/s | of the limit | CPU of Primary's and Secondary's replicator |")
	fmt.Fprintln(out, "|---|--:|--:|--:|--:|")
	for _, s := range p.Syncs {
		limit, share := "-", "-"
		if s.TCPLimit > 0 {
			limit, share = fmt.Sprintf("%.0f", s.TCPLimit), fmt.Sprintf("%.0f %%", 100*s.MBps/s.TCPLimit)
		}
		fmt.Fprintf(out, "| %s | %.0f | %s | %s | %s |\n", s.What, s.MBps, limit, share, s.Work.text())
	}
}

// save writes the report as JSON.
func (p *report) save(path string) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("save report: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("save report: %w", err)
	}
	return nil
}
