package tour

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gemel/lab/checker"
	"gemel/node/event"
)

// moment is one line of the story.
type moment struct {
	at   time.Time
	who  string
	as   style
	text string
}

// story tells moments in the order in which they happened, though they arrive from
// several boxes, some late. Times are told from zero, the reset.
type story struct {
	screen *Screen
	zero   time.Time
	held   []moment
	known  map[string]bool // events told already: every poll brings the old ones again
	acked  uint64
}

// lateness is how long a moment is held back for others that came before it.
const lateness = 900 * time.Millisecond

func newStory(screen *Screen) *story { return &story{screen: screen, known: map[string]bool{}} }

func (s *story) add(m moment) { s.held = append(s.held, m) }

// flush tells what happened before a time.
func (s *story) flush(before time.Time) {
	slices.SortStableFunc(s.held, func(a, b moment) int { return a.at.Compare(b.at) })
	for len(s.held) > 0 && s.held[0].at.Before(before) {
		m := s.held[0]
		s.held = s.held[1:]
		s.screen.Told(clock(m.at.Sub(s.zero)), m.who, m.as, m.text)
	}
}

// clock tells a time before or after the reset.
func clock(since time.Duration) string {
	since = since.Round(100 * time.Millisecond)
	if since == 0 {
		return "0.0 s"
	}
	return fmt.Sprintf("%+.1f s", since.Seconds())
}

// progress adds what the client saw in the last second.
func (s *story) progress(p checker.Progress) {
	m := moment{at: p.T, who: "client"}
	m.text, m.as = progressWords(p, s.acked)
	s.acked = p.AckedTotal
	s.add(m)
}

// stalled is how long a client waits before the story calls it waiting.
const stalled = 400 * time.Millisecond

func progressWords(p checker.Progress, before uint64) (string, style) {
	text, as := fmt.Sprintf("%d records acknowledged, %d in this second", p.AckedTotal, p.AckedTotal-before), plain
	if waits := time.Duration(p.StalledMS) * time.Millisecond; waits >= stalled {
		text, as = fmt.Sprintf("%d records acknowledged, waiting for %.1f s", p.AckedTotal, waits.Seconds()), yellow
	}
	if p.Errors > 0 {
		text, as = text+fmt.Sprintf(", %d errors", p.Errors), red
	}
	return text, as
}

// events adds those that happened since a time, are new and worth telling.
func (s *story) events(list []event.Event, since time.Time) {
	for _, e := range list {
		key := e.Node + e.Kind + e.Text + strconv.FormatInt(e.Time.UnixNano(), 10)
		if s.known[key] || e.Time.Before(since) {
			continue
		}
		s.known[key] = true
		if text, as, ok := eventWords(e); ok {
			s.add(moment{at: e.Time, who: e.Node, as: as, text: text})
		}
	}
}

// told are the kinds of events a newcomer wants to see.
var told = map[string]style{
	"failure.minor": yellow, "failure.major": red, "step.failed": red, "step.error": red, "agent.failed": red,
	"campaign.refused": red, "grab": bold, "elected": bold, "serving": green, "set.chosen": bold,
	"campaign": plain, "campaign.waiting": plain, "reign.resumed": plain, "peer.alive": plain, "agent.start": plain,
	"leaving": plain, "left": plain, "letting-go": yellow, "let-go": plain, "handover": plain,
	"handover.received": plain, "step.done": plain, "replicator.down": red,
}

// quick is a step too short to be worth a line.
const quick = 20 // milliseconds

func eventWords(e event.Event) (string, style, bool) {
	as, ok := told[e.Kind]
	if !ok {
		return "", plain, false
	}
	if e.Kind == "step.done" {
		took, err := strconv.ParseFloat(e.Fields["took_ms"], 64)
		if err != nil || took < quick {
			return "", plain, false
		}
		return fmt.Sprintf("%s: %.0f ms", e.Fields["step"], took), as, true
	}
	text := strings.TrimPrefix(strings.TrimSuffix(e.Text, "."), e.Node+" ") // it stands before the line already
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text, as, true
}
