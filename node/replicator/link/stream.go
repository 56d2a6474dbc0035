package link

import (
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/wire"
)

// chunk is the memory unit of a stream in bytes.
const chunk = 64 << 10

// sumPiece is how much is copied and summed at a time, in bytes: it fits into a
// processor's nearest cache.
const sumPiece = 32 << 10

// stream holds one side's messages as bytes, from the first that the peer has
// not confirmed to the last that was queued. Positions count bytes since the
// session began. It is guarded by Conn.mu.
type stream struct {
	chunks [][]byte // from package buffer; the last one is being filled
	base   uint64   // position of the first chunk's first byte

	confirmed uint64 // the peer has everything below
	told      uint64 // as the last header of the peer's stream said it
	sent      uint64 // everything below was given to the connection in use
	end       uint64 // what is queued ends here
	// held keeps memory from being reused while somebody reads it to send it:
	// nothing from this position on is given back. noHold when nobody does.
	held uint64
	seq  uint64 // of the next message
}

const noHold = ^uint64(0)

// kept returns how many bytes wait to be sent or confirmed.
func (s *stream) kept() int { return int(s.end - s.confirmed) } //nolint:gosec // bounded by Send

// message appends one message; it sets Length, PayloadCRC and Seq. The checksum is
// that of the copy, taken piece by piece while the processor has it in its cache;
// so the header is filled in at the end.
func (s *stream) message(h *wire.Header, payload []byte) {
	var head [wire.HeaderSize]byte
	h.Seq, h.Length, h.PayloadCRC = s.seq, uint32(len(payload)), 0 //nolint:gosec // at most 1 MiB
	s.seq++
	at := s.end
	s.bytes(head[:])
	for len(payload) > 0 {
		copied := s.some(payload[:min(len(payload), sumPiece)])
		h.PayloadCRC = wire.AddChecksum(h.PayloadCRC, copied)
		payload = payload[len(copied):]
	}
	s.over(at, wire.AppendHeader(head[:0], h))
}

// over replaces the bytes from position at on, which were queued and not sent.
func (s *stream) over(at uint64, b []byte) {
	var room [2][]byte
	for _, part := range s.slices(room[:0], at, at+uint64(len(b))) {
		b = b[copy(part, b):]
	}
}

func (s *stream) bytes(b []byte) {
	for len(b) > 0 {
		b = b[len(s.some(b)):]
	}
}

// some appends what of b fits into one chunk, and returns the copy.
func (s *stream) some(b []byte) []byte {
	last := len(s.chunks) - 1
	if last < 0 || len(s.chunks[last]) == chunk {
		s.chunks = append(s.chunks, buffer.Get(chunk)[:0])
		last++
	}
	from := len(s.chunks[last])
	n := min(len(b), chunk-from)
	s.chunks[last] = append(s.chunks[last], b[:n]...)
	s.end += uint64(n) //nolint:gosec // not negative
	return s.chunks[last][from:]
}

// slices appends the memory of the bytes from … to to dst.
func (s *stream) slices(dst [][]byte, from, to uint64) [][]byte {
	at := s.base
	for _, c := range s.chunks {
		after := at + uint64(len(c))
		if low, high := max(from, at), min(to, after); low < high {
			dst = append(dst, c[low-at:high-at])
		}
		at = after
	}
	return dst
}

// confirmLow takes the low half of the peer's position out of a header of the
// peer's stream. There it only grows, by much less than 4 GiB from one message to
// the next; it may be old, since the message may have waited.
func (s *stream) confirmLow(low uint32) error {
	s.told += uint64(low - uint32(s.told)) //nolint:gosec // the wrap is meant
	if s.told <= s.confirmed {
		return nil
	}
	return s.confirm(s.told)
}

// confirm notes that the peer has everything below position to.
func (s *stream) confirm(to uint64) error {
	if to < s.confirmed || to > s.sent {
		return wire.Refuse(wire.BadValue, "the peer has received %d bytes of messages; it can be %d to %d",
			to, s.confirmed, s.sent)
	}
	s.confirmed = to
	s.reuse()
	return nil
}

// reuse gives memory back that nobody needs any more. The last chunk stays: an
// idle connection sends from the same memory again and again.
func (s *stream) reuse() {
	free := min(s.confirmed, s.held)
	for len(s.chunks) > 1 && s.base+chunk <= free {
		s.base += chunk
		buffer.Put(s.chunks[0])
		n := copy(s.chunks, s.chunks[1:])
		s.chunks[n] = nil
		s.chunks = s.chunks[:n]
	}
	if len(s.chunks) == 1 && free == s.end {
		s.base, s.chunks[0] = s.end, s.chunks[0][:0]
	}
}

// drop gives everything back; nothing can be sent afterwards.
func (s *stream) drop() {
	for _, c := range s.chunks {
		buffer.Put(c)
	}
	s.chunks = nil
}
