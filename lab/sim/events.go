package sim

import (
	"math/rand/v2"
	"time"
)

// queue is a heap of events by time; events of the same time keep their order.
type queue struct {
	heap []event
	next uint64
}

type event struct {
	at  time.Duration
	seq uint64
	run func()
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

func (q *queue) push(at time.Duration, run func()) {
	q.heap = append(q.heap, event{at, q.next, run})
	q.next++
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.heap[i].before(&q.heap[up]) {
			return
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

func (q *queue) pop() event {
	first := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		low := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && q.heap[child].before(&q.heap[low]) {
				low = child
			}
		}
		if low == i {
			return first
		}
		q.heap[i], q.heap[low] = q.heap[low], q.heap[i]
		i = low
	}
}

// after runs f once d has passed.
func (w *world) after(d time.Duration, f func()) { w.queue.push(w.now+d, f) }

// step lets the next event happen.
func (w *world) step() {
	e := w.queue.pop()
	w.now = max(w.now, e.at)
	w.events++
	e.run()
}

// chances are independent streams of one seed, so that leaving out a fault
// changes as little as possible of everything else.
type chances struct {
	net, load, misc, people, growth, errors dice
	disk                                    [2]dice
}

// dice is a stream of chance.
type dice struct{ *rand.Rand }

func newChances(seed uint64) chances {
	stream := func(n uint64) dice { return dice{rand.New(rand.NewPCG(seed, n))} }
	return chances{net: stream(1), load: stream(2), misc: stream(3), people: stream(6), growth: stream(7), errors: stream(8), disk: [2]dice{stream(4), stream(5)}}
}

// one is true once in n times.
func (d dice) one(n int) bool { return d.IntN(n) == 0 }

// span returns a time from low to high, mostly nearer to low.
func (d dice) span(low, high time.Duration) time.Duration {
	f := d.Float64()
	return low + time.Duration(f*f*float64(high-low))
}
