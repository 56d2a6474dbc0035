package volume

import (
	"errors"
	"slices"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
	"gemel/node/replicator/volume/core"
)

// flip changes one byte in each block of the file, behind the replica's back.
func (p *pair) flip(i int, blocks ...int64) {
	p.t.Helper()
	b := buffer.Aligned(4096)
	for _, n := range blocks {
		if err := p.disks[i].ReadAt(b, n*4096); err != nil {
			p.t.Fatal(err)
		}
		b[n%4096] ^= 0x10
		if err := p.disks[i].WriteAt(b, n*4096); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *pair) verify(i int, repair bool, while func()) *control.Verify {
	p.t.Helper()
	if err := p.v[i].Verify(control.VerifyRequest{Action: control.ActionStart, Repair: repair}); err != nil {
		p.t.Fatal(err)
	}
	if while != nil {
		while()
	}
	s := p.until(i, "the verify to end", func(s control.VolumeState) bool { return s.Verify.State == control.VerifyFinished })
	return s.Verify
}

// inSync makes a new pair with node 0 Primary, node 1 in the set, and data.
func inSync(t testing.TB, size int64) *pair {
	p := newPair(t, size)
	p.until(0, "connect", connected)
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	write(t, p.v[0], 1, 100, 64<<10)
	return p
}

func TestVerifyUnderWritesFindsExactlyWhatWasChanged(t *testing.T) {
	p := inSync(t, 48<<20)
	busy := func() { write(t, p.v[0], 2, 400, 64<<10) }
	if v := p.verify(0, false, busy); v.Found != 0 || len(v.Ranges) != 0 {
		t.Fatalf("equal disks under writes: %+v", v)
	}
	p.flip(1, 3, 700, 701, 2000)
	want := []control.Range{{Offset: 3 * 4096, Length: 4096}, {Offset: 700 * 4096, Length: 8192}, {Offset: 2000 * 4096, Length: 4096}}
	if v := p.verify(0, false, nil); v.Found != 4*4096 || !slices.Equal(v.Ranges, want) || v.Repaired != 0 {
		t.Fatalf("found %+v, want %v", v, want)
	}
	if v := p.verify(0, true, nil); v.Found != 4*4096 || !slices.Equal(v.Ranges, want) || v.Repaired != v.Found {
		t.Fatalf("found %+v, want %v repaired", v, want)
	}
	p.identical()
	if v := p.verify(0, false, busy); v.Found != 0 {
		t.Fatalf("after the repair: %+v", v)
	}
	p.until(1, "the Secondary to know", func(s control.VolumeState) bool { return s.Verify != nil && s.Verify.State == control.VerifyFinished })
}

func TestVerifyIsRefusedWithAReason(t *testing.T) {
	p := newPair(t, 24<<20)
	start := control.VerifyRequest{Action: control.ActionStart}
	if err := p.v[0].Verify(start); !errors.Is(err, core.ErrNotPrimary) {
		t.Errorf("on a Secondary: %v", err)
	}
	p.pull(true)
	p.promote(0, 2, true)
	if err := p.v[0].Verify(start); !errors.Is(err, core.ErrNotInSync) {
		t.Errorf("without a peer: %v", err)
	}
	if err := p.v[0].Verify(control.VerifyRequest{Action: control.ActionPause}); !errors.Is(err, core.ErrNoVerify) {
		t.Errorf("pause of nothing: %v", err)
	}
}

// TestVerifyGoesOnWhereItWas holds a verify, loses the connection and moves the
// reign: the other node goes on behind the place where it was held.
func TestVerifyGoesOnWhereItWas(t *testing.T) {
	p := inSync(t, 48<<20)
	from := int64(20 << 20)
	if err := p.v[0].Verify(control.VerifyRequest{Action: control.ActionStart, From: from, MaxRate: 1}); err != nil {
		t.Fatal(err)
	}
	if err := p.v[0].Verify(control.VerifyRequest{Action: control.ActionPause}); err != nil {
		t.Fatal(err)
	}
	paused := func(s control.VolumeState) bool { return s.Verify != nil && s.Verify.State == control.VerifyPaused }
	s := p.until(1, "the Secondary to know of the pause", paused)
	if s.Verify.Pos < from || s.Verify.Pos > 24<<20 {
		t.Fatalf("held at %d", s.Verify.Pos)
	}
	p.pull(true)
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	p.choose(0, 2, 3, arbiter.Only(0))
	p.pull(false)
	p.until(0, "in sync again", ready)
	p.choose(0, 2, 4, arbiter.Both)
	p.until(0, "still paused", paused)
	if err := p.v[0].Demote(t.Context(), control.DemoteRequest{Clean: true}); err != nil {
		t.Fatal(err)
	}
	p.promote(1, 5, false)
	p.until(1, "in sync after the switchover", ready)
	p.choose(1, 5, 2, arbiter.Both)
	p.until(1, "paused by the order to the other node", paused)
	p.flip(0, 100, 9000)
	if err := p.v[1].Verify(control.VerifyRequest{Action: control.ActionResume, MaxRate: -1}); err != nil {
		t.Fatal(err)
	}
	done := p.until(1, "the end", func(s control.VolumeState) bool { return s.Verify.State == control.VerifyFinished })
	if done.Verify.Found != 4096 || done.Verify.Ranges[0].Offset != 9000*4096 {
		t.Errorf("want block 9000 only: block 100 lies in front of where it was: %+v", done.Verify)
	}
}

// TestChecksumResyncSendsOnlyWhatDiffers: a Primary dies and comes back, which
// of its last writes reached the disk is unknown.
func TestChecksumResyncSendsOnlyWhatDiffers(t *testing.T) {
	p := inSync(t, 48<<20)
	p.pull(true)
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	p.choose(0, 2, 3, arbiter.Only(0))
	p.v[0].Close()
	p.disks[0].Close()
	p.open(0, false)
	p.promote(0, 4, false)
	write(t, p.v[0], 3, 40, 64<<10)
	p.pull(false)
	s := p.until(0, "in sync again", ready)
	if c := s.Counters; c.Same < 8<<20 || c.Resynced > 8<<20 || c.Resynced == 0 {
		t.Errorf("%d bytes were sent and %d were the same", c.Resynced, c.Same)
	}
	p.identical()
}
