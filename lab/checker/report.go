package checker

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// maxSamples bounds the errors and pauses that a report spells out; counts go on.
const maxSamples = 100

// Report is the outcome of Run.
type Report struct {
	Run            string        `json:"run"`
	Acked          uint64        `json:"acked"`
	Errors         uint64        `json:"errors"` // refusals a program on the client would have seen
	ErrorSamples   []ClientError `json:"error_samples,omitempty"`
	Retries        uint64        `json:"retries"` // attempts that were repeated without anyone seeing
	LongestPauseMS int64         `json:"longest_pause_ms"`
	Pauses         []Pause       `json:"pauses,omitempty"` // those of at least Config.PauseFloor
	FirstAck       time.Time     `json:"first_ack"`
	LastAck        time.Time     `json:"last_ack"`
	LastRetry      string        `json:"last_retry,omitempty"`
}

// ClientError is one refusal by the server.
type ClientError struct {
	At     time.Time `json:"at"`
	Worker int       `json:"worker"`
	Record uint64    `json:"record"`
	Text   string    `json:"text"`
}

// Pause is a time in which no worker got any acknowledgement.
type Pause struct {
	From   time.Time `json:"from"`
	MS     int64     `json:"ms"`
	Reason string    `json:"reason,omitempty"` // last transport failure seen by then
	Open   bool      `json:"open,omitempty"`   // the run ended in it
}

// Progress is one line of the running account, once a second.
type Progress struct {
	T          time.Time `json:"t"`
	AckedTotal uint64    `json:"acked_total"`
	Errors     uint64    `json:"errors"`
	LastError  string    `json:"last_error,omitempty"` // of the current pause only
	StalledMS  int64     `json:"stalled_ms"`           // time since the last acknowledgement
}

// tally gathers what the workers report. Safe for concurrent use.
type tally struct {
	mu     sync.Mutex
	rep    Report
	floor  time.Duration
	last   time.Time // last acknowledgement, with monotonic reading
	reason string
}

func (t *tally) acked(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rep.Acked++
	if t.last.IsZero() {
		t.rep.FirstAck = at
	} else {
		t.pause(at, false)
	}
	if at.After(t.last) {
		t.last = at
	}
	t.reason = ""
}

// pause accounts for the time since the last acknowledgement.
func (t *tally) pause(now time.Time, open bool) {
	gap := now.Sub(t.last)
	t.rep.LongestPauseMS = max(t.rep.LongestPauseMS, gap.Milliseconds())
	if gap >= t.floor && len(t.rep.Pauses) < maxSamples {
		p := Pause{From: t.last, MS: gap.Milliseconds(), Reason: t.reason, Open: open}
		t.rep.Pauses = append(t.rep.Pauses, p)
	}
}

func (t *tally) retried(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rep.Retries++
	t.reason = err.Error()
	t.rep.LastRetry = t.reason
}

func (t *tally) refused(worker int, record uint64, err error, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rep.Errors++
	t.reason = err.Error()
	if len(t.rep.ErrorSamples) < maxSamples {
		e := ClientError{At: at, Worker: worker, Record: record, Text: err.Error()}
		t.rep.ErrorSamples = append(t.rep.ErrorSamples, e)
	}
}

func (t *tally) progress(now time.Time) Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := Progress{T: now, AckedTotal: t.rep.Acked, Errors: t.rep.Errors, LastError: t.reason}
	if !t.last.IsZero() {
		p.StalledMS = now.Sub(t.last).Milliseconds()
	}
	return p
}

// finish closes the account. A run that ends in silence has that silence counted.
func (t *tally) finish(now time.Time) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.last.IsZero() {
		t.pause(now, true)
		t.rep.LastAck = t.last
	}
	return t.rep
}

func writeLine(w io.Writer, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	return nil
}
