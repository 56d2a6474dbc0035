package agent

import (
	"fmt"

	"gemel/node/replicator/control"
)

// noteUnreadable tells of blocks that a resync leaves out because the disk here
// cannot read them, and of their end.
func (o *owner) noteUnreadable(old, now *control.VolumeState) {
	if old == nil || now.Role != control.Primary {
		return
	}
	was, is := unreadable(old), unreadable(now)
	switch {
	case was == 0 && is > 0:
		o.note("resync.unreadable", fmt.Sprintf("%d bytes cannot be read here and are left out of the resync.", is),
			"The other node does not become whole without them. They are tried again every minute; a write over them makes both "+
				"nodes good, and so does another disk here.", "ranges", rangesOf(now.Resync.UnreadableRanges))
	case was > 0 && is == 0 && now.Connection == control.Connected && old.Connection == control.Connected:
		o.note("resync.readable", "The blocks that could not be read were written anew or read after all; nothing is left out of the resync.", "")
	}
}

func unreadable(s *control.VolumeState) int64 {
	if s.Resync == nil {
		return 0
	}
	return s.Resync.Unreadable
}
