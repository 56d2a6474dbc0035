package volume

import "sync"

// crewIdle is how many of a crew's goroutines stay when there is nothing to do.
const crewIdle = 8

// crew runs functions in goroutines that stay for the next one: what is done for
// a write goes deep, into TLS, and a new goroutine would grow its stack on the
// way each time. At most limit run at once, the others wait in order.
type crew struct {
	limit   int
	running *sync.WaitGroup // of the owner; counts the goroutines

	mu      sync.Mutex
	work    sync.Cond
	queue   []func()
	next    int // of the queue
	hands   int // goroutines
	idle    int // of them, those that nobody has called yet
	undone  int // functions waiting or running
	leaving bool
}

func newCrew(limit int, running *sync.WaitGroup) *crew {
	c := &crew{limit: limit, running: running}
	c.work.L = &c.mu
	return c
}

// do runs f soon; it does not block.
func (c *crew) do(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, f)
	c.undone++
	switch {
	case c.idle > 0:
		c.idle--
		c.work.Signal()
	case c.hands < c.limit:
		c.hands++
		c.running.Go(c.toil)
	}
}

// busy reports whether anything waits or runs.
func (c *crew) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.undone > 0
}

// leave lets the goroutines end when all is done.
func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving, c.idle = true, 0
	c.work.Broadcast()
}

func (c *crew) toil() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		f := c.take()
		if f == nil {
			c.hands--
			return
		}
		c.mu.Unlock()
		f()
		c.mu.Lock()
		c.undone--
	}
}

// take waits for a function; nil means to go home. c.mu is held.
func (c *crew) take() func() {
	for c.next == len(c.queue) {
		if c.leaving || c.idle >= crewIdle {
			return nil
		}
		c.idle++
		c.work.Wait()
	}
	f := c.queue[c.next]
	c.queue[c.next] = nil
	if c.next++; c.next == len(c.queue) {
		c.queue, c.next = c.queue[:0], 0
	}
	return f
}
