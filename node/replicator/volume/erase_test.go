package volume

import (
	"bytes"
	mathrand "math/rand"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/replicator/buffer"
)

// TestErase discards and zeroes among writes, with the peer in sync, lost, and
// back again; both replicas must read the same, and zeroes where they should.
func TestErase(t *testing.T) {
	p := newPair(t, 80<<20)
	p.promote(0, 2, true)
	write(t, p.v[0], 1, 80, 256<<10) // while the first sync runs
	eraseSome(t, p.v[0], 1)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	write(t, p.v[0], 2, 80, 256<<10)
	eraseSome(t, p.v[0], 2)
	p.zeroAt(t, 1<<20, 40<<20, func() error { return p.v[0].Discard(1<<20, 40<<20) })
	p.zeroAt(t, 50<<20, 4096, func() error { return p.v[0].WriteZeroes(50<<20, 4096, true) })
	p.identical()

	p.pull(true)
	p.choose(0, 2, 3, arbiter.Only(0))
	write(t, p.v[0], 3, 40, 256<<10)
	p.zeroAt(t, 60<<20, 3<<20, func() error { return p.v[0].WriteZeroes(60<<20, 3<<20, false) })
	p.pull(false)
	p.until(0, "second sync", ready)
	p.identical()
}

// eraseSome mixes random discards and zeroes with writes.
func eraseSome(t *testing.T, v *Volume, seed int64) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		write(t, v, seed+100, 40, 64<<10)
	}()
	rng := mathrand.New(mathrand.NewSource(seed))
	for i := range 30 {
		n := (1 + rng.Int63n(1000)) * 4096
		off := rng.Int63n((v.SizeBytes()-n)/4096) * 4096
		erase := func() error { return v.Discard(off, n) }
		if i%3 != 0 {
			erase = func() error { return v.WriteZeroes(off, n, i%3 == 1) }
		}
		if err := erase(); err != nil {
			t.Error(err)
		}
	}
	<-done
}

// zeroAt writes something, erases it and reads the Primary.
func (p *pair) zeroAt(t *testing.T, off, n int64, erase func() error) {
	t.Helper()
	b := buffer.Aligned(int(n))
	copy(b, bytes.Repeat([]byte("gone"), int(n/4)))
	for at := int64(0); at < n; at += 1 << 20 {
		if err := p.v[0].WriteAt(b[at:min(at+1<<20, n)], off+at, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := erase(); err != nil {
		t.Fatal(err)
	}
	if err := p.v[0].ReadAt(b, off); err != nil || !allZero(b) {
		t.Errorf("%d bytes at %d do not read as zeroes: %v", n, off, err)
	}
}

func TestEraseRefusals(t *testing.T) {
	p := newPair(t, 24<<20)
	if err := p.v[0].Discard(0, 4096); err == nil {
		t.Error("a Secondary took a discard")
	}
	p.promote(0, 2, true)
	size := p.v[0].SizeBytes()
	for _, r := range [][2]int64{{size, 4096}, {0, size + 4096}, {-4096, 4096}, {512, 4096}, {0, 512}} {
		if err := p.v[0].WriteZeroes(r[0], r[1], false); err == nil {
			t.Errorf("%v was taken", r)
		}
	}
}
