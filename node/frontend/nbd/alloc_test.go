package nbd

import (
	"io"
	"net"
	"testing"

	"gemel/node/block"
)

// idle is a device that does nothing, and allocates nothing.
type idle struct{}

func (idle) SizeBytes() int64                  { return testSize }
func (idle) ReadAt([]byte, int64) error        { return nil }
func (idle) WriteAt([]byte, int64, bool) error { return nil }
func (idle) Flush() error                      { return nil }

// idleStarter begins reads, too.
type idleStarter struct{ idle }

func (idleStarter) StartReads(reads []block.Read) int {
	for _, r := range reads {
		r.Done.ReadDone(nil)
	}
	return len(reads)
}

// bare is a client that sends prepared bytes and reads prepared lengths: what is
// allocated is the server's.
type bare struct {
	nc   net.Conn
	sent []byte
	got  []byte
}

func newBare(t testing.TB, dev block.Device, requests []request) *bare {
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer("v", dev)
	s.start(theirs, false)
	t.Cleanup(func() { _ = ours.Close(); s.running.Wait() })
	b := &bare{nc: ours}
	answer := 0
	for _, r := range requests {
		b.sent = append(b.sent, encodeRequest(r, make([]byte, r.payload()))...)
		answer += replySize
		if r.kind == cmdRead {
			answer += int(r.length)
		}
	}
	b.got = make([]byte, answer)
	return b
}

func (b *bare) round(t testing.TB) {
	if _, err := b.nc.Write(b.sent); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(b.nc, b.got); err != nil {
		t.Fatal(err)
	}
}

func mixed(n int) (list []request) {
	for i := range n {
		list = append(list, request{kind: uint16(i % 2), off: int64(i) * 4096, length: 4096, cookie: uint64(i)})
	}
	return list
}

// TestNoAllocation: the steady state costs no memory, one by one and many at once.
func TestNoAllocation(t *testing.T) {
	for _, x := range []struct {
		dev   block.Device
		depth int
	}{{idle{}, 2}, {idle{}, 32}, {idleStarter{}, 32}} {
		depth := x.depth
		b := newBare(t, x.dev, mixed(depth))
		for range 100 {
			b.round(t)
		}
		const rounds = 300
		perRequest := testing.AllocsPerRun(rounds, func() { b.round(t) }) / float64(depth)
		if perRequest > 0.9 { // pools that the collector emptied are filled anew
			t.Errorf("%T, %d at once: %.2f allocations per request", x.dev, depth, perRequest)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	for name, list := range map[string][]request{
		"4k write alone": mixed(2)[1:],
		"4k read alone":  mixed(1),
		"4k 32 at once":  mixed(32),
		"1M write 4 at once": {
			{kind: cmdWrite, length: 1 << 20}, {kind: cmdWrite, length: 1 << 20, off: 1 << 20},
			{kind: cmdWrite, length: 1 << 20, off: 2 << 20}, {kind: cmdWrite, length: 1 << 20, off: 3 << 20},
		},
	} {
		for also, dev := range map[string]block.Device{"": idle{}, ", reads begun": idleStarter{}} {
			b.Run(name+also, func(b *testing.B) {
				c := newBare(b, dev, list)
				b.ReportAllocs()
				for b.Loop() {
					c.round(b)
				}
			})
		}
	}
}
