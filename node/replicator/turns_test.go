package replicator

import (
	"testing"

	"gemel/node/replicator/control"
	"gemel/node/replicator/volume/core"
)

func TestTurnOf(t *testing.T) {
	running := &control.Resync{Direction: "source"}
	for _, c := range []struct {
		name  string
		first control.VolumeState
		waits bool
	}{
		{"it is resynced", control.VolumeState{Connection: control.Connected, Resync: running}, true},
		{"it is about to be", control.VolumeState{Connection: control.Connected, Role: control.Primary, OutOfSync: 4096}, true},
		{"it is in sync", control.VolumeState{Connection: control.Connected, Role: control.Primary}, false},
		{"it is not connected", control.VolumeState{Connection: control.Connecting, Role: control.Primary, OutOfSync: 4096}, false},
		{"an operator paused it", control.VolumeState{Connection: control.Connected, Role: control.Primary, OutOfSync: 4096,
			Resync: &control.Resync{Waiting: core.PausedByOperator}}, false},
		{"it waits itself", control.VolumeState{Connection: control.Connected, Resync: &control.Resync{Waiting: "volume x is resynced first"}}, true},
	} {
		c.first.Name = "first"
		if got := turnOf("first", []control.VolumeState{{Name: "other", Connection: control.Connected, Resync: running}, c.first}); (got != "") != c.waits {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
