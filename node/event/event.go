// Package event is the history of what happened and why: one Event per decision
// or change of state, kept in memory (Ring), on disk (File) and told to whoever
// listens (History). It is not a logger: lines for people who debug are written
// elsewhere, and losing the newest events with the power is accepted.
package event

import "time"

// Event is one thing that happened. Text is a full sentence for people; Reason
// says why and, for refusals, what to do next.
type Event struct {
	Time   time.Time         `json:"time"`
	Node   string            `json:"node"`
	Volume string            `json:"volume,omitempty"`
	Kind   string            `json:"kind"` // stable dotted name, such as "failure.major" or "role.primary"
	Text   string            `json:"text"`
	Reason string            `json:"reason,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
}
