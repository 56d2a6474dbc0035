package link

import (
	"gemel/node/replicator/wire"
)

const (
	// record is the payload of a full TLS record.
	record = 16 << 10
	// copyBelow is the largest payload that is copied beside its header: one
	// record less costs more than copying a few pages.
	copyBelow = 4 * record
)

// Outgoing is a message for SendNow.
type Outgoing struct {
	wire.Header
	Payload []byte
}

// SendNow sends messages in order and sets the same fields as Send, in the
// batch. While nobody else is sending, the caller writes to the socket itself:
// no other goroutine has to be woken, and the payloads go to TLS without a copy.
// Otherwise it is Send for each. Either way the payloads are the caller's again
// when it returns. It may block as long as the peer takes nothing, up to the
// timeout; so of the two goroutines that receive on the two sides, at most one
// may call it.
func (c *Conn) SendNow(batch []Outgoing) error {
	for i := range batch {
		h := &batch[i].Header
		h.Length, h.PayloadCRC = uint32(len(batch[i].Payload)), wire.Checksum(batch[i].Payload)
	}
	if !c.claim(batch) {
		return c.sendEach(batch)
	}
	if err := c.writeNow(batch); err != nil {
		c.Close(err)
	}
	c.giveBack()
	return c.Err()
}

func (c *Conn) sendEach(batch []Outgoing) error {
	for i := range batch {
		if err := c.Send(batch[i].Header, batch[i].Payload); err != nil {
			return err
		}
	}
	return nil
}

// claim makes the caller the one who sends and numbers its messages, if nobody
// else sends or is about to. What is queued from now on comes behind them.
func (c *Conn) claim(batch []Outgoing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil || c.sending || len(c.queue) > 0 {
		return false
	}
	c.sending = true
	for i := range batch {
		batch[i].Seq = c.sendSeq
		c.sendSeq++
		c.writing += wire.HeaderSize + len(batch[i].Payload)
	}
	return true
}

// writeNow writes the claimed messages. Small ones are gathered in scratch; of
// a large payload only what fills the header's record is copied.
func (c *Conn) writeNow(batch []Outgoing) error {
	scratch := c.scratch[:0]
	defer func() { c.scratch = scratch }()
	for i := range batch {
		payload := batch[i].Payload
		scratch = wire.AppendHeader(scratch, &batch[i].Header)
		head := len(payload)
		if head > copyBelow {
			head = record - len(scratch)%record
		}
		scratch = append(scratch, payload[:head]...)
		if payload = payload[head:]; len(payload) == 0 && len(scratch) < burst {
			continue
		}
		if err := c.writeBatch(scratch); err != nil {
			return err
		}
		scratch = scratch[:0]
		if err := c.writeBatch(payload); err != nil {
			return err
		}
	}
	return c.writeBatch(scratch)
}
