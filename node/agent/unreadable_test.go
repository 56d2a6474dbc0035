package agent

import (
	"testing"

	"gemel/node/replicator/control"
)

func TestBlocksLeftOutOfAResyncAreTold(t *testing.T) {
	state := func(bytes int64) *control.VolumeState {
		s := &control.VolumeState{Role: control.Primary, Connection: control.Connected, Resync: &control.Resync{Unreadable: bytes}}
		if bytes > 0 {
			s.Resync.UnreadableRanges = []control.Range{{Offset: 8192, Length: bytes}}
		}
		return s
	}
	over := &control.VolumeState{Role: control.Primary, Connection: control.Connected}
	lost := &control.VolumeState{Role: control.Primary, Connection: control.Connecting}
	target := &control.VolumeState{Role: control.Secondary, Connection: control.Connected, Resync: &control.Resync{Unreadable: 4096}}
	for _, c := range []struct {
		name     string
		old, now *control.VolumeState
		want     string
	}{
		{"the agent has just started", nil, state(4096), ""},
		{"the first", state(0), state(4096), "resync.unreadable"},
		{"one more", state(4096), state(8192), ""},
		{"written anew", state(4096), over, "resync.readable"},
		{"the connection ended", state(4096), lost, ""},
		{"at the target", over, target, ""},
	} {
		s := newStage(t, nil)
		s.owner.noteUnreadable(c.old, c.now)
		if got := s.memory.has("resync.unreadable") || s.memory.has("resync.readable"); got != (c.want != "") || got && !s.memory.has(c.want) {
			t.Errorf("%s: want %q", c.name, c.want)
		}
	}
}
