package api

import (
	"context"
	"net/http"
	"time"
)

// PathDrill is where drills are ordered.
const PathDrill = "/v1/order/drill"

// DrillOrder asks for a switchover of a volume, or of every one, if all is well.
type DrillOrder struct {
	Volume string `json:"volume,omitempty"`
}

// Drill is what became of a drill of one volume.
type Drill struct {
	Volume string        `json:"volume"`
	From   string        `json:"from,omitempty"`
	To     string        `json:"to,omitempty"`
	Pause  time.Duration `json:"pause_ns,omitempty"` // of the service, from the order to the other node's word that it serves
	// Skipped is why it was not tried, Failed what went wrong; both empty: it succeeded.
	Skipped string `json:"skipped,omitempty"`
	Failed  string `json:"failed,omitempty"`
}

// Drill refuses.
func (Unsupported) Drill(context.Context, Caller, DrillOrder) ([]Drill, error) {
	return nil, errUnsupported
}

// Drill switches volumes over if all is well, and tells what became of it.
func (c *Client) Drill(ctx context.Context, o DrillOrder) ([]Drill, error) {
	return call[[]Drill](ctx, c, http.MethodPost, PathDrill, o)
}
