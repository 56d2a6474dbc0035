package volume

import (
	"bytes"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
)

func inUse(p block.Protocol) func(control.VolumeState) bool {
	return func(s control.VolumeState) bool { return s.ProtocolInUse == p.String() }
}

// TestProtocols changes the protocol of a running volume under writes; whatever
// it is, a flush brings both replicas to the same content, and a hand-over
// leaves nothing behind.
func TestProtocols(t *testing.T) {
	p := newPair(t, 32<<20)
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	for i, protocol := range []block.Protocol{block.ProtocolA, block.ProtocolB, block.ProtocolC, block.ProtocolB, block.ProtocolA} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			write(t, p.v[0], int64(i), 200, 64<<10)
		}()
		p.v[0].SetProtocol(protocol)
		p.until(0, "protocol "+protocol.String(), inUse(protocol))
		<-done
		eraseSome(t, p.v[0], int64(i))
		if err := p.v[0].Flush(); err != nil {
			t.Fatal(err)
		}
		p.identical()
	}
	p.until(1, "note", func(s control.VolumeState) bool { return s.MayLack == "A" })
	if s := p.v[0].State(); s.Protocol != "A" || s.ConfiguredProtocol != "C" || s.MayLack != "" {
		t.Errorf("primary: %+v", s)
	}

	page := buffer.Aligned(4096)
	copy(page, "completed, not flushed")
	if err := p.v[0].WriteAt(page, 0, false); err != nil {
		t.Fatal(err)
	}
	if err := p.v[0].Demote(t.Context(), control.DemoteRequest{Clean: true}); err != nil {
		t.Fatal(err)
	}
	if s := p.v[1].State(); s.MayLack != "" {
		t.Errorf("after a hand-over the peer believes that it may lack writes of protocol %s", s.MayLack)
	}
	p.promote(1, 5, false)
	got := buffer.Aligned(4096)
	if err := p.v[1].ReadAt(got, 0); err != nil || !bytes.Equal(got, page) {
		t.Errorf("the other node reads %q, %v", got[:40], err)
	}
}

// TestLossUnderProtocolA: what completed and was on its way when the connection
// broke is out of sync, and the peer still knows that it may lack it.
func TestLossUnderProtocolA(t *testing.T) {
	p := newPair(t, 32<<20)
	p.promote(0, 2, true)
	p.v[0].SetProtocol(block.ProtocolA)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	p.until(0, "protocol A", inUse(block.ProtocolA))
	write(t, p.v[0], 1, 100, 64<<10)
	p.pull(true)
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	if s := p.v[1].State(); s.MayLack != "A" {
		t.Errorf("the lost peer shows %q, want A", s.MayLack)
	}
	p.choose(0, 2, 3, arbiter.Only(0))
	write(t, p.v[0], 2, 100, 64<<10)
	p.pull(false)
	p.until(0, "second sync", ready)
	if err := p.v[0].Flush(); err != nil {
		t.Fatal(err)
	}
	p.identical()
}

// BenchmarkProtocols writes one block after the other.
func BenchmarkProtocols(b *testing.B) {
	p := newPair(b, 256<<20)
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	buf := buffer.Aligned(4096)
	buf[0] = 1
	for _, protocol := range []block.Protocol{block.ProtocolC, block.ProtocolB, block.ProtocolA} {
		p.v[0].SetProtocol(protocol)
		p.until(0, "protocol "+protocol.String(), inUse(protocol))
		b.Run(protocol.String(), func(b *testing.B) {
			for i := range int64(b.N) {
				if err := p.v[0].WriteAt(buf, i%4096*4096, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
