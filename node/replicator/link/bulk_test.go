package link

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/replicator/buffer"
	"gemel/node/replicator/wire"
)

// BenchmarkBulk is long writes, eight under way, each from other memory and
// answered by the peer. Beside the time it reports the processor time of both
// ends together, which says more where others use the machine.
func BenchmarkBulk(b *testing.B) {
	b.Run("tls", func(b *testing.B) { bulk(b, false) })
	b.Run("plain", func(b *testing.B) { bulk(b, true) })
}

func bulk(b *testing.B, plain bool) {
	const underWay = 8
	a, peer, done := benchPair(b, plain)
	defer done()
	go answerWrites(peer)
	var memory [underWay][]byte
	for i := range memory {
		memory[i] = buffer.Aligned(wire.MaxPayload)
	}
	room := make(chan struct{}, underWay)
	b.SetBytes(wire.MaxPayload)
	b.ReportAllocs()
	b.ResetTimer()
	before := processorTime()
	go func() {
		batch := make([]Outgoing, 1)
		for i := range b.N {
			room <- struct{}{}
			batch[0] = Outgoing{Header: wire.Header{Type: wire.TypeWrite, Span: wire.MaxPayload}, Payload: memory[i%underWay]}
			if a.SendNow(batch) != nil {
				return
			}
		}
	}()
	for range b.N {
		if _, err := a.Receive(); err != nil {
			b.Fatal(err)
		}
		<-room
	}
	b.ReportMetric(float64((processorTime()-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// answerWrites acknowledges what comes, until the session ends.
func answerWrites(peer *Conn) {
	answer := make([]Outgoing, 1)
	for {
		m, err := peer.Receive()
		if err != nil {
			return
		}
		answer[0].Header = wire.Header{Type: wire.TypeWriteAck, ID: m.ID, Offset: m.Offset, Span: m.Span}
		m.Release()
		if peer.SendNow(answer) != nil {
			return
		}
	}
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
