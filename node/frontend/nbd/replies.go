package nbd

import (
	"golang.org/x/sys/unix"

	"gemel/node/block"
)

// Replies go out in the goroutine that has them, as long as that may wait for the
// client. What must not wait, a device that tells how a request ended, sends one
// reply if the socket takes it at once, and leaves everything else to the replier.

// startWrite has the device begin a write that it is to end by itself, and reports
// whether it did.
func (c *conn) startWrite(j *job) bool {
	if c.writer == nil || j.kind != cmdWrite || j.length > piece || j.check(c.s.size.Load(), c.s.export.offer) != eOK {
		return false
	}
	c.workers.Add(1)
	if c.writer.StartWrite(j.buf, j.off, j.flags&cmdFlagFUA != 0, j) {
		return true
	}
	c.workers.Done()
	return false
}

// WriteDone is told how a write ended; see block.WriteDone.
func (j *job) WriteDone(err error, busy bool) {
	c := j.c
	if err != nil {
		j.err = eIO
		c.s.remember(err)
	}
	if busy {
		c.later(j)
	} else {
		c.soon(j)
	}
	c.workers.Done()
}

var _ block.WriteDone = (*job)(nil)

// later leaves a reply to the replier.
func (c *conn) later(j *job) {
	putReply(j.head[:], j.err, j.cookie)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = append(c.ready, j)
	c.callReplier()
}

// callReplier has the replier look, unless it is called already or somebody sends,
// who looks as well; c.mu is held.
func (c *conn) callReplier() {
	if !c.sending && !c.called {
		c.called = true
		c.call <- struct{}{} // it has room for the one
	}
}

// soon sends a reply without data, without waiting for the client.
func (c *conn) soon(j *job) {
	c.mu.Lock()
	if c.sending || c.raw == nil || len(c.ready) > 0 || len(c.left) > 0 {
		c.mu.Unlock()
		c.later(j)
		return
	}
	c.sending = true
	c.mu.Unlock()
	putReply(c.single[:], j.err, j.cookie)
	c.release(j) // before the client sends the next request: that one comes alone, too
	c.left = c.single[:]
	if err := c.raw.Write(c.push); err != nil {
		_ = c.nc.Close()
		c.left = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending = false
	if len(c.ready) > 0 || len(c.left) > 0 {
		c.callReplier()
	}
}

// pushLeft offers the socket what is left, once. What is wrong with it the replier
// will hear.
func (c *conn) pushLeft(fd uintptr) bool {
	if n, err := unix.Write(int(fd), c.left); err == nil {
		c.left = c.left[n:]
	}
	return true
}

// finish sends the reply, with others that are ready by then.
func (c *conn) finish(j *job) {
	putReply(j.head[:], j.err, j.cookie)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = append(c.ready, j)
	if !c.sending {
		c.sendReady()
	}
}

// sendReady sends what is ready; c.mu is held, but not while it sends.
func (c *conn) sendReady() {
	c.sending = true
	for len(c.ready) > 0 || len(c.left) > 0 {
		batch := c.ready
		c.ready, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		c.send(batch)
		c.mu.Lock()
		c.spare = batch[:0]
	}
	c.sending = false
}

// send writes the replies of batch and frees their jobs. When it fails, the
// receiver fails as well and ends the connection.
func (c *conn) send(batch []*job) {
	vector := c.vector[:0]
	if len(c.left) > 0 {
		vector, c.left = append(vector, c.left), nil
	}
	for _, j := range batch {
		vector = append(vector, j.head[:])
		if j.kind == cmdRead && j.err == eOK {
			vector = append(vector, j.buf)
		}
	}
	var err error
	if len(vector) == 1 {
		_, err = c.nc.Write(vector[0])
	} else {
		c.rest = vector
		_, err = c.rest.WriteTo(c.nc)
	}
	if err != nil {
		_ = c.nc.Close()
	}
	clear(vector)
	c.vector = vector[:0]
	for _, j := range batch {
		c.release(j)
	}
}

// release makes a job free for the next request.
func (c *conn) release(j *job) {
	if j.buf != nil {
		c.s.memory.put(j.buf)
		j.buf = nil
	}
	c.free <- j
}

// reply sends replies whenever it is called.
func (c *conn) reply() {
	for range c.call {
		c.mu.Lock()
		c.called = false
		if !c.sending {
			c.sendReady()
		}
		c.mu.Unlock()
	}
}
