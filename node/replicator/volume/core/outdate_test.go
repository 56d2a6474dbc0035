package core

import (
	"errors"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/handshake"
)

func TestOutdateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		core *Core
		want error
	}{
		"a Primary":   {newRig(t).c, ErrIsPrimary},
		"a target":    {target(t), ErrIsCurrent},
		"a new one":   {New(Config{Usable: 64 * block.Size}, Meta{Created: true, Inconsistent: true}, nil, arbiter.Record{}), ErrNotWhole},
		"a mixture":   {New(Config{Usable: 64 * block.Size}, Meta{Inconsistent: true, Size: 64 * block.Size}, nil, arbiter.Record{}), ErrNotWhole},
		"one that is": {New(Config{Usable: 64 * block.Size}, Meta{Outdated: true, Size: 64 * block.Size}, nil, arbiter.Record{}), nil},
	} {
		before := c.core.meta
		if _, err := c.core.Outdate(true); !errors.Is(err, c.want) || c.core.meta != before {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOutdatedUntilItFollows: no reign before, and none is needed to end it.
func TestOutdatedUntilItFollows(t *testing.T) {
	const size = 64 * block.Size
	a := arbiter.Accepted{Epoch: 2, Version: 1, Set: 1}
	c := New(Config{Usable: size, Seed: 2}, Meta{Gen: block.Generations{Current: 7}, Size: size, BitmapValid: true}, nil,
		arbiter.Record{Promised: 2, Accepted: a})
	durable := func() { c.Persisted(0, c.metaVersion, nil); c.Take() }
	must := func(on bool) {
		t.Helper()
		if _, err := c.Outdate(on); err != nil {
			t.Fatal(err)
		}
		durable()
	}
	must(true)
	if _, err := c.Promote(0, a, false); !errors.Is(err, ErrOutdated) {
		t.Errorf("promoted: %v", err)
	}
	must(false)
	if err := c.mayPromote(a, false); err != nil {
		t.Errorf("taken back: %v", err)
	}
	must(true)
	peer := handshake.State{Node: 1, Primary: true, Reign: 3, Promised: 3, Size: size, Usable: size, Generations: c.meta.Gen}
	c.register.Promised = 3
	if err := c.ConnUp(0, 1, c.Hello(), peer); err != nil {
		t.Fatal(err)
	}
	if c.meta.Outdated || c.metaVersion == c.metaDurable {
		t.Error("it follows a Primary of the same data, and is Outdated still")
	}
}
