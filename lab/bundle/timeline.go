package bundle

import (
	"bufio"
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
		file, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		var events []event.Event
		if err == nil {
			events, err = Read(file)
			_ = file.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("history of %s: %w", who, err)
		}
		all = append(all, events...)
	}
	Sort(all)
	return all, nil
}

// Sort puts events in the order of their time.
func Sort(events []event.Event) {
	slices.SortStableFunc(events, func(a, b event.Event) int { return a.Time.Compare(b.Time) })
}

// Read reads one event per line, and leaves out lines that are none.
func Read(history io.Reader) ([]event.Event, error) {
	var events []event.Event
	lines := bufio.NewScanner(history)
	lines.Buffer(nil, longestEvent)
	for lines.Scan() {
		var e event.Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Kind != "" {
			events = append(events, e)
		}
	}
	return events, lines.Err()
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
