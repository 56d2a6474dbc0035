package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"gemel/node/arbiter/ballot"
)

const (
	// gatherFor is how long votes gather for the next message while one is on its
	// way. A lone volume's never wait.
	gatherFor = 5 * time.Millisecond
	// carriedMax bounds the messages that are on their way to one voter. One is as
	// long on its way as its slowest vote.
	carriedMax = 16
)

// courier carries the votes of all volumes to one voter, many in one message.
// Votes of one kind have one courier, since they may take equally long.
type courier struct {
	to   ballot.Caster
	wait time.Duration // for one message

	mu      sync.Mutex
	waiting []parcel
	running bool // somebody takes from waiting
	slots   chan struct{}
}

// parcel is one vote on its way.
type parcel struct {
	vote ballot.Vote
	done func(ballot.Reply, error) // called once; an error means that no answer came
}

func newCourier(to ballot.Caster, wait time.Duration) *courier {
	return &courier{to: to, wait: wait, slots: make(chan struct{}, carriedMax)}
}

// post sends a vote; it does not wait. ctx is that of the agent's work: every
// caller has the same.
func (c *courier) post(ctx context.Context, vote ballot.Vote, done func(ballot.Reply, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, parcel{vote, done})
	if !c.running {
		c.running = true
		go c.run(ctx)
	}
}

// run sends what waits, until nothing does.
func (c *courier) run(ctx context.Context) {
	for {
		c.slots <- struct{}{}
		if len(c.slots) > 1 {
			pause(ctx, gatherFor)
		}
		batch := c.take()
		if batch == nil {
			<-c.slots
			return
		}
		go func() {
			defer func() { <-c.slots }()
			c.carry(ctx, batch)
		}()
	}
}

// take returns the votes of the next message; nil: none wait, and run ends.
func (c *courier) take() []parcel {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.waiting), ballot.Max)
	if n == 0 {
		c.running, c.waiting = false, nil
		return nil
	}
	batch := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	return batch
}

// carry takes one message to the voter and each answer to its owner as it comes.
func (c *courier) carry(ctx context.Context, batch []parcel) {
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	d := newDocket(len(batch), func(i int, r ballot.Reply) {
		if r.Failure != nil {
			batch[i].done(ballot.Reply{}, r.Failure)
			return
		}
		batch[i].done(r, nil)
	})
	votes := make([]ballot.Vote, len(batch))
	for i := range batch {
		votes[i] = batch[i].vote
	}
	err := c.to.Votes(ctx, votes, d.answer)
	if err == nil {
		err = errUnanswered
	}
	for _, i := range d.close() {
		batch[i].done(ballot.Reply{}, err)
	}
}

// errUnanswered: a voter ended its answer before the end.
var errUnanswered = errors.New("the voter did not answer")

// docket notes which votes of a message are answered; only the first answer to a
// vote counts, and none after close.
type docket struct {
	mu     sync.Mutex
	open   []bool
	left   int
	passed ballot.Answer // called with mu held; it must not wait
}

func newDocket(n int, pass ballot.Answer) *docket {
	d := &docket{open: make([]bool, n), left: n, passed: pass}
	for i := range d.open {
		d.open[i] = true
	}
	return d
}

// answer passes the first answer to a vote on.
func (d *docket) answer(i int, r ballot.Reply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[i] {
		d.open[i] = false
		d.left--
		d.passed(i, r)
	}
}

// unanswered returns the numbers of the votes without an answer.
func (d *docket) unanswered() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.numbers()
}

// numbers is unanswered; d.mu is held.
func (d *docket) numbers() []int {
	numbers := make([]int, 0, d.left)
	for i, open := range d.open {
		if open {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// close returns what was not answered, and lets no answer through any more.
func (d *docket) close() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	missing := d.numbers()
	clear(d.open)
	d.left = 0
	return missing
}
