package tour

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gemel/lab/checker"
	"gemel/lab/cluster"
	"gemel/node/event"
	"gemel/node/replicator/control"
)

func recorded(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseViewOfASyncingPair(t *testing.T) {
	v, err := parseView(recorded(t, "status-syncing.json"))
	if err != nil {
		t.Fatal(err)
	}
	if v.primary() != "server2" {
		t.Errorf("primary: %q", v.primary())
	}
	if v.missing() != "the disks are being synchronised" {
		t.Errorf("missing: %q", v.missing())
	}
	got := (&meter{label: "first sync"}).progress(v.volume.Resync).render(80)
	want := "first sync [#####.................]  25 %   272 of 1072 MB   90 MB/s    9 s left"
	if got != want {
		t.Errorf("bar:\n got %q\nwant %q", got, want)
	}
}

func TestParseViewOfAHealthyPair(t *testing.T) {
	v, err := parseView(recorded(t, "status-healthy.json"))
	if err != nil {
		t.Fatal(err)
	}
	if v.primary() != "server2" || v.missing() != "" {
		t.Errorf("primary %q, missing %q", v.primary(), v.missing())
	}
}

func TestParseViewRefusesOtherThings(t *testing.T) {
	for _, text := range []string{"", "gemel: no agent", `{"node":"server1","volumes":[{"name":"other"}]}`} {
		if _, err := parseView([]byte(text)); err == nil {
			t.Errorf("%q was taken for a status", text)
		}
	}
}

func TestMissingNamesWhatIsWrong(t *testing.T) {
	healthy, err := parseView(recorded(t, "status-healthy.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want  string
		spoil func(*view)
	}{
		{"replicator is away", func(v *view) { v.status.ReplicatorProblem = "replicator is away" }},
		{"no metadata", func(v *view) { v.volume.Problem = "no metadata" }},
		{"is not heard", func(v *view) { v.status.Peer.Alive = false }},
		{"witness", func(v *view) { v.status.Witness.Reachable = false }},
		{"no server is Primary", func(v *view) { v.volume.Role, v.volume.PeerRole = control.Secondary, control.Secondary }},
		{"StandAlone split brain", func(v *view) {
			v.volume.Connection, v.volume.ConnectionReason = control.StandAlone, "split brain"
		}},
		{"not in sync", func(v *view) { v.volume.InSyncBy = v.volume.InSyncBy[:1] }},
	} {
		v := healthy
		c.spoil(&v)
		if got := v.missing(); !strings.Contains(got, c.want) {
			t.Errorf("got %q, want %q in it", got, c.want)
		}
	}
}

func TestParseWriter(t *testing.T) {
	lines := bufio.NewScanner(bytes.NewReader(recorded(t, "checker.jsonl")))
	var seconds int
	var report *checker.Report
	for lines.Scan() {
		p, r, err := parseWriter(lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if r != nil {
			report = r
			continue
		}
		seconds++
		if p.AckedTotal == 0 {
			t.Errorf("no records in %q", lines.Text())
		}
	}
	if seconds != 11 || report == nil || report.Acked != 625 || report.LongestPauseMS != 3727 {
		t.Errorf("%d seconds, report %+v", seconds, report)
	}
	if _, _, err := parseWriter([]byte("Error: mount refused")); err == nil {
		t.Error("an error message was taken for progress")
	}
}

// replay tells the recorded fail-over on a screen.
func replay(t *testing.T, screen *Screen) {
	t.Helper()
	s := newStory(screen)
	s.zero = time.Date(2026, 11, 23, 12, 14, 13, 400_000_000, time.UTC)
	lines := bufio.NewScanner(bytes.NewReader(recorded(t, "checker.jsonl")))
	for lines.Scan() {
		if p, r, err := parseWriter(lines.Bytes()); err == nil && r == nil {
			s.progress(p)
		}
	}
	// Every poll brings the old events again; they are told once.
	for range 2 {
		s.events(parseEvents(string(recorded(t, "events.jsonl"))), s.zero.Add(-calm))
	}
	s.flush(s.zero.Add(time.Minute))
}

func TestStoryOfAFailOver(t *testing.T) {
	var out bytes.Buffer
	replay(t, NewScreen(&out, 0))
	golden(t, "story.txt", out.Bytes())
	for _, line := range strings.Split(out.String(), "\n") {
		if len(line) > 96 {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := recorded(t, name); !bytes.Equal(got, want) {
		t.Errorf("%s differs (UPDATE_GOLDEN=1 rewrites it):\n%s", name, got)
	}
}

func TestStoryHoldsBackWhatIsTooNew(t *testing.T) {
	var out bytes.Buffer
	s := newStory(NewScreen(&out, 0))
	s.zero = time.Unix(1000, 0)
	s.add(moment{at: s.zero.Add(2 * time.Second), who: "late", text: "second"})
	s.add(moment{at: s.zero.Add(time.Second), who: "early", text: "first"})
	s.flush(s.zero.Add(1500 * time.Millisecond))
	if got := out.String(); !strings.Contains(got, "first") || strings.Contains(got, "second") {
		t.Errorf("%q", got)
	}
}

func TestEventsWorthTelling(t *testing.T) {
	for _, e := range []event.Event{{Kind: "link.up", Text: "x"}, {Kind: "step.done"},
		{Kind: "step.done", Fields: map[string]string{"step": "a", "took_ms": "0.3"}}} {
		if text, _, ok := eventWords(e); ok {
			t.Errorf("%s is told: %q", e.Kind, text)
		}
	}
}

func TestScreenElsewhereThanATerminal(t *testing.T) {
	var out bytes.Buffer
	s := NewScreen(&out, 0)
	for done := int64(0); done <= 1000; done++ {
		s.Bar(Progress{Label: "sync", Done: done, Total: 1000, Rate: 1})
	}
	s.EndBar()
	s.Line(s.paint(red, "end"))
	if strings.ContainsAny(out.String(), "\r\x1b") {
		t.Errorf("control characters in %q", out.String())
	}
	if got := strings.Count(out.String(), "\n"); got != 12 {
		t.Errorf("%d lines, want a line every ten per cent and the end", got)
	}
}

func TestScreenKeepsTheBarBelow(t *testing.T) {
	var out bytes.Buffer
	s := NewScreen(&out, 80)
	s.Bar(Progress{Label: "sync", Done: 1, Total: 2})
	s.Line("above")
	s.EndBar()
	drawn := strings.Split(out.String(), "\r\x1b[K")
	if len(drawn) != 3 || !strings.HasPrefix(drawn[2], "above\nsync [") || !strings.HasSuffix(drawn[2], "\n") {
		t.Errorf("%q", drawn)
	}
	if len(s.bar) >= 80 {
		t.Errorf("the bar has %d columns", len(s.bar))
	}
}

func TestBarFitsEightyColumns(t *testing.T) {
	for _, p := range []Progress{{}, {Done: 5, Total: 0}, {Done: 7e9, Total: 9e9, Rate: 123e6, Left: time.Hour}} {
		p.Label = "first sync"
		if got := p.render(79); len(got) > 79 {
			t.Errorf("%d columns: %q", len(got), got)
		}
	}
}

func TestMeter(t *testing.T) {
	m, start := &meter{}, time.Unix(1000, 0)
	m.add(start, nil)
	m.add(start.Add(time.Second), &control.Resync{Total: 1000e6, Done: 100e6})
	m.add(start.Add(9*time.Second), &control.Resync{Total: 1000e6, Done: 900e6})
	m.add(start.Add(10*time.Second), nil)
	if !m.halted || m.words() != "1000 MB in 10.0 s, 100 MB/s" {
		t.Errorf("%q %+v", m.words(), m)
	}
	m.add(start.Add(11*time.Second), &control.Resync{Total: 10, Done: 0})
	if m.halted || m.words() != "" {
		t.Errorf("a second resync is counted with the first: %q", m.words())
	}
}

func TestMeterOfAResyncThatEndsBetweenTwoLooks(t *testing.T) {
	m, start := &meter{}, time.Unix(1000, 0)
	m.add(start, nil)
	m.add(start.Add(300*time.Millisecond), &control.Resync{Total: 1000e6, Done: 57e6})
	if got := m.words(); got != "" {
		t.Errorf("a rate from a single look: %q", got)
	}
	m.add(start.Add(600*time.Millisecond), &control.Resync{Total: 1000e6, Done: 57.4e6})
	m.add(start.Add(900*time.Millisecond), nil)
	m.add(start.Add(2*time.Second), nil)
	if got, want := m.words(), "1000 MB in less than 0.9 s, over 1111 MB/s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRowsSayWhatWasLost(t *testing.T) {
	v, err := parseView(recorded(t, "status-healthy.json"))
	if err != nil {
		t.Fatal(err)
	}
	end := ending{was: "server1", now: v, again: &meter{}, wrote: checker.Report{Acked: 3, LongestPauseMS: 3456}}
	var text strings.Builder
	for _, row := range rows(end, checker.VerifyReport{Acked: 3, Found: 2, MissingN: 1}) {
		text.WriteString(row[0] + ": " + row[1] + "\n")
	}
	for _, want := range []string{"client's pause: 3.5 s, 0 errors", "acknowledged: 3 records, 12288 bytes",
		"found unbroken: 2 records, 8192 bytes; 1 MISSING, 0 DAMAGED", "first sync: at an earlier visit"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in:\n%s", want, text.String())
		}
	}
}

// unused panics when the tour goes on after the failure.
type unused interface{ Lab }

// brokenLab is a lab of which nothing answers.
type brokenLab struct{ unused }

func (brokenLab) Lab() string               { return "second" }
func (brokenLab) LogDir(node string) string { return "/logs/" + node }
func (brokenLab) Status(context.Context) (cluster.Status, error) {
	return cluster.Status{}, cluster.ErrNoLab
}

func TestFailureSaysWhereToLook(t *testing.T) {
	var out bytes.Buffer
	err := Run(t.Context(), brokenLab{}, NewScreen(&out, 0))
	if !errors.Is(err, cluster.ErrNoLab) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"/logs/server*", "bin/lab exec --lab second server1 gemel status"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

func TestClock(t *testing.T) {
	for since, want := range map[time.Duration]string{-20 * time.Millisecond: "0.0 s", 3140 * time.Millisecond: "+3.1 s",
		-4 * time.Second: "-4.0 s"} {
		if got := clock(since); got != want {
			t.Errorf("%v: %q, want %q", since, got, want)
		}
	}
}

func TestInterruptIsNoFailureOfTheLab(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Run(ctx, brokenLab{}, NewScreen(&bytes.Buffer{}, 0))
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "logs:") {
		t.Errorf("%v", err)
	}
}
