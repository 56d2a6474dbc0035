package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/checker"
	"gemel/lab/cluster"
)

const (
	loadRate  = 200  // records of 4 KiB per second
	loadSlots = 2000 // records a file holds: 8 MiB
)

// load is a checker that writes from the client box until it is stopped.
type load struct {
	name   string
	lab    *cluster.Cluster
	lines  lines
	done   chan struct{}
	err    error          // of the stream; read after done
	report checker.Report // after stop
	ended  bool
}

var loadCount int

// startLoad begins to write and returns when records are being acknowledged.
func (p *pair) startLoad(ctx context.Context, rate int) *load {
	GinkgoHelper()
	loadCount++
	l := &load{name: fmt.Sprintf("load%d", loadCount), lab: p.lab, done: make(chan struct{})}
	p.loads = append(p.loads, l)
	// The run outlives the step that starts it, and is ended by stop.
	go l.run(context.WithoutCancel(ctx), rate)
	Eventually(ctx, l.acked).WithTimeout(20*time.Second).Should(BeNumerically(">", 0),
		func() string { return "the load does not begin: " + l.lines.all() })
	return l
}

func (l *load) ackLog() string  { return "/tmp/" + l.name + ".acks" }
func (l *load) pidFile() string { return "/tmp/" + l.name + ".pid" }

func (l *load) run(ctx context.Context, rate int) {
	defer close(l.done)
	command := fmt.Sprintf("echo $$ >%s; exec /opt/gemel/bin/lab check write --server %s --export /srv/data"+
		" --file %s --ack-log %s --rate %d --slots %d --json-progress",
		l.pidFile(), cluster.VIP, l.name, l.ackLog(), rate, loadSlots)
	var code int
	code, l.err = l.lab.Stream(ctx, "client", &l.lines, &l.lines, "sh", "-c", command)
	if l.err == nil && code != 0 {
		l.err = fmt.Errorf("the load ended with code %d: %s", code, l.lines.all())
	}
}

// progress returns the newest line of the running account.
func (l *load) progress() (p checker.Progress) {
	_ = json.Unmarshal(l.lines.last(), &p)
	return p
}

func (l *load) acked() uint64 { return l.progress().AckedTotal }

// awaitFlow waits until records are acknowledged that were written after now.
func (l *load) awaitFlow(ctx context.Context, limit time.Duration) {
	GinkgoHelper()
	from := time.Now()
	var base uint64
	Eventually(ctx, func() bool {
		now := l.progress()
		if !now.T.After(from) {
			return false
		}
		if base == 0 {
			base = now.AckedTotal // holds what came before the trouble
		}
		return now.AckedTotal > base+loadRate/10
	}).WithTimeout(limit).WithPolling(200*time.Millisecond).
		Should(BeTrue(), func() string {
			return fmt.Sprintf("the client gets no acknowledgements: %+v\n%s", l.progress(), world.statuses())
		})
}

// stop ends the writing and keeps its report. A second stop does nothing.
func (l *load) stop(ctx context.Context) checker.Report {
	GinkgoHelper()
	if l.ended {
		return l.report
	}
	l.ended = true
	_, err := l.lab.Exec(ctx, "client", "sh", "-c", "kill -INT $(cat "+l.pidFile()+")")
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, l.done).WithTimeout(20*time.Second).Should(BeClosed(), "the load does not end")
	Expect(l.err).NotTo(HaveOccurred())
	Expect(json.Unmarshal(l.lines.last(), &l.report)).To(Succeed())
	return l.report
}

func (p *pair) stopLoads(ctx context.Context) {
	for _, l := range p.loads {
		l.stop(ctx)
	}
}

// underLoad makes trouble while the client writes, waits until it gets
// acknowledgements again, and notes the client's longest pause.
func (p *pair) underLoad(ctx context.Context, trouble func()) checker.Report {
	GinkgoHelper()
	l := p.startLoad(ctx, loadRate)
	time.Sleep(time.Second) // some records first: a fault on an idle volume proves little
	trouble()
	l.awaitFlow(ctx, time.Minute)
	time.Sleep(time.Second)
	report := l.stop(ctx)
	notePause(CurrentSpecReport().FullText(), report)
	return report
}

// lines keeps the last whole line of a stream, and all of it for a failure.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *lines) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *lines) last() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.text.Bytes()
	end := bytes.LastIndexByte(text, '\n')
	if end < 0 {
		return nil
	}
	return bytes.Clone(text[bytes.LastIndexByte(text[:end], '\n')+1 : end])
}

func (w *lines) all() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// pauses are the client's longest pauses, in the order the scenarios ran.
var pauses []string

func notePause(scenario string, report checker.Report) {
	line := fmt.Sprintf("%-8s %5d acknowledged %3d errors  %s",
		strconv.FormatInt(report.LongestPauseMS, 10)+" ms", report.Acked, report.Errors, scenario)
	pauses = append(pauses, line)
	AddReportEntry("client's pause", line)
	for _, e := range report.ErrorSamples {
		fmt.Fprintf(GinkgoWriter, "client error: %+v\n", e)
	}
}

func printPauses() {
	for _, line := range pauses {
		fmt.Println("client's pause:", line)
	}
}

func longest(report checker.Report) time.Duration {
	return time.Duration(report.LongestPauseMS) * time.Millisecond
}
