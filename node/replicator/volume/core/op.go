package core

import (
	"time"

	"gemel/node/block"
)

// Op tells what a write makes of its range. Whatever it is, the range has one
// content afterwards, the same on both nodes: all of them are ordered, marked,
// acknowledged and resynced alike.
type Op uint8

// What a write makes of its range.
const (
	OpBytes    Op = iota // what its payload holds
	OpDiscard            // zeroes; the blocks are given back
	OpZero               // zeroes; the blocks may be given back
	OpZeroKeep           // zeroes; the blocks stay allocated
	OpBlank              // zeroes, of a resync: where zeroes are already, nothing is written
)

// WriteFUA is Write, but completes only when the range is stable wherever a
// write has to be done; what was written before it need not be.
func (c *Core) WriteFUA(now time.Duration, r block.Range) (ID, error) {
	return c.write(now, r, OpBytes, true)
}

// Erase takes a discard or a write of zeroes of the application: a write
// without payload.
func (c *Core) Erase(now time.Duration, r block.Range, op Op) (ID, error) {
	return c.write(now, r, op, false)
}

func (c *Core) write(now time.Duration, r block.Range, op Op, fua bool) (ID, error) {
	q, err := c.take(appWrite, r)
	if err != nil {
		return 0, err
	}
	if q.op, q.fua = op, fua; !c.hold(q) {
		c.submit(now, q)
		c.pump(now)
	}
	return q.id, nil
}

// payloadOf is what op moves of r, in bytes.
func (op Op) payloadOf(r block.Range) int64 {
	if op != OpBytes {
		return 0
	}
	return r.Len
}
