package volume

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
	"gemel/node/replicator/disk"
	"gemel/node/replicator/volume/core"
)

var errBad = errors.New("medium error")

// faultyDisk is a disk with blocks that cannot be read until they are written
// anew, one that fails every write, or one that keeps writes without an answer.
type faultyDisk struct {
	disk.Device

	mu     sync.Mutex
	bad    block.Range
	broken bool
	stuck  chan struct{} // writes wait for its end

	stuckReads chan struct{} // reads wait for its end, and bring lateByte
	late       int
}

func (d *faultyDisk) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *faultyDisk) ReadAt(p []byte, off int64) error {
	d.mu.Lock()
	bad, stuck := d.bad.Overlaps(block.Range{Off: off, Len: int64(len(p))}), d.stuckReads
	d.mu.Unlock()
	if stuck != nil {
		<-stuck
		for i := range p {
			p[i] = lateByte
		}
		d.set(func() { d.late++ })
		return nil
	}
	if bad {
		return errBad
	}
	return d.Device.ReadAt(p, off)
}

func (d *faultyDisk) WriteAt(p []byte, off int64) error {
	d.mu.Lock()
	broken, stuck := d.broken, d.stuck
	if r := (block.Range{Off: off, Len: int64(len(p))}); r.Off <= d.bad.Off && d.bad.End() <= r.End() {
		d.bad = block.Range{} // the drive puts another sector in its place
	}
	d.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	if broken {
		return errBad
	}
	return d.Device.WriteAt(p, off)
}

// lateByte is what a read that was stuck brings.
const lateByte = 0xee

// syncedPair is a pair with node 0 Primary and both in the in-sync set.
func syncedPair(t *testing.T, timeout time.Duration) *pair {
	t.Helper()
	p := newPairWith(t, 24<<20, timeout)
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	return p
}

func TestBadBlocksAreReadFromThePeerAndMended(t *testing.T) {
	p := syncedPair(t, 0)
	want := bytes.Repeat([]byte{0x5a}, 8192)
	if err := p.v[0].WriteAt(want, 40960, false); err != nil {
		t.Fatal(err)
	}
	p.faulty[0].set(func() { p.faulty[0].bad = block.Range{Off: 40960, Len: 8192} })
	got := buffer.Aligned(16384)
	if err := p.v[0].ReadAt(got, 36864); err != nil || !bytes.Equal(got[4096:12288], want) {
		t.Fatalf("read over bad blocks: %v", err)
	}
	if s := p.v[0].State(); s.Problem != "" || s.Counters.Mended != 16384 {
		t.Errorf("after mending: problem %q, mended %d bytes", s.Problem, s.Counters.Mended)
	}
	if err := p.faulty[0].ReadAt(got, 36864); err != nil {
		t.Errorf("the blocks are still bad: %v", err)
	}
	p.identical()
}

// TestBadBlocksOfZeroesAreMended: an answer has no shorter form for zeroes, as a resync has.
func TestBadBlocksOfZeroesAreMended(t *testing.T) {
	p := syncedPair(t, 0)
	p.faulty[0].set(func() { p.faulty[0].bad = block.Range{Off: 8 << 20, Len: 4096} })
	got := bytes.Repeat([]byte{1}, 4096)
	if err := p.v[0].ReadAt(got, 8<<20); err != nil || !bytes.Equal(got, make([]byte, 4096)) {
		t.Fatalf("read over a bad block of zeroes: %v", err)
	}
	if s := p.v[0].State(); s.Problem != "" || s.Counters.Mended != 4096 {
		t.Errorf("after mending: problem %q, mended %d bytes", s.Problem, s.Counters.Mended)
	}
	p.identical()
}

func TestBadBlocksWithoutPeerAreAnError(t *testing.T) {
	p := syncedPair(t, 0)
	p.pull(true)
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	p.choose(0, 2, 3, arbiter.Only(0))
	p.faulty[0].set(func() { p.faulty[0].bad = block.Range{Off: 40960, Len: 4096} })
	got := buffer.Aligned(4096)
	if err := p.v[0].ReadAt(got, 40960); !errors.Is(err, errBad) || !errors.Is(err, core.ErrDisk) {
		t.Errorf("read of a bad block, alone: %v", err)
	}
	if err := p.v[0].ReadAt(got, 0); err != nil {
		t.Errorf("read of a good block: %v", err)
	}
}

// letGo is what the agent does when State shows a problem.
func (p *pair) letGo(held <-chan error) {
	p.t.Helper()
	p.until(0, "problem", func(s control.VolumeState) bool { return s.Problem != "" && s.Frozen != "" && !s.WantShrink })
	select {
	case err := <-held:
		p.t.Fatalf("the application was told of the failure although the peer has it all: %v", err)
	default:
	}
	if err := p.v[0].Demote(p.t.Context(), control.DemoteRequest{}); err != nil {
		p.t.Fatal(err)
	}
	p.promote(1, 5, false)
}

