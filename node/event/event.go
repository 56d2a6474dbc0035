// Package event is the vocabulary of what happened and why: one Event per
// decision or change of state. It is not a logger: keeping, printing and
// sending events is done elsewhere.
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
