package control

// ResyncRequest changes, until the replicator restarts, how this node copies to
// its peer.
type ResyncRequest struct {
	Volume string `json:"volume"`
	// Action is ActionPause, ActionResume, or empty to change the limits only.
	Action string `json:"action,omitempty"`
	// Limits in bytes per second: 0 leaves one as it is, below 0 removes it.
	MinRate int64 `json:"min_rate,omitempty"`
	MaxRate int64 `json:"max_rate,omitempty"`
}