func TestFailedWriteIsHeldForThePeer(t *testing.T) {
	p := syncedPair(t, 0)
	page := bytes.Repeat([]byte{1}, 4096)
	if err := p.v[0].WriteAt(page, 4096, true); err != nil {
		t.Fatal(err)
	}
	p.faulty[0].set(func() { p.faulty[0].broken = true })
	held := make(chan error, 2)
	go func() { held <- p.v[0].WriteAt(bytes.Repeat([]byte{2}, 4096), 8192, false) }()
	p.until(0, "problem", func(s control.VolumeState) bool { return s.Problem != "" })
	go func() { held <- p.v[0].ReadAt(buffer.Aligned(4096), 0) }() // after the failure
	p.letGo(held)
	for range 2 {
		if err := <-held; !errors.Is(err, core.ErrLetGo) && !errors.Is(err, core.ErrNotPrimary) {
			t.Errorf("held request: %v, want the end of the reign", err)
		}
	}
	got := buffer.Aligned(4096)
	if err := p.v[1].ReadAt(got, 4096); err != nil || !bytes.Equal(got, page) {
		t.Errorf("what was acknowledged is not on the peer: %v", err)
	}
}

// TestStuckDiskIsGivenUp: the disk keeps a write. The memory it was lent stays
// the request's until the disk answers.
func TestStuckDiskIsGivenUp(t *testing.T) {
	p := syncedPair(t, 6*time.Second)
	stuck := make(chan struct{})
	p.faulty[0].set(func() { p.faulty[0].stuck = stuck })
	held := make(chan error, 1)
	page := bytes.Repeat([]byte{3}, 4096)
	go func() { held <- p.v[0].WriteAt(page, 8192, false) }()
	p.letGo(held)
	select {
	case err := <-held:
		t.Fatalf("the request ended while the disk still works on its memory: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(stuck)
	if err := <-held; !errors.Is(err, core.ErrLetGo) {
		t.Errorf("held request: %v, want ErrLetGo", err)
	}
}

// TestResyncGoesRoundABadBlock: the source cannot read a block. Everything else
// is copied, the target does not become whole, and a write over the block makes
// both good.
func TestResyncGoesRoundABadBlock(t *testing.T) {
	p := newPair(t, 24<<20)
	p.pull(true)
	bad := block.Range{Off: 3 << 20, Len: 4096}
	p.faulty[0].set(func() { p.faulty[0].bad = bad })
	p.pull(false)
	p.promote(0, 2, true)
	s := p.until(0, "everything else", func(s control.VolumeState) bool { return s.Resync != nil && s.Resync.Stuck })
	if s.Resync.Unreadable != 4096 || len(s.Resync.UnreadableRanges) != 1 || s.Resync.UnreadableRanges[0].Offset != bad.Off || s.OutOfSync != 4096 {
		t.Errorf("resync %+v, %d bytes out of sync", s.Resync, s.OutOfSync)
	}
	if s.ReadyToGrow || s.PeerDisk != control.Inconsistent || p.v[1].State().Disk != control.Inconsistent {
		t.Errorf("the peer counts as whole: ready %v, %s, it says %s", s.ReadyToGrow, s.PeerDisk, p.v[1].State().Disk)
	}
	if err := p.v[0].WriteAt(bytes.Repeat([]byte{7}, 4096), bad.Off, false); err != nil {
		t.Fatal(err)
	}
	if s := p.until(0, "the end of the resync", ready); s.Resync != nil || s.OutOfSync != 0 {
		t.Errorf("at the end: %+v, %d bytes out of sync", s.Resync, s.OutOfSync)
	}
	p.choose(0, 2, 2, arbiter.Both)
	p.identical()
}

// TestWriteErrorsPassedOn: under pass-on the application is told of an error on
// the Primary, and both nodes stay in sync; an error on the Secondary costs a
// resync of the block.
func TestWriteErrorsPassedOn(t *testing.T) {
	p := newPairTuned(t, 24<<20, func(o *Options) { o.OnError = core.PassOn })
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	page := bytes.Repeat([]byte{1}, 4096)
	p.faulty[0].set(func() { p.faulty[0].broken = true })
	if err := p.v[0].WriteAt(page, 8192, false); !errors.Is(err, errBad) {
		t.Errorf("write on a disk that fails: %v", err)
	}
	p.faulty[0].set(func() { p.faulty[0].broken = false })
	if s := p.v[0].State(); s.Problem != "" || s.Connection != control.Connected {
		t.Errorf("after it: %q, %s", s.Problem, s.Connection)
	}
	if err := p.v[0].WriteAt(page, 4096, false); err != nil {
		t.Error(err)
	}
	p.faulty[1].set(func() { p.faulty[1].broken = true })
	done := make(chan error, 1)
	go func() { done <- p.v[0].WriteAt(bytes.Repeat([]byte{2}, 4096), 4096, false) }()
	p.until(0, "the Secondary's error", func(s control.VolumeState) bool { return s.WantShrink })
	p.faulty[1].set(func() { p.faulty[1].broken = false })
	p.choose(0, 2, 3, arbiter.Only(0))
	if err := <-done; err != nil {
		t.Error(err)
	}
	p.until(0, "resync", ready)
	p.choose(0, 2, 4, arbiter.Both)
	if s := p.v[1].State(); s.Problem != "" {
		t.Errorf("the Secondary gave its disk up: %s", s.Problem)
	}
	if err := p.v[0].Flush(); err != nil {
		t.Error(err)
	}
	p.identical()
}

// TestPrimaryGoesOnThroughItsPeer: the disk fails, the application sees no error,
// and what it wrote is on the peer.
func TestPrimaryGoesOnThroughItsPeer(t *testing.T) {
	p := syncedPair(t, 0)
	big := bytes.Repeat([]byte{9}, 3<<20)
	for off := 0; off < len(big); off += 1 << 20 {
		if err := p.v[0].WriteAt(big[off:off+1<<20], 4<<20+int64(off), false); err != nil {
			t.Fatal(err)
		}
	}
	p.faulty[0].set(func() { p.faulty[0].broken = true })
	done := make(chan error, 1)
	page := bytes.Repeat([]byte{4}, 4096)
	go func() { done <- p.v[0].WriteAt(page, 8192, false) }()
	p.until(0, "problem", func(s control.VolumeState) bool { return s.MayYield && s.Frozen != "" })
	alone := arbiter.Accepted{Epoch: 2, Version: 3, Set: arbiter.Only(1)}
	p.record(1, alone)
	if r, err := p.v[0].Accept(arbiter.AcceptRequest{Accepted: alone}); err != nil || !r.OK || !r.Volatile {
		t.Fatalf("the register on the failed disk: %+v, %v", r, err)
	}
	if err := p.v[0].Chosen(control.ChosenRequest{Chosen: alone}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("the write that the disk failed at: %v", err)
	}
	s := p.until(0, "service through the peer", func(s control.VolumeState) bool { return s.Remote })
	if s.Disk != control.Diskless || s.Role != control.Primary || s.Frozen != "" || s.Record.Accepted != alone {
		t.Errorf("shown: %+v", s)
	}
	if err := p.v[0].WriteAt(page, 5<<20, true); err != nil {
		t.Error(err)
	}
	copy(big[1<<20:], page)
	got := buffer.Aligned(len(big))
	if err := p.v[0].ReadAt(got, 4<<20); err != nil || !bytes.Equal(got, big) {
		t.Errorf("read through the peer: %v", err)
	}
	if err := p.v[0].Demote(t.Context(), control.DemoteRequest{Clean: true}); err != nil {
		t.Errorf("the way out: %v", err)
	}
	p.promote(1, 5, false)
	if err := p.v[1].ReadAt(got, 4<<20); err != nil || !bytes.Equal(got, big) {
		t.Errorf("at the peer: %v", err)
	}
}

// TestLateReadDoesNotTouchReusedMemory: a read of a resync that the disk keeps
// is given up. When it ends after all, it writes into the memory it was lent, and
// nobody else has got that meanwhile.
func TestLateReadDoesNotTouchReusedMemory(t *testing.T) {
	p := newPairWith(t, 24<<20, 300*time.Millisecond)
	p.pull(true)
	stuck := make(chan struct{})
	p.faulty[0].set(func() { p.faulty[0].stuckReads = stuck })
	p.promote(0, 2, true)
	p.pull(false)
	p.until(0, "the disk to be given up", func(s control.VolumeState) bool { return s.Problem != "" })
	p.pull(true)
	mine := map[int][]byte{}
	for i := range 200 { // more than were lent
		b := buffer.Get(4096 << (i % 8))
		for j := range b {
			b[j] = byte(i)
		}
		mine[i] = b
	}
	close(stuck)
	p.stop(0) // waits for the last of them
	for i, b := range mine {
		if bytes.Contains(b, []byte{lateByte}) && byte(i) != lateByte {
			t.Fatalf("a late read wrote into buffer %d of %d bytes", i, len(b))
		}
	}
	if p.faulty[0].late == 0 {
		t.Error("no read was late: the test tests nothing")
	}
}
