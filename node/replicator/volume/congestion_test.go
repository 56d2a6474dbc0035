package volume

import (
	mathrand "math/rand"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
)

// congestedPair is a pair under protocol A whose Secondary's disk keeps writes
// until release is called; more is written than may be on its way.
func congestedPair(t *testing.T, ahead bool) (p *pair, done chan error, release func()) {
	t.Helper()
	p = newPairTuned(t, 32<<20, func(o *Options) {
		o.Protocol, o.CongestionFill, o.PullAhead = block.ProtocolA, 1<<20, ahead
	})
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	p.until(0, "protocol A", inUse(block.ProtocolA))
	stuck := make(chan struct{})
	p.faulty[1].set(func() { p.faulty[1].stuck = stuck })
	release = func() {
		p.faulty[1].set(func() { p.faulty[1].stuck = nil })
		close(stuck)
	}
	done = make(chan error, 1)
	go func() { done <- fill(p.v[0], 4<<20) }()
	return p, done, release
}

// fill writes n bytes from the start of v, one request after the other: larger
// ones than the peer's receiver would write itself.
func fill(v *Volume, n int64) error {
	b := buffer.Aligned(2 * inlineMost)
	rng := mathrand.New(mathrand.NewSource(n))
	for off := int64(0); off < n; off += int64(len(b)) {
		rng.Read(b)
		if err := v.WriteAt(b, off, false); err != nil {
			return err
		}
	}
	return nil
}

func TestCongestionBlocks(t *testing.T) {
	p, done, release := congestedPair(t, false)
	p.until(0, "writes up to the bound", func(s control.VolumeState) bool { return s.Counters.Sent > s.CongestionFill })
	select {
	case err := <-done:
		t.Errorf("more than the bound completed ahead of the peer: %v", err)
	case <-time.After(time.Second):
	}
	if s := p.v[0].State(); s.WantShrink || s.Connection != control.Connected {
		t.Errorf("the peer was dropped: %+v", s)
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := p.v[0].Flush(); err != nil {
		t.Fatal(err)
	}
	p.identical()
}

func TestCongestionPullsAhead(t *testing.T) {
	p, done, release := congestedPair(t, true)
	p.until(0, "the peer to be dropped", func(s control.VolumeState) bool { return s.WantShrink })
	select {
	case err := <-done:
		t.Errorf("writes went on before the shrink was recorded: %v", err)
	default:
	}
	p.choose(0, 2, 3, arbiter.Only(0))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := p.v[0].State(); s.OutOfSync < 3<<20 {
		t.Errorf("%d bytes out of sync", s.OutOfSync)
	}
	release()
	p.until(0, "the resync", ready)
	if err := p.v[0].Flush(); err != nil {
		t.Fatal(err)
	}
	p.identical()
}
