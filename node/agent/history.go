package agent

import (
	"log/slog"
	"sync/atomic"
	"time"

	"gemel/node/event"
	"gemel/node/failover"
)

// diary writes down what happened: into every History and into the log.
type diary struct {
	node string
	log  *slog.Logger
	keep []History
	last atomic.Pointer[event.Event]
}

// note records one event; fields are pairs of name and value.
func (d *diary) note(volume, kind, text, reason string, fields ...string) {
	e := event.Event{Volume: volume, Kind: kind, Text: text, Reason: reason}
	for i := 0; i+1 < len(fields); i += 2 {
		if e.Fields == nil {
			e.Fields = make(map[string]string, len(fields)/2)
		}
		e.Fields[fields[i]] = fields[i+1]
	}
	d.add(e)
	d.write(e)
}

// keepNote records what a machine decided. What the decision rests on is for the
// history; the log keeps to the words.
func (d *diary) keepNote(volume string, n failover.Note) {
	e := event.Event{Volume: volume, Kind: n.Kind, Text: n.Text, Reason: n.Reason}
	d.write(e)
	e.Fields = n.Inputs
	d.add(e)
}

func (d *diary) add(e event.Event) {
	e.Time, e.Node = time.Now().UTC(), d.node
	d.last.Store(&e)
	for _, h := range d.keep {
		h.Add(e)
	}
}

func (d *diary) write(e event.Event) {
	args := []any{"kind", e.Kind}
	if e.Volume != "" {
		args = append(args, "volume", e.Volume)
	}
	if e.Reason != "" {
		args = append(args, "reason", e.Reason)
	}
	for k, v := range e.Fields {
		args = append(args, k, v)
	}
	d.log.Info(e.Text, args...)
}
