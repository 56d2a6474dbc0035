package volume

import (
	"errors"
	"math/rand"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
	"gemel/node/replicator/meta"
	"gemel/node/replicator/volume/core"
)

// enlarge makes node i's backing file larger; what is new is rubbish.
func (p *pair) enlarge(i int, size int64) {
	p.t.Helper()
	f, err := os.OpenFile(p.paths[i], os.O_WRONLY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	rubbish := make([]byte, size-p.disks[i].Size())
	rand.New(rand.NewSource(int64(i))).Read(rubbish)
	if _, err := f.WriteAt(rubbish, p.disks[i].Size()); err != nil {
		p.t.Fatal(err)
	}
}

// resizable stands for a device of the kernel.
type resizable struct{ size atomic.Int64 }

func (r *resizable) Attach(dev block.Device) (Shown, error) {
	r.size.Store(dev.SizeBytes())
	return Shown{Path: "/dev/null", By: "test", Detach: func(bool) error { return nil },
		Resize: func(n int64) error { r.size.Store(n); return nil }}, nil
}

// TestGrowUnderWrites: the volume becomes larger while it is written, and both
// replicas stay whole and equal.
func TestGrowUnderWrites(t *testing.T) {
	shown := &resizable{}
	p := newPairTuned(t, 48<<20, func(o *Options) { o.Exporter = shown })
	p.until(0, "connect", connected)
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	before := p.v[0].SizeBytes()
	for i := range p.v {
		p.enlarge(i, int64(112+i*16)<<20)
	}
	copied := p.v[0].State().Counters.Resynced
	var writers sync.WaitGroup
	writers.Go(func() { write(t, p.v[0], 3, 600, 64<<10) })
	if err := p.v[0].Grow(control.GrowRequest{}); err != nil {
		t.Fatal(err)
	}
	after := p.until(0, "the new size", func(s control.VolumeState) bool {
		return s.Size > before && !s.Growth.Running && s.Growth.Shown == s.Size
	})
	writers.Wait()
	if want := p.v[0].o.Store.DataSize(); after.Size != want || shown.size.Load() != want || after.WantShrink || after.Disk != control.UpToDate {
		t.Errorf("node 0 has room for %d, shown are %d: %+v", want, shown.size.Load(), after)
	}
	write(t, p.v[0], 4, 200, 64<<10) // the new part as well
	if err := p.v[0].WriteAt(buffer.Aligned(4096), after.Size-4096, true); err != nil {
		t.Error(err)
	}
	p.identical()
	if s := p.v[0].State(); s.Counters.Resynced != copied || s.OutOfSync != 0 {
		t.Errorf("%d bytes were copied, %d are out of sync", s.Counters.Resynced-copied, s.OutOfSync)
	}
	p.comeBack(after.Size)
}

// comeBack restarts both nodes; the size stays.
func (p *pair) comeBack(size int64) {
	p.t.Helper()
	if err := p.v[0].Demote(p.t.Context(), control.DemoteRequest{Clean: true}); err != nil {
		p.t.Fatal(err)
	}
	for i := range p.v {
		p.stop(i)
	}
	for i := range p.v {
		p.open(i, false)
	}
	p.until(0, "connect again", connected)
	p.promote(1, 5, false)
	s := p.until(1, "in sync again", ready)
	if s.Size != size || s.Counters.Resynced != 0 {
		p.t.Errorf("after a restart: %d bytes, %d copied", s.Size, s.Counters.Resynced)
	}
}

func TestGrowIsRefusedAndChangesNothing(t *testing.T) {
	p := inSync(t, 32<<20)
	size := p.v[0].SizeBytes()
	refused := func(name string, i int, q control.GrowRequest, want error) {
		t.Helper()
		super := p.v[i].o.Store.Super()
		if err := p.v[i].Grow(q); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if now := p.v[i].o.Store.Super(); now.DeviceSize != super.DeviceSize || p.v[0].SizeBytes() != size {
			t.Errorf("%s: something was changed", name)
		}
	}
	refused("no device is larger", 0, control.GrowRequest{}, core.ErrNoRoom)
	refused("smaller", 0, control.GrowRequest{Size: size - 4096}, core.ErrShrink)
	refused("a Secondary", 1, control.GrowRequest{}, core.ErrNotPrimary)
	p.enlarge(0, 96<<20)
	if err := p.v[0].Grow(control.GrowRequest{}); err != nil { // its own metadata moves, the peer has no room
		t.Fatal(err)
	}
	s := p.until(0, "the peer's refusal", func(s control.VolumeState) bool { return s.Growth != nil && s.Growth.Problem != "" })
	if s.Size != size {
		t.Errorf("it grew to %d alone", s.Size)
	}
	if err := os.Truncate(p.paths[0], 64<<20); err != nil {
		t.Fatal(err)
	}
	refused("the device became smaller", 0, control.GrowRequest{}, meta.ErrShrunk)
	p.pull(true)
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	refused("alone", 0, control.GrowRequest{}, core.ErrNotInSync)
}
