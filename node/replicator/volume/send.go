package volume

import (
	"errors"

	"gemel/node/replicator/link"
	"gemel/node/replicator/volume/core"
	"gemel/node/replicator/wire"
)

// talkMost bounds what talk sends, in bytes: it fits into an idle socket, so
// that the caller does not wait for the peer. More goes to the writer, which
// sends while the caller is at the disk.
const talkMost = 64 << 10

// outgoing is a message that waits to be sent.
type outgoing struct {
	header  wire.Header
	payload core.ID
	body    []byte
}

// queue lines a message up to be sent; v.mu is held.
func (v *Volume) queue(m core.Msg) {
	if v.conn == nil {
		return
	}
	if m.Kind == core.Failed {
		v.drop(errors.New("the backing device failed here"))
		return
	}
	o := outgoing{header: toWire(&m), payload: m.Payload}
	o.header.Epoch = m.Epoch
	if o.body = talkBody(&m); m.Payload != 0 {
		pay := v.payloads[m.Payload]
		pay.refs++
		switch {
		case m.Kind == core.Sums:
			o.body = pay.sums
		case pay.blank && m.Kind == core.ResyncData: // a resync found zeroes
			o.header.Flags |= wire.FlagZero
			o.body = nil
		default:
			o.body = part(&m, pay.buf)
		}
	}
	v.out = append(v.out, o)
}

// talkBody is the body of a message that is not data; nil when it has none.
func talkBody(m *core.Msg) []byte {
	switch m.Kind {
	case core.Bits, core.VerifyNote:
		return wire.AppendWords(nil, m.Words)
	case core.Begin:
		return beginBody(m)
	}
	return nil
}

// part is what of a request's memory travels with m: of a piece that was
// compared only what differs.
func part(m *core.Msg, p []byte) []byte {
	if m.Kind == core.ResyncData {
		return p[m.At : m.At+m.Range.Len]
	}
	return p
}

// forget drops what was not sent yet.
func (v *Volume) forget() {
	for _, o := range v.out {
		if o.payload != 0 {
			v.unref(o.payload)
		}
	}
	v.out = v.out[:0]
}

// write sends what is queued until the session ends.
func (v *Volume) write(conn *link.Conn, session uint64) {
	defer v.running.Done()
	v.mu.Lock()
	defer v.mu.Unlock()
	for {
		for (len(v.out) == 0 || v.sending) && v.conn == conn {
			v.outReady.Wait()
		}
		if v.conn != conn || v.session != session {
			return
		}
		v.send()
	}
}

// talk sends what is queued from this goroutine, if it is little and nobody
// else is sending: waking the writer would take longer than sending. Otherwise
// it wakes the writer. v.mu is held, but not all the time. The Primary's receiver
// must not talk: two receivers that wait for each other to receive would stand.
// The Secondary's may, since the Primary's never waits for it.
func (v *Volume) talk() {
	if len(v.out) == 0 || v.sending {
		return
	}
	size := 0
	for i := range v.out {
		size += wire.HeaderSize + len(v.out[i].body)
	}
	if v.conn != nil && size <= talkMost {
		v.send()
	}
	if len(v.out) > 0 && !v.sending {
		v.outReady.Signal()
	}
}

// send sends all that is queued now; v.mu is held, but not while it sends. The
// connection may be another one, or none, when it returns.
func (v *Volume) send() {
	conn, batch := v.conn, v.out
	v.out, v.sending = v.spareOut[:0], true
	v.spareOut = nil
	v.mu.Unlock()
	messages := v.messages[:0] // whoever sends has it
	for i := range batch {
		messages = append(messages, link.Outgoing{Header: batch[i].header, Payload: batch[i].body})
	}
	_ = conn.SendNow(messages) // when it fails, Receive fails as well and tells
	clear(messages)
	v.messages = messages
	v.mu.Lock()
	v.sending = false
	for i := range batch {
		if batch[i].payload != 0 {
			v.unref(batch[i].payload)
		}
	}
	clear(batch)
	v.spareOut = batch[:0]
	if v.conn != conn {
		v.outReady.Broadcast() // the writer of another session may have to go on
	}
}
