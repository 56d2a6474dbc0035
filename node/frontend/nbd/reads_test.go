package nbd

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/frontendtest"
)

// starter is a device that begins some of the reads it is asked for, and ends
// them in any order.
type starter struct {
	block.Device
	began *atomic.Int64
}

func (d starter) StartReads(reads []block.Read) int {
	n := rand.IntN(len(reads) + 1)
	d.began.Add(int64(n))
	for _, r := range reads[:n] {
		go func() { r.Done.ReadDone(d.ReadAt(r.P, r.Off)) }()
	}
	return n
}

// erasing is a starter that can discard and write zeroes too.
type erasing struct {
	starter
	block.Discarder
	block.Zeroer
}

// TestSuiteWithStartedReads: nobody notices who does the reads.
func TestSuiteWithStartedReads(t *testing.T) {
	var began atomic.Int64
	attach := func(ctx context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
		s := starter{dev, &began}
		d, discards := dev.(block.Discarder)
		z, zeroes := dev.(block.Zeroer)
		if discards && zeroes {
			return listen(ctx, o, erasing{s, d, z})
		}
		return listen(ctx, o, s)
	}
	frontendtest.RunWithout(t, attach, func(path string) (frontendtest.User, error) { return dial(path, "suite") })
}

// TestBurstOfReadsIsBegun: reads that come together are begun.
func TestBurstOfReadsIsBegun(t *testing.T) {
	var began atomic.Int64
	b := newBare(t, starter{idle{}, &began}, mixed(32))
	for range 50 {
		b.round(t)
	}
	if began.Load() == 0 {
		t.Error("no read was begun")
	}
}

// TestStartedReadsAmongOthers mixes reads that are begun with long ones, writes
// and flushes on two connections; every read brings what was written there.
func TestStartedReadsAmongOthers(t *testing.T) {
	memory := frontendtest.NewMemory(testSize)
	a, err := Listen(frontend.Options{Name: "suite", Dir: t.TempDir()}, starter{memory, new(atomic.Int64)})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for user := range 2 {
		c := mustDial(t, a.Path())
		for worker := range 40 {
			region := int64(user*40+worker) * (256 << 10)
			all.Go(func() { mixOnRegion(t, c, region, byte(user*40+worker+1)) })
		}
	}
	all.Wait()
	if err := a.Detach(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	<-a.Done()
}

func mixOnRegion(t *testing.T, c *client, region int64, mark byte) {
	for round := range 20 {
		n := 4096 << rand.IntN(7) // up to 256 KiB, longer than what is begun
		want := bytes.Repeat([]byte{mark ^ byte(round)}, n)
		if err := c.WriteAt(want, region); err != nil {
			t.Error(err)
			return
		}
		for range 4 {
			off := int64(rand.IntN(n/4096)) * 4096
			got := make([]byte, 4096)
			if err := c.ReadAt(got, region+off); err != nil || !bytes.Equal(got, want[:4096]) {
				t.Errorf("read at %d: %v, or other data", region+off, err)
				return
			}
		}
		got := make([]byte, n)
		if err := c.ReadAt(got, region); err != nil || !bytes.Equal(got, want) {
			t.Errorf("long read at %d: %v, or other data", region, err)
			return
		}
		if round%5 == 0 {
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
		}
	}
}
