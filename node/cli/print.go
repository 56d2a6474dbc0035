package cli

import (
	"encoding/json"
	"fmt"

	"gemel/node/event"
)

// event prints one event: a line, and below it why.
func (a *app) event(e *event.Event, asJSON bool) error {
	if asJSON {
		raw, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write event: %w", err)
		}
		a.printf("%s\n", raw)
		return nil
	}
	what := e.Node
	if e.Volume != "" {
		what += "/" + e.Volume
	}
	a.printf("%s  %s  %s  %s\n", e.Time.Format("2006-01-02 15:04:05.000"), what, pad(e.Kind, 20), e.Text)
	if e.Reason != "" {
		a.printf("%s  why: %s\n", pad("", 23), e.Reason)
	}
	return nil
}
