package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Paths of the dry run. Asking changes nothing.
const (
	PathWhatIf = "/v1/whatif"
	PathStage  = "/v1/stage"
)

// What a WhatIfQuery asks.
const (
	WhatIfKill        = "kill"         // Node loses its power
	WhatIfStopService = "stop-service" // Service, or the first one, ends too often on the Primary
	WhatIfCutPrivate  = "cut-private"  // the most private link is cut
	WhatIfCutAll      = "cut-all"      // Node loses all its cables
	WhatIfLoseWitness = "lose-witness"
)

// WhatIfQuery asks what would follow if something failed now.
type WhatIfQuery struct {
	What    string `json:"what"`
	Node    string `json:"node,omitempty"`
	Service string `json:"service,omitempty"`
	Volume  string `json:"volume,omitempty"` // empty: every volume
}

// WhatIf is what would follow for one volume.
type WhatIf struct {
	Volume string `json:"volume"`
	Before string `json:"before"` // node that serves now; empty: none
	After  string `json:"after"`  // and in the end
	// Pause is how long nobody would serve; PauseOpen: and still, in the end, or steps
	// are in it whose time is not known.
	Pause     time.Duration `json:"pause_ns"`
	PauseOpen bool          `json:"pause_open,omitempty"`
	Lines     []WhatIfLine  `json:"lines"`
	Not       []WhatIfNot   `json:"not"` // what would not happen, and why
	// Problem is why nothing can be told; the rest is empty then.
	Problem string `json:"problem,omitempty"`
}

// WhatIfLine is one thing that would happen, at a time after the failure.
type WhatIfLine struct {
	At     time.Duration `json:"at_ns"`
	Node   string        `json:"node"`
	Text   string        `json:"text"`
	Reason string        `json:"reason,omitempty"`
	// Step: this is a step of a course. It took Took when it ran last (zero: not
	// known), and may take AtMost.
	Step   bool          `json:"step,omitempty"`
	Took   time.Duration `json:"took_ns,omitempty"`
	AtMost time.Duration `json:"at_most_ns,omitempty"`
}

// WhatIfNot is something that would not happen.
type WhatIfNot struct {
	Text string `json:"text"`
	Why  string `json:"why"`
}

// Stage is what a node's machines stand on, by volume, for the other agent's dry run.
// What is in it is the agents' business.
type Stage struct {
	Volumes map[string]json.RawMessage `json:"volumes"`
}

// WhatIf refuses.
func (Unsupported) WhatIf(context.Context, Caller, WhatIfQuery) ([]WhatIf, error) {
	return nil, errUnsupported
}

// Stage refuses.
func (Unsupported) Stage(context.Context, Caller) (Stage, error) { return Stage{}, errUnsupported }

func (s *Server) stage(ctx context.Context, c Caller, _ *http.Request, _ []byte) (any, error) {
	return s.handler.Stage(ctx, c)
}

// WhatIf asks what would follow if something failed now.
func (c *Client) WhatIf(ctx context.Context, q WhatIfQuery) ([]WhatIf, error) {
	return call[[]WhatIf](ctx, c, http.MethodPost, PathWhatIf, q)
}

// Stage returns what the node's machines stand on.
func (c *Client) Stage(ctx context.Context) (Stage, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return call[Stage](ctx, c, http.MethodGet, PathStage, nil)
}
