package control

// GrowRequest asks the Primary's replica to make the volume larger while it is
// used.
type GrowRequest struct {
	Volume string `json:"volume"`
	// Size is the wanted size of the volume in bytes; 0: as large as both nodes'
	// devices allow. One below the size of now is refused.
	Size int64 `json:"size,omitempty"`
}

// Growth is a volume that becomes larger, and what became of the last time. Sizes
// are bytes.
type Growth struct {
	// Running: both nodes blank what is new and agree on the size; To is 0 until it
	// is known how far both have room. It goes on by itself.
	Running bool  `json:"running"`
	To      int64 `json:"to,omitempty"`
	// Blanked: up to here this node's disk is zeroes; 0 when nothing is blanked now.
	Blanked int64 `json:"blanked,omitempty"`
	// Problem is why the last growth did not come about, since the replicator started.
	Problem string `json:"problem,omitempty"`
	// Shown is the size of the device that the kernel shows; 0: none. Unfit says why
	// it is not the volume's.
	Shown int64  `json:"shown,omitempty"`
	Unfit string `json:"unfit,omitempty"`
}
