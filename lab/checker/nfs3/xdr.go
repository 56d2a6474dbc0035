package nfs3

import (
	"encoding/binary"
	"errors"
)

// errShort says that a reply ended before the field being read.
var errShort = errors.New("reply is shorter than its own lengths say")

// Encoder appends XDR values (RFC 4506) to a buffer: big endian, padded to 4 bytes.
type Encoder struct{ buf []byte }

// Bytes returns what has been encoded so far; it aliases the encoder's buffer.
func (e *Encoder) Bytes() []byte { return e.buf }

// Uint32 appends an unsigned int, an enum or a bool.
func (e *Encoder) Uint32(v uint32) { e.buf = binary.BigEndian.AppendUint32(e.buf, v) }

// Uint64 appends an unsigned hyper.
func (e *Encoder) Uint64(v uint64) { e.buf = binary.BigEndian.AppendUint64(e.buf, v) }

// Opaque appends variable-length bytes: a length, the bytes, zeros up to a multiple of 4.
func (e *Encoder) Opaque(b []byte) {
	e.Uint32(uint32(len(b)))
	e.buf = append(e.buf, b...)
	e.buf = append(e.buf, make([]byte, pad(len(b)))...)
}

// Decoder reads XDR values. The first failure sticks: later reads return zeros, Err tells.
type Decoder struct {
	buf []byte
	err error
}

// NewDecoder reads from b, which it does not copy.
func NewDecoder(b []byte) *Decoder { return &Decoder{buf: b} }

// Err returns the first decoding failure, or nil.
func (d *Decoder) Err() error { return d.err }

// Uint32 reads an unsigned int, an enum or a bool.
func (d *Decoder) Uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Uint64 reads an unsigned hyper.
func (d *Decoder) Uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Opaque reads variable-length bytes; the result aliases the input.
func (d *Decoder) Opaque() []byte {
	n := d.Uint32()
	if uint64(n) > uint64(len(d.buf)) {
		d.fail()
		return nil
	}
	b := d.take(int(n))
	d.take(pad(int(n)))
	return b
}

// Skip drops n bytes.
func (d *Decoder) Skip(n int) { d.take(n) }

func (d *Decoder) take(n int) []byte {
	if d.err != nil || len(d.buf) < n {
		d.fail()
		return nil
	}
	b := d.buf[:n:n]
	d.buf = d.buf[n:]
	return b
}

func (d *Decoder) fail() {
	if d.err == nil {
		d.err = errShort
	}
}

func pad(n int) int { return (4 - n%4) % 4 }
