package nbd

import "gemel/node/block"

// The reads of a connection that the device does by itself. The receiver
// collects those that have come and hands them over together.

// fits reports whether j is a read that may be begun with others.
func (c *conn) fits(j *job) bool {
	return c.starter != nil && j.kind == cmdRead && j.length <= inlineMost
}

// collect takes a read into the batch, unless it is alone or not to be served,
// and begins the batch when nothing more has come.
func (c *conn) collect(j *job, alone bool) bool {
	if !c.fits(j) || alone && len(c.batch) == 0 || j.check(c.s.size.Load(), c.s.export.offer) != eOK {
		c.begin()
		return false
	}
	j.buf = c.s.memory.get(int(j.length))
	c.batch = append(c.batch, block.Read{P: j.buf, Off: j.off, Done: j})
	if len(c.batch) == batchMost || !c.moreCame() {
		c.begin()
	}
	return true
}

// moreCame reports whether the next request is here, and room for it.
func (c *conn) moreCame() bool {
	if len(c.free) == 0 {
		return false
	}
	return c.in.Buffered() >= requestSize || c.raw != nil && c.waiting() && c.in.Buffered()+c.wait >= requestSize
}

// begin hands the batch to the device, and to workers what it does not take.
func (c *conn) begin() {
	if len(c.batch) == 0 {
		return
	}
	c.workers.Add(len(c.batch))
	n := c.starter.StartReads(c.batch)
	for _, r := range c.batch[n:] {
		j := r.Done.(*job)
		c.s.memory.put(j.buf)
		j.buf = nil
		c.hand(j)
		c.workers.Done()
	}
	clear(c.batch)
	c.batch = c.batch[:0]
}

// ReadDone queues the reply of a read that was begun; see block.ReadDone.
func (j *job) ReadDone(err error) {
	c := j.c
	if err != nil {
		j.err = eIO
		c.s.remember(err)
	}
	c.later(j)
	c.workers.Done()
}
