package tour

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gemel/lab/checker"
	"gemel/lab/cluster"
)

const (
	ackLog  = "/tmp/tour.acks" // on the client's own disk
	pidFile = "/tmp/tour.pid"
	program = "/opt/gemel/bin/lab"
)

func clusterAddress() string { return cluster.VIP.String() }

var (
	errNoReport = errors.New("the client's checker left no report")
	errNoEnd    = errors.New("the client's checker does not end when told to")
)

// writer is the checker at work in the client's box.
type writer struct {
	tour     *tour
	progress chan checker.Progress // closed when it ended
	report   checker.Report        // valid when progress is closed
	problem  error
	stderr   bytes.Buffer
	cancel   context.CancelFunc
}

// startWriter starts the checker. The engine cannot end a command by itself, so it
// leaves its process id behind and ends by itself after five minutes.
func (t *tour) startWriter(ctx context.Context) (*writer, error) {
	line := strings.Join([]string{"echo $$ >" + pidFile + "; exec", program, "check write --json-progress",
		"--server", clusterAddress(), "--export", export, "--file tour", "--ack-log", ackLog,
		"--slots 30000 --duration 5m"}, " ")
	ctx, cancel := context.WithCancel(ctx)
	w := &writer{tour: t, progress: make(chan checker.Progress, 16), cancel: cancel}
	pipe, feed := io.Pipe()
	go func() {
		_, err := t.lab.Stream(ctx, "client", feed, &w.stderr, "sh", "-c", line)
		_ = feed.CloseWithError(err)
	}()
	go func() {
		defer close(w.progress)
		w.problem = w.read(pipe)
	}()
	return w, nil
}

// read passes progress on until the report, which is the last line.
func (w *writer) read(lines io.Reader) error {
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		p, report, err := parseWriter(scanner.Bytes())
		switch {
		case err != nil:
			return err
		case report != nil:
			w.report = *report
		default:
			w.progress <- p
		}
	}
	return scanner.Err()
}

// parseWriter reads one line of the checker: the report is the one that names its run.
func parseWriter(line []byte) (checker.Progress, *checker.Report, error) {
	var report checker.Report
	var p checker.Progress
	if err := json.Unmarshal(line, &report); err != nil {
		return p, nil, fmt.Errorf("the checker said %q: %w", line, err)
	}
	if report.Run != "" {
		return p, &report, nil
	}
	if err := json.Unmarshal(line, &p); err != nil {
		return p, nil, fmt.Errorf("the checker said %q: %w", line, err)
	}
	return p, nil, nil
}

// gone says why the checker ended before it was told to.
func (w *writer) gone() error {
	words := strings.TrimSpace(w.stderr.String())
	if w.problem != nil {
		return fmt.Errorf("the client's checker ended too early: %w: %s", w.problem, words)
	}
	return fmt.Errorf("the client's checker ended too early: %s", words)
}

// stop ends the checker, even when the tour is being ended, and returns its report.
func (w *writer) stop(ctx context.Context) (checker.Report, error) {
	defer w.cancel()
	free := context.WithoutCancel(ctx)
	// One that ended already cannot be told; its report or the lack of it says enough.
	_, _ = w.tour.command(free, 5*time.Second, "client", "sh", "-c", "kill -TERM $(cat "+pidFile+")")
	giveUp := time.After(10 * time.Second)
	for {
		select {
		case _, open := <-w.progress:
			if open {
				continue
			}
			if w.report.Run == "" {
				return w.report, errNoReport
			}
			return w.report, nil
		case <-giveUp:
			return checker.Report{}, errNoEnd
		}
	}
}

// verify reads every acknowledged record back through the address of the pair.
func (t *tour) verify(ctx context.Context) (checker.VerifyReport, error) {
	var report checker.VerifyReport
	out, err := t.command(ctx, patience, "client", program, "check", "verify", "--ack-log", ackLog, "--limit", "50s")
	if parseErr := json.Unmarshal([]byte(out), &report); parseErr != nil && err == nil {
		err = fmt.Errorf("verify said %q: %w", out, parseErr)
	}
	if report.Run != "" && !report.OK() {
		return report, nil // the account tells it
	}
	return report, err
}
