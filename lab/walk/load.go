package walk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"gemel/lab/checker"
	"gemel/lab/cluster"
)

// What the client writes: records of 4 KiB, so many a second, over a file of 8 MiB.
const (
	loadRate  = "100"
	loadSlots = "2000"
	startTime = 30 * time.Second
	stopTime  = 30 * time.Second
)

// load is a checker that writes from the client's box.
type load struct {
	lab  *cluster.Cluster
	name string
	out  output
	done chan struct{}
	err  error // of the stream; read after done
}

// startLoad begins to write and returns when the first record is acknowledged.
func startLoad(ctx context.Context, lab *cluster.Cluster, name string) (*load, error) {
	l := &load{lab: lab, name: name, done: make(chan struct{})}
	// It outlives the call, and is ended by stop.
	go l.run(context.WithoutCancel(ctx))
	deadline := time.Now().Add(startTime)
	for l.acked() == 0 {
		select {
		case <-ctx.Done():
			return l, ctx.Err()
		case <-l.done:
			return l, fmt.Errorf("the client ends at once: %w: %s", l.err, l.out.text())
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return l, fmt.Errorf("the client gets no acknowledgement within %v: %s", startTime, l.out.last())
		}
	}
	return l, nil
}

func (l *load) ackLog() string  { return "/tmp/" + l.name + ".acks" }
func (l *load) pidFile() string { return "/tmp/" + l.name + ".pid" }

func (l *load) run(ctx context.Context) {
	defer close(l.done)
	line := strings.Join([]string{"echo $$ >" + l.pidFile() + "; exec /opt/gemel/bin/lab check write --json-progress",
		"--server", cluster.VIP.String(), "--export /srv/data --file", l.name, "--ack-log", l.ackLog(),
		"--rate", loadRate, "--slots", loadSlots}, " ")
	_, l.err = l.lab.Stream(ctx, "client", &l.out, &l.out, "sh", "-c", line)
}

func (l *load) acked() uint64 {
	var p checker.Progress
	_ = json.Unmarshal([]byte(l.out.last()), &p) // a line that is none counts nothing
	return p.AckedTotal
}

// stop ends the writing and returns the client's account.
func (l *load) stop(ctx context.Context) (checker.Report, error) {
	var report checker.Report
	if _, err := l.lab.Exec(ctx, "client", "sh", "-c", "kill -INT $(cat "+l.pidFile()+")"); err != nil {
		return report, fmt.Errorf("end the client: %w", err)
	}
	select {
	case <-l.done:
	case <-time.After(stopTime):
		return report, errors.New("the client does not end when told to")
	}
	if l.err != nil {
		return report, fmt.Errorf("the client broke off: %w", l.err)
	}
	if err := json.Unmarshal([]byte(l.out.last()), &report); err != nil {
		return report, fmt.Errorf("the client's account: %w: %s", err, l.out.last())
	}
	return report, nil
}

// forget removes the file and its log.
func (l *load) forget(ctx context.Context, primary string) {
	_, _ = l.lab.Exec(ctx, primary, "rm", "-f", "/srv/data/"+l.name+".0")
	_, _ = l.lab.Exec(ctx, "client", "rm", "-f", l.ackLog(), l.pidFile())
}

// output keeps what a stream says.
type output struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.Write(p)
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.String()
}

// last returns the last whole line.
func (o *output) last() string {
	whole := strings.TrimRight(o.text(), "\n")
	return whole[strings.LastIndexByte(whole, '\n')+1:]
}
