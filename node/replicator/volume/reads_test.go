package volume

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
	"gemel/node/replicator/volume/core"
)

// StartReads begins reads as a real disk does.
func (d *faultyDisk) StartReads(reads []block.Read) int {
	for _, r := range reads {
		go func() { r.Done.ReadDone(d.ReadAt(r.P, r.Off)) }()
	}
	return len(reads)
}

// answers collects the ends of reads.
type answers struct {
	all sync.WaitGroup
	mu  sync.Mutex
	err error
}

func (a *answers) ReadDone(err error) {
	a.mu.Lock()
	a.err = errors.Join(a.err, err)
	a.mu.Unlock()
	a.all.Done()
}

// startAll begins reads of whole blocks and waits for them.
func startAll(v *Volume, into []byte, off int64) (n int, err error) {
	var a answers
	var list []block.Read
	for at := 0; at < len(into); at += 4096 {
		list = append(list, block.Read{P: into[at : at+4096], Off: off + int64(at), Done: &a})
	}
	a.all.Add(len(list))
	n = v.StartReads(list)
	a.all.Add(n - len(list))
	a.all.Wait()
	return n, a.err
}

func TestStartedReads(t *testing.T) {
	p := syncedPair(t, 0)
	want := bytes.Repeat([]byte{1, 2, 3, 4}, 8192)
	if err := p.v[0].WriteAt(want, 0, false); err != nil {
		t.Fatal(err)
	}
	got := buffer.Aligned(len(want))
	if n, err := startAll(p.v[0], got, 0); n != 8 || err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of 8 reads were begun: %v", n, err)
	}
	if n, _ := startAll(p.v[0], got, p.v[0].SizeBytes()-8192); n != 2 {
		t.Errorf("%d reads were begun, two are inside the volume", n)
	}
	if n, _ := startAll(p.v[1], got, 0); n != 0 {
		t.Errorf("the Secondary began %d reads", n)
	}
	// Bad blocks come from the peer, as with ReadAt.
	clear(got)
	p.faulty[0].set(func() { p.faulty[0].bad = block.Range{Off: 4096, Len: 4096} })
	if n, err := startAll(p.v[0], got, 0); n != 8 || err != nil || !bytes.Equal(got, want) {
		t.Errorf("over a bad block %d of 8 reads were begun: %v", n, err)
	}
	if s := p.v[0].State(); s.Counters.Mended != 4096 {
		t.Errorf("mended %d bytes", s.Counters.Mended)
	}
}

// TestStartedReadOfABadBlockAlone: without a peer it is an error.
func TestStartedReadOfABadBlockAlone(t *testing.T) {
	p := syncedPair(t, 0)
	p.pull(true)
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	p.choose(0, 2, 3, arbiter.Only(0))
	p.faulty[0].set(func() { p.faulty[0].bad = block.Range{Off: 4096, Len: 4096} })
	if _, err := startAll(p.v[0], buffer.Aligned(8192), 0); !errors.Is(err, errBad) || !errors.Is(err, core.ErrDisk) {
		t.Errorf("a bad block, alone: %v", err)
	}
}
