package replicator

import (
	"context"
	"fmt"

	"gemel/node/config"
	"gemel/node/replicator/control"
	"gemel/node/replicator/volume/core"
)

// checksums translates the configuration's words.
var checksums = map[string]core.Checksums{config.ChecksumAuto: core.ChecksumsAuto, config.ChecksumOn: core.ChecksumsOn,
	config.ChecksumOff: core.ChecksumsOff}

// onError does so with those of on-io-error.
var onError = map[string]core.OnError{config.IOErrorMend: core.Mend, config.IOErrorDetach: core.Detach,
	config.IOErrorPassOn: core.PassOn}

// keepTurns lets one volume's resync wait for another's, as the configuration
// orders them, until ctx ends.
func (d *daemon) keepTurns(ctx context.Context) {
	if !d.ordered() {
		return
	}
	for ctx.Err() == nil {
		states, changed := d.State()
		for _, s := range d.slots {
			if s.conf.ResyncAfter == "" {
				continue
			}
			if v, err := s.running(); err == nil {
				v.HoldResync(turnOf(s.conf.ResyncAfter, states))
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// ordered reports whether any volume's resync comes after another's.
func (d *daemon) ordered() bool {
	for _, s := range d.slots {
		if s.conf.ResyncAfter != "" {
			return true
		}
	}
	return false
}

// turnOf returns why a resync that comes after the volume first has to wait;
// empty when it has not. One that an operator paused is not waited for, nor one
// that has nothing left but what its disk cannot read.
func turnOf(first string, states []control.VolumeState) string {
	for i := range states {
		s := &states[i]
		if s.Name != first || s.Connection != control.Connected {
			continue
		}
		held := s.Resync != nil && (s.Resync.Waiting == core.PausedByOperator || s.Resync.Stuck)
		behind := s.Resync != nil || s.Role == control.Primary && s.OutOfSync > 0
		if behind && !held {
			return fmt.Sprintf("volume %s is resynced first", first)
		}
	}
	return ""
}
