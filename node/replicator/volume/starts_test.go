package volume

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
)

// ends collects the ends of writes.
type ends struct {
	all sync.WaitGroup
	mu  sync.Mutex
	err error
	n   int
}

func (a *ends) WriteDone(err error, _ bool) {
	a.mu.Lock()
	a.n++
	a.err = errors.Join(a.err, err)
	a.mu.Unlock()
	a.all.Done()
}

func (a *ends) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

// TestStartedWrites: many users write by both ways, over each other's blocks, and in
// the end both disks hold the same.
func TestStartedWrites(t *testing.T) {
	p := syncedPair(t, 0)
	var users sync.WaitGroup
	for user := range 8 {
		users.Go(func() {
			data := buffer.Aligned(8192)
			for round := range 40 {
				for i := range data {
					data[i] = byte(user*40 + round)
				}
				off := int64(rand.IntN(16)) * 4096
				if round%4 == 3 {
					if err := p.v[0].WriteAt(data, off, round%8 == 3); err != nil {
						t.Error(err)
					}
					continue
				}
				var a ends
				a.all.Add(1)
				if !p.v[0].StartWrite(data, off, round%5 == 0, &a) {
					t.Error("a write was not begun")
					return
				}
				if a.all.Wait(); a.err != nil {
					t.Error(a.err)
				}
			}
		})
	}
	users.Wait()
	var got [2][]byte
	for i := range got {
		got[i] = buffer.Aligned(17 * 4096)
		if err := p.faulty[i].ReadAt(got[i], 0); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got[0], got[1]) {
		t.Error("the two disks differ")
	}
	if p.v[0].StartWrite(nil, 0, false, new(ends)) || p.v[1].StartWrite(got[0], 0, false, new(ends)) ||
		p.v[0].StartWrite(got[0], p.v[0].SizeBytes(), false, new(ends)) {
		t.Error("a write of nothing, at the Secondary or outside was begun")
	}
}

// TestStartedWriteWaitsForThePeer: without it nothing is told before the set is.
func TestStartedWriteWaitsForThePeer(t *testing.T) {
	p := syncedPair(t, 0)
	p.pull(true)
	var a ends
	a.all.Add(1)
	if !p.v[0].StartWrite(buffer.Aligned(4096), 0, false, &a) {
		t.Fatal("the write was not begun")
	}
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	if a.count() != 0 {
		t.Fatal("the write ended before the peer was out of the set")
	}
	p.choose(0, 2, 3, arbiter.Only(0))
	if a.all.Wait(); a.err != nil {
		t.Error(a.err)
	}
}
