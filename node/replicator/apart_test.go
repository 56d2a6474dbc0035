package replicator

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/replicator/control"
	"gemel/node/replicator/meta"
)

// putApart gives both boxes a file for their metadata.
func putApart(t *testing.T, both [2]*box, size int64) {
	t.Helper()
	for _, b := range both {
		path := filepath.Join(filepath.Dir(b.cfg.Volumes[0].Device), "metadata")
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
			t.Fatal(err)
		}
		b.cfg.Volumes[0].Metadata = path
	}
}

// TestDataThatWasThereBefore puts a volume under a disk that has content from
// end to end: nothing of it is lost, whichever node asks first, and the other
// node gets all of it.
func TestDataThatWasThereBefore(t *testing.T) {
	both := boxes(t)
	putApart(t, both, meta.NeedApart(backing))
	before := make([]byte, backing)
	rand.New(rand.NewSource(1)).Read(before)
	copy(before[510:], "\x55\xaa") // a boot sector
	one, two := both[1], both[0]   // node 1 has the data, node 0 would be first
	if err := os.WriteFile(one.cfg.Volumes[0].Device, before, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, b := range both {
		b.run(t)
	}
	q := control.CreateRequest{Volume: "data"}
	if err := one.client.Create(t.Context(), q); control.CodeOf(err) != control.CodeOccupied || !strings.Contains(err.Error(), "--keep-data") {
		t.Errorf("data that nobody gave up: %v", err)
	}
	q.Keep = true
	if err := one.client.Create(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	two.create(t)
	two.until(t, "it gives way", func(s control.VolumeState) bool { return s.Yields && s.Blank })
	first := arbiter.Accepted{Epoch: arbiter.Epoch(0).NextFor(0), Version: 1, Set: arbiter.Only(0)}
	two.accept(t, first)
	if _, err := two.client.Promote(t.Context(), control.PromoteRequest{Volume: "data", Chosen: first, Birth: true}); err == nil {
		t.Fatal("an empty replica began the volume")
	}
	one.until(t, "it may begin", func(s control.VolumeState) bool { return s.Blank && !s.Yields && s.Size == backing })
	one.reign(t)
	s := one.until(t, "the other node is filled", func(s control.VolumeState) bool { return s.ReadyToGrow })
	if s.Size != backing {
		t.Errorf("the volume has %d bytes, the disk %d", s.Size, backing)
	}
	for _, b := range both {
		b.stop()
		after, err := os.ReadFile(b.cfg.Volumes[0].Device)
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the content changed, %v", b.cfg.Node, err)
		}
	}
}

func TestMetadataApartIsRefusedByName(t *testing.T) {
	both := boxes(t)
	one := both[0]
	one.run(t)
	if err := one.client.Create(t.Context(), control.CreateRequest{Volume: "data", Keep: true}); !strings.Contains(err.Error(), "metadata apart") {
		t.Errorf("--keep-data over its own metadata: %v", err)
	}
	one.stop()
	putApart(t, both, meta.NeedApart(backing)-4096)
	one.run(t)
	if err := one.client.Create(t.Context(), control.CreateRequest{Volume: "data"}); control.CodeOf(err) != control.CodeTooSmall {
		t.Errorf("too small: %v", err)
	}
	one.stop()
	one.cfg.Volumes[0].Metadata += ".gone"
	one.run(t)
	one.until(t, "it is missing", func(s control.VolumeState) bool { return strings.Contains(s.Problem, "metadata of volume data") })
}
