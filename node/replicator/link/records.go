package link

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// records is the record layer of TLS 1.3 (RFC 8446, section 5) on a socket whose
// handshake crypto/tls has made. The bytes on the wire are those that crypto/tls
// would send. It exists because data that passes through crypto/tls is copied
// four times more: here it is sealed in the memory that goes to the kernel, and
// opened into the memory that asks for it. It makes no handshake and knows no
// certificates; an alert of the peer ends the connection as it does there.
type records struct {
	socket io.Writer
	in     *bufio.Reader // the socket's bytes, a whole record at least
	from   direction
	plain  []byte // what of the first record in in was opened and not read
	length int    // of that record; 0: it was not opened
	hand   []byte // a message of the handshake protocol that has begun

	asked atomic.Bool // the peer wants new keys

	mu   sync.Mutex
	to   direction
	buf  []byte // sealed records; reused
	rest error  // why nothing can be sent any more
}

// Sizes and types of records.
const (
	recordHead  = 5
	recordMost  = 16 << 10         // bytes of data in one
	recordLimit = recordMost + 256 // what a sealed one may have behind its header
	recordTail  = 1 + 16           // type and tag

	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23

	messageTicket = 4
	messageKeys   = 24
)

// keysFor is how many records one key may seal. TLS allows 24 million for AES-GCM.
const keysFor = 1 << 23

var errRecord = errors.New("TLS: a record is damaged or not of this connection")

// write sends data, in as few records and system calls as can be.
func (r *records) write(parts [][]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = r.buf[:0]
	for r.rest == nil && len(parts) > 0 {
		if len(parts[0]) == 0 {
			parts = parts[1:]
			continue
		}
		r.renew()
		at := r.begin()
		parts = r.fill(parts, at)
		r.end(at, recordData)
		if len(r.buf) > burst+chunk {
			r.flush()
		}
	}
	r.flush()
	return r.rest
}

// begin makes room for a record's header and returns where the record starts.
func (r *records) begin() int {
	at := len(r.buf)
	r.buf = append(r.buf, recordData, 3, 3, 0, 0)
	return at
}

// fill takes as much of parts as a record holds, and returns the rest.
func (r *records) fill(parts [][]byte, at int) [][]byte {
	for room := at + recordHead + recordMost - len(r.buf); room > 0 && len(parts) > 0; {
		n := min(room, len(parts[0]))
		r.buf = append(r.buf, parts[0][:n]...)
		room -= n
		if n == len(parts[0]) {
			parts = parts[1:]
			continue
		}
		// parts is the caller's memory, used up as net.Buffers does.
		parts[0] = parts[0][n:]
	}
	return parts
}

// end seals the record that starts at at, where it lies.
func (r *records) end(at int, kind byte) {
	r.buf = append(r.buf, kind)
	head, plain := r.buf[at:at+recordHead:at+recordHead], r.buf[at+recordHead:]
	size := len(plain) + recordTail - 1
	head[3], head[4] = byte(size>>8), byte(size) //nolint:gosec // at most recordLimit
	sealed := r.to.aead.Seal(plain[:0], r.to.count(), plain, head)
	r.buf = append(r.buf[:at+recordHead], sealed...) // in place if there was room for the tag
}

// renew changes the key when it has sealed enough, or the peer asked for it.
func (r *records) renew() {
	if r.to.seq < r.to.most && !r.asked.Swap(false) {
		return
	}
	at := r.begin()
	r.buf = append(r.buf, messageKeys, 0, 0, 1, 0)
	r.end(at, recordHandshake)
	r.rest = r.to.next()
}

func (r *records) flush() {
	if r.rest != nil || len(r.buf) == 0 {
		return
	}
	_, r.rest = r.socket.Write(r.buf)
	r.buf = r.buf[:0]
}

// Read reads what one record brings, into p where it fits. p must not overlap
// anything that was read before.
func (r *records) Read(p []byte) (int, error) {
	for len(r.plain) == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		if n, err := r.open(p); n > 0 || err != nil {
			return n, err
		}
	}
	n := copy(p, r.plain)
	r.plain = r.plain[n:]
	r.leave()
	return n, nil
}

// buffered reports whether something was taken from the kernel and not read.
func (r *records) buffered() bool { return len(r.plain) > 0 || r.in.Buffered() > 0 }

// leave gives a record up that was read whole.
func (r *records) leave() {
	if len(r.plain) == 0 {
		_, _ = r.in.Discard(r.length)
		r.length = 0
	}
}

// open opens the next record: into p if it has room for all of it, which returns
// how much, else where it lies.
func (r *records) open(p []byte) (int, error) {
	record, err := r.peek()
	if err != nil {
		return 0, err
	}
	r.length = len(record)
	head, sealed := record[:recordHead], record[recordHead:]
	into, direct := sealed[:0], false
	if room := len(sealed) - (recordTail - 1); len(p) >= room {
		into, direct = p[:0:room], true
	}
	plain, err := r.from.aead.Open(into, r.from.count(), sealed, head)
	if err != nil {
		return 0, errRecord
	}
	end := len(plain) - 1
	for end >= 0 && plain[end] == 0 { // padding
		end--
	}
	switch {
	case end < 0 || end > recordMost:
		return 0, errRecord
	case plain[end] != recordData:
		err = r.control(plain[end], plain[:end])
		r.leave()
		return 0, err
	case direct:
		r.leave()
		return end, nil
	}
	r.plain = plain[:end]
	if end == 0 {
		r.leave()
	}
	return 0, nil
}

// peek waits for a whole record.
func (r *records) peek() ([]byte, error) {
	head, err := r.in.Peek(recordHead)
	if err != nil {
		return nil, partial(head, err)
	}
	length := int(head[3])<<8 | int(head[4])
	if head[0] != recordData || length < recordTail || length > recordLimit {
		return nil, errRecord
	}
	if r.in.Size() < recordHead+length {
		r.in = bufio.NewReaderSize(r.in, recordHead+recordLimit)
	}
	record, err := r.in.Peek(recordHead + length)
	if err != nil {
		return nil, partial(record, err)
	}
	return record, nil
}

// partial is the error of a stream that ended within a record.
func partial(got []byte, err error) error {
	if len(got) > 0 && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// control takes a record that brings no data.
func (r *records) control(kind byte, body []byte) error {
	switch {
	case kind == recordAlert && len(body) == 2 && body[1] == 0: // close_notify
		return io.EOF
	case kind == recordAlert && len(body) == 2:
		return &net.OpError{Op: "remote error", Err: tls.AlertError(body[1])}
	case kind == recordHandshake && len(body) > 0 && len(r.hand)+len(body) <= 4*recordMost:
		r.hand = append(r.hand, body...)
		return r.shake()
	}
	return fmt.Errorf("%w: type %d", errRecord, kind)
}

// shake takes the whole messages of the handshake protocol that have come:
// tickets, which nobody wants here, and changes of the key.
func (r *records) shake() error {
	for len(r.hand) >= 4 {
		size := 4 + int(r.hand[1])<<16 + int(r.hand[2])<<8 + int(r.hand[3])
		if size > len(r.hand) {
			return nil
		}
		kind, body, rest := r.hand[0], r.hand[4:size], r.hand[size:]
		switch {
		case kind == messageTicket:
		case kind == messageKeys && len(body) == 1 && body[0] <= 1 && len(rest) == 0:
			if body[0] == 1 {
				r.asked.Store(true)
			}
			if err := r.from.next(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: message %d", errRecord, kind)
		}
		r.hand = append(r.hand[:0], rest...)
	}
	return nil
}
