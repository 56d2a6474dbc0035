// Package chronicle reads decisions out of a node's events: what was decided,
// what it rests on, and the steps that followed, with their times. It is pure;
// it neither keeps events nor prints them.
package chronicle

import (
	"strings"
	"time"

	"gemel/node/event"
)

// Kinds of decisions that have a course; of every other decision the kind is its
// event's.
const (
	TakeOver = "take-over"
	Resume   = "resume"
	HandOver = "hand-over"
	LetGo    = "let-go"
)

// Decision is one thing that a node decided, and what became of it.
type Decision struct {
	Time   time.Time `json:"time"`
	Node   string    `json:"node"`
	Volume string    `json:"volume,omitempty"`
	Kind   string    `json:"kind"`
	Text   string    `json:"text"`
	Reason string    `json:"reason,omitempty"`
	// Seen is what the decision rests on, by name; see failover.Inputs.
	Seen map[string]string `json:"seen,omitempty"`
	// Steps are the phases of a course, in the order of their begin; Total counts
	// from the first one's begin to the last one's end.
	Steps []Step        `json:"steps,omitempty"`
	Total time.Duration `json:"total_ns,omitempty"`
	// Outcome is how a course ended; empty: it had not when the events end.
	Outcome string `json:"outcome,omitempty"`
	Failed  bool   `json:"failed,omitempty"`
}

// Step is one phase of a course.
type Step struct {
	Name   string        `json:"name"`
	Begin  time.Time     `json:"begin"`
	Took   time.Duration `json:"took_ns"`
	Result string        `json:"result"` // "done", or why not
	Failed bool          `json:"failed,omitempty"`
}

// plain are the events without a course that are decisions, or what decisions rest
// on. A trailing dot stands for all kinds that begin so.
var plain = []string{"failure.", "peer.alive", "witness.", "set.chosen", "takeover.", "campaign.", "fence.", "peer-reboot.", "watchdog.", "replicator.",
	"disk.", "link.", "carrier.", "handover.lost", "order.", "maintenance.", "standby.", "drill.", "data.", "volume.outdated",
	"volume.not-outdated", "mount.", "agent.", "boot.", "history.", "address.conflict", "services."}

// opens says which events begin a course, and of what kind.
var opens = map[string]string{"campaign": TakeOver, "grab": TakeOver, "elected": TakeOver, "reign.resumed": Resume,
	"reign.again": Resume, "leaving": HandOver, "letting-go": LetGo}

// closes says which events end a course, and how it ended.
var closes = map[string]string{"serving": "serves", "handover": "handed over", "left": "left, Secondary",
	"let-go": "out of the way, Secondary", "campaign.refused": "refused", "services.stay": "serves without all of its services"}

// Decisions reads the events, oldest first, and returns the decisions in the order of
// their begin.
func Decisions(events []event.Event) []Decision {
	r := reader{open: map[string]*Decision{}, major: map[string]*event.Event{}}
	for i := range events {
		r.take(&events[i])
	}
	out := make([]Decision, len(r.all))
	for i, d := range r.all {
		out[i] = *d
	}
	return out
}

type reader struct {
	all   []*Decision
	open  map[string]*Decision    // by node and volume: the course under way
	major map[string]*event.Event // by node: the newest MAJOR failure
}

func (r *reader) take(e *event.Event) {
	key := e.Node + "/" + e.Volume
	d := r.open[key]
	switch {
	case e.Kind == "failure.major":
		r.major[e.Node] = e
		r.add(e, e.Kind)
	case e.Kind == "peer.alive":
		delete(r.major, e.Node)
		r.add(e, e.Kind)
	case opens[e.Kind] != "":
		r.begin(key, d, e)
	case e.Kind == "step.done" || e.Kind == "step.error":
		if d != nil {
			d.step(e)
		}
	case e.Kind == "step.failed" && d != nil:
		d.Outcome, d.Failed = e.Text, true
	case closes[e.Kind] != "" && d != nil:
		d.end(e)
		delete(r.open, key)
	case e.Kind == "campaign.waiting" && d != nil:
		d.learn(e)
	case strings.HasPrefix(e.Kind, "fence."):
		r.fence(e)
	case isPlain(e.Kind):
		r.add(e, e.Kind)
	}
}

