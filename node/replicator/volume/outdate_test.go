package volume

import (
	"errors"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/replicator/control"
	"gemel/node/replicator/volume/core"
)

// TestOutdatedByHand: the word outlives a restart, stops a promotion, and yields
// to a Primary or to another word.
func TestOutdatedByHand(t *testing.T) {
	p := inSync(t, 24<<20)
	for i, want := range []error{core.ErrIsPrimary, core.ErrIsCurrent} {
		if err := p.v[i].Outdate(control.OutdateRequest{}); !errors.Is(err, want) {
			t.Errorf("node %d: %v", i, err)
		}
	}
	p.pull(true)
	p.until(1, "loss", func(s control.VolumeState) bool { return s.Connection != control.Connected })
	if err := p.v[1].Outdate(control.OutdateRequest{}); err != nil {
		t.Fatal(err)
	}
	p.stop(1)
	p.open(1, false)
	if s := p.v[1].State(); !s.Outdated || s.Disk != control.Outdated {
		t.Fatalf("after a restart %+v", s)
	}
	alone := arbiter.Accepted{Epoch: 5, Version: 1, Set: arbiter.Only(1)}
	if _, err := p.v[1].Prepare(arbiter.PrepareRequest{Epoch: 5}); err != nil {
		t.Fatal(err)
	}
	p.record(1, alone)
	if _, err := p.v[1].Promote(control.PromoteRequest{Chosen: alone}); !errors.Is(err, core.ErrOutdated) {
		t.Errorf("promoted: %v", err)
	}
	if _, err := p.v[1].Promote(control.PromoteRequest{Chosen: alone, Forced: true}); err != nil {
		t.Errorf("by another word: %v", err)
	}
}

func TestOutdatedUntilItFollowsAPrimary(t *testing.T) {
	p := inSync(t, 24<<20)
	p.pull(true)
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	p.until(1, "loss", func(s control.VolumeState) bool { return s.Connection != control.Connected })
	p.choose(0, 2, 3, arbiter.Only(0))
	if err := p.v[1].Outdate(control.OutdateRequest{}); err != nil {
		t.Fatal(err)
	}
	write(t, p.v[0], 9, 20, 64<<10)
	p.pull(false)
	p.until(0, "resync", ready)
	if s := p.until(1, "its word ends", func(s control.VolumeState) bool { return !s.Outdated }); s.Disk != control.UpToDate {
		t.Errorf("it follows, and is %s", s.Disk)
	}
}
