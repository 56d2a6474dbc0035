package agent

import (
	"fmt"

	"gemel/node/replicator/control"
)

// noteUnreadable tells of blocks that a resync leaves out because a disk fails at
// them, and of their end.
func (o *owner) noteUnreadable(old, now *control.VolumeState) {
	if old == nil || now.Role != control.Primary {
		return
	}
	was, is := unreadable(old), unreadable(now)
	switch {
	case was == 0 && is > 0:
		r := now.Resync
		o.note("resync.unreadable", fmt.Sprintf("%d bytes cannot be copied and are left out of the resync.", is),
			fmt.Sprintf("%d bytes cannot be read here, %d cannot be written on the other node, which does not become whole without them. "+
				"They are tried again every minute; a write over them makes both nodes good, if the disks take it; so does another disk.",
				r.Unreadable, r.Unwritable), "unreadable", rangesOf(r.UnreadableRanges), "unwritable", rangesOf(r.UnwritableRanges))
	case was > 0 && is == 0 && now.Connection == control.Connected && old.Connection == control.Connected:
		o.note("resync.readable", "The blocks that a disk had failed at were copied or written anew; nothing is left out of the resync.", "")
	}
}

func unreadable(s *control.VolumeState) int64 {
	if s.Resync == nil {
		return 0
	}
	return s.Resync.Unreadable + s.Resync.Unwritable
}