func isPlain(kind string) bool {
	for _, p := range plain {
		if kind == p || strings.HasSuffix(p, ".") && strings.HasPrefix(kind, p) {
			return true
		}
	}
	return false
}

func (r *reader) add(e *event.Event, kind string) *Decision {
	d := &Decision{Time: e.Time, Node: e.Node, Volume: e.Volume, Kind: kind, Text: e.Text, Reason: e.Reason, Seen: e.Fields}
	r.all = append(r.all, d)
	return d
}

// begin opens a course, or goes on with the take-over that the event belongs to.
func (r *reader) begin(key string, d *Decision, e *event.Event) {
	kind := opens[e.Kind]
	if d != nil && e.Kind == "elected" && d.Kind == TakeOver {
		d.elected(e)
		return
	}
	d = r.add(e, kind)
	r.open[key] = d
	if e.Kind == "elected" {
		return
	}
	if major := r.major[e.Node]; major != nil && kind == TakeOver && e.Kind == "campaign" {
		d.silence(major)
	}
}

// silence puts the time without heartbeats in front of a take-over that followed on it.
func (d *Decision) silence(major *event.Event) {
	const soon = 2 * time.Second
	silent, err := time.ParseDuration(major.Fields["silent"])
	if err != nil || d.Time.Sub(major.Time) > soon {
		return
	}
	d.Steps = append(d.Steps, Step{Name: "silence on every link, until it counted as a MAJOR failure",
		Begin: major.Time.Add(-silent), Took: silent, Result: "done"})
}

// elected ends the time of asking the voters.
func (d *Decision) elected(e *event.Event) {
	d.Steps = append(d.Steps, Step{Name: "ask the voters", Begin: d.Time, Took: e.Time.Sub(d.Time), Result: e.Reason})
	d.Text = e.Text
	for name, what := range e.Fields {
		if strings.HasPrefix(name, "vote ") || d.Seen[name] == "" {
			d.see(name, what)
		}
	}
	d.measure()
}

func (d *Decision) learn(e *event.Event) {
	d.see("waited for", e.Reason)
	for name, what := range e.Fields {
		if strings.HasPrefix(name, "vote ") {
			d.see(name, what)
		}
	}
}

func (d *Decision) see(name, what string) {
	if d.Seen == nil {
		d.Seen = map[string]string{}
	}
	d.Seen[name] = what
}

// step adds a step that ended with the event.
func (d *Decision) step(e *event.Event) {
	took, err := time.ParseDuration(e.Fields["took_ms"] + "ms")
	if err != nil {
		took = 0
	}
	s := Step{Name: e.Fields["step"], Begin: e.Time.Add(-took), Took: took, Result: "done"}
	if e.Kind == "step.error" {
		s.Result, s.Failed = e.Reason, true
	}
	d.Steps = append(d.Steps, s)
	d.measure()
}

// end closes the course.
func (d *Decision) end(e *event.Event) {
	if d.Outcome = closes[e.Kind]; e.Kind == "campaign.refused" {
		d.Outcome, d.Failed = "refused: "+e.Reason, true
		d.learn(&event.Event{Reason: e.Reason, Fields: e.Fields})
		delete(d.Seen, "waited for")
	} else {
		d.Failed = false
	}
	d.measure()
	if len(d.Steps) > 0 {
		d.Total = max(d.Total, e.Time.Sub(d.Steps[0].Begin))
	}
}

func (d *Decision) measure() {
	if len(d.Steps) > 0 {
		last := d.Steps[len(d.Steps)-1]
		d.Total = max(d.Total, last.Begin.Add(last.Took).Sub(d.Steps[0].Begin))
	}
}

// fence adds what fencing found to every take-over of its node that runs, and stands
// for itself as well.
func (r *reader) fence(e *event.Event) {
	r.add(e, e.Kind)
	for _, d := range r.open {
		if d.Node == e.Node && d.Kind == TakeOver {
			text := e.Text
			if e.Reason != "" {
				text += " " + e.Reason
			}
			d.see("fence", text)
		}
	}
}
