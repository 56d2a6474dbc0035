package link

import (
	"errors"
	"fmt"
	"os"
	"time"

	"gemel/node/replicator/wire"
)

// Outgoing is a message for SendNow.
type Outgoing struct {
	wire.Header
	Payload []byte
}

// Send queues a message; Length, PayloadCRC, Seq and Received are set here. The
// payload is copied before Send returns. With data, Send blocks while more than
// QueueLimit bytes are kept; messages without payload are let through up to
// twice that, so that an answer is not stuck behind data. It fails once the
// session ended.
func (c *Conn) Send(h wire.Header, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.room(&h, len(payload)); err != nil {
		return err
	}
	c.queue(&h, payload)
	return nil
}

// TrySend is Send for messages that may be dropped: it never blocks, and
// reports whether the message was queued.
func (c *Conn) TrySend(h wire.Header, payload []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil || c.out.kept() > QueueLimit {
		return false
	}
	c.queue(&h, payload)
	return true
}

// SendNow sends messages in order and sets the same fields as Send. While
// nobody else is sending, the caller writes to the socket itself: no other
// goroutine has to be woken. Otherwise it is Send for each. Either way the
// payloads are the caller's again when it returns. It may block as long as the
// peer takes nothing, up to the timeout; so of the two goroutines that receive
// on the two sides, at most one may call it.
func (c *Conn) SendNow(batch []Outgoing) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range batch {
		if err := c.room(&batch[i].Header, len(batch[i].Payload)); err != nil {
			return err
		}
		mine := !c.sending && c.lane != nil
		c.put(&batch[i].Header, batch[i].Payload)
		if mine && (i == len(batch)-1 || c.out.end-c.out.sent > burst) {
			c.pump(c.out.end)
		}
	}
	if !c.sending && c.out.sent < c.out.end {
		c.wakeWriter()
	}
	return c.reason
}

// room waits until a message with that much payload may be queued; c.mu is held.
func (c *Conn) room(h *wire.Header, payload int) error {
	limit := QueueLimit
	if payload == 0 {
		limit *= 2
	}
	for c.reason == nil && c.out.kept() > limit {
		if !c.sending && c.out.sent < c.out.end {
			c.wakeWriter()
		}
		c.space.Wait()
	}
	if c.reason != nil {
		return fmt.Errorf("send %v: %w", h.Type, c.reason)
	}
	return nil
}

// put appends the message to what is kept; c.mu is held.
func (c *Conn) put(h *wire.Header, payload []byte) {
	h.Received, c.told = uint32(c.received), c.received //nolint:gosec // the low half is meant
	c.out.message(h, payload)
	if !signOfLife(h.Type) {
		c.rest.end = c.out.end
		c.stir()
	}
}

// queue leaves the message to the writer; c.mu is held.
func (c *Conn) queue(h *wire.Header, payload []byte) {
	c.put(h, payload)
	if !c.sending {
		c.wakeWriter()
	}
}

// wakeWriter tells the writer that there is something to send.
func (c *Conn) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends what is queued. It ends when the session is closed, says goodbye
// and closes the sockets.
func (c *Conn) write() {
	defer close(c.ended)
	ping := time.NewTicker(max(c.timeout/4, time.Millisecond))
	defer ping.Stop()
	for {
		select {
		case <-c.wake:
			c.mu.Lock()
			if !c.sending {
				c.pump(noHold)
			}
			c.mu.Unlock()
		case <-ping.C:
			c.TrySend(wire.Header{Type: wire.TypePing, ID: uint64(c.now())}, nil) //nolint:gosec // not negative
		case <-c.closed:
			c.goodbye()
			c.leave()
			c.running.Wait()
			return
		}
	}
}

// pump gives the lane in use what waits below position to, in bursts; each has
// the whole timeout, so that a slow road is not taken for a dead one. c.mu is
// held, and given back while it writes; nobody else may be sending.
func (c *Conn) pump(to uint64) {
	c.sending, c.whole = true, false
	var err error
	for err == nil && c.reason == nil && c.lane != nil && c.out.sent < min(to, c.out.end) {
		upto := min(to, c.out.end)
		if upto-c.out.sent > burst+chunk { // a rest is not worth a call of its own
			upto = c.out.sent + burst
		}
		err = c.pumpBurst(c.lane, upto)
	}
	c.sending, c.whole = false, err == nil && c.out.sent >= min(to, c.out.end)
	if c.lane != nil && c.out.sent < c.out.end {
		c.wakeWriter()
	}
	c.change.Broadcast()
}

// pumpBurst writes up to position to and returns why the lane was lost.
func (c *Conn) pumpBurst(l *lane, to uint64) error {
	c.slices = c.out.slices(c.slices[:0], c.out.sent, to)
	c.out.held, c.out.sent = c.out.sent, to
	_ = l.raw.SetWriteDeadline(time.Now().Add(c.timeout))
	c.mu.Unlock()
	err := l.write(c.slices)
	c.mu.Lock()
	clear(c.slices)
	c.out.held = noHold
	c.out.reuse()
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded) && c.lane == l && c.reason == nil:
		c.end(fmt.Errorf("%w: nothing could be sent for %v on link %s", ErrStalled, c.timeout, l.name))
	default:
		c.lose(l, named(l, err))
	}
	return err
}

// goodbye tells the peer why, on every lane that stands between two messages,
// and closes them. What it costs is bounded by Close's deadline.
func (c *Conn) goodbye() {
	c.mu.Lock()
	for c.sending {
		c.change.Wait()
	}
	reason, inUse, lanes := c.reason, c.lane, c.standby
	if c.lane != nil && !c.whole {
		_ = c.lane.raw.Close()
		inUse = nil
	}
	c.lane, c.standby = nil, nil
	c.out.drop()
	c.mu.Unlock()
	h, text := wire.Header{Type: wire.TypeError}, cut(reason.Error())
	if inUse != nil {
		inUse.last(h, text)
	}
	for _, l := range lanes {
		l.last(h, text)
	}
}
