package link

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"gemel/node/replicator/wire"
)

// TestStream compares the stream with plain memory, over many random steps.
func TestStream(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	s := stream{held: noHold}
	var all []byte
	for range 3000 {
		switch random.IntN(4) {
		case 0, 1:
			body := make([]byte, random.IntN(3)*random.IntN(90<<10))
			for i := range body {
				body[i] = byte(random.Uint32())
			}
			h := wire.Header{Type: wire.TypeWrite, Span: uint32(len(body))}
			h.Seq = s.seq
			all = wire.AppendMessage(all, h, body)
			s.message(&h, body)
		case 2:
			s.sent += uint64(random.Int64N(int64(s.end-s.sent) + 1))
		case 3:
			if err := s.confirm(s.confirmed + uint64(random.Int64N(int64(s.sent-s.confirmed)+1))); err != nil {
				t.Fatal(err)
			}
			if random.IntN(4) == 0 {
				s.sent = s.confirmed // the session has moved
			}
		}
		if got := bytes.Join(s.slices(nil, s.sent, s.end), nil); !bytes.Equal(got, all[s.sent:s.end]) {
			t.Fatalf("%d to %d: other bytes", s.sent, s.end)
		}
		if limit := s.kept()/chunk + 2; len(s.chunks) > limit {
			t.Fatalf("%d bytes are kept in %d chunks", s.kept(), len(s.chunks))
		}
	}
	if err := s.confirm(s.end + 1); wire.ReasonOf(err) != wire.BadValue {
		t.Errorf("a confirmation of what was never sent: %v", err)
	}
}

// TestStreamHold: memory that somebody is reading is not used again.
func TestStreamHold(t *testing.T) {
	s := stream{held: noHold}
	h := wire.Header{Type: wire.TypeWrite}
	s.message(&h, bytes.Repeat([]byte{1}, 4096))
	read := s.slices(nil, 0, s.end)
	s.held, s.sent = 0, s.end
	if err := s.confirm(s.end); err != nil {
		t.Fatal(err)
	}
	s.message(&h, bytes.Repeat([]byte{2}, 4096))
	if body := read[0][wire.HeaderSize:]; !bytes.Equal(body, bytes.Repeat([]byte{1}, 4096)) {
		t.Error("the memory was used again while it was read")
	}
}

// TestConfirmationThatWaited: the peer's stream may stand still for very long
// while its pulses confirm on; what its next header says is old then, and must
// not be taken for a position far ahead.
func TestConfirmationThatWaited(t *testing.T) {
	s := stream{held: noHold}
	for _, at := range []uint64{5 << 20, 3 << 30, 4<<30 + 7} {
		s.end, s.sent, s.base = at, at, at
		if err := s.confirm(at); err != nil {
			t.Fatal(err)
		}
	}
	s.end, s.sent = 5<<30, 5<<30
	for _, at := range []uint64{5 << 20, 2 << 30, 4<<30 + 7, 5 << 30} { // as they were written, in order
		if err := s.confirmLow(uint32(at)); err != nil {
			t.Fatalf("at %d: %v", at, err)
		}
		if want := max(at, 4<<30+7); s.confirmed != want {
			t.Fatalf("at %d: confirmed %d", at, s.confirmed)
		}
	}
}
