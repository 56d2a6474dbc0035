package bundle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"gemel/node/event"
)

// longestEvent bounds one line of a history, in bytes.
const longestEvent = 1 << 20

// Merge reads histories, one event per line each, into one, oldest first. Lines that are
// no event, such as one that a power cut tore, are left out; a file that is missing is empty.
func Merge(files map[string]string) ([]event.Event, error) {
	var all []event.Event
	for who, path := range files {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("history of %s: %w", who, err)
		}
		all = append(all, parse(data)...)
	}
	slices.SortStableFunc(all, func(a, b event.Event) int { return a.Time.Compare(b.Time) })
	return all, nil
}

func parse(data []byte) []event.Event {
	var events []event.Event
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, longestEvent)
	for lines.Scan() {
		var e event.Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Kind != "" {
			events = append(events, e)
		}
	}
	return events
}

// WriteTimeline prints events for people: time of day, seconds since the event before,
// who, what and why.
func WriteTimeline(out io.Writer, events []event.Event) error {
	var before time.Time
	for _, e := range events {
		since := "        "
		if !before.IsZero() {
			since = fmt.Sprintf("%+8.3f", e.Time.Sub(before).Seconds())
		}
		before = e.Time
		text := e.Text
		if e.Reason != "" {
			text += " (" + strings.TrimSuffix(e.Reason, ".") + ")"
		}
		_, err := fmt.Fprintf(out, "%s %s  %-8s %-24s %s\n", e.Time.UTC().Format("15:04:05.000"), since, e.Node, e.Kind, text)
		if err != nil {
			return err
		}
	}
	return nil
}
