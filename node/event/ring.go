package event

// Ring keeps the newest events of one process, numbered from 1. It is not safe
// for use by several goroutines; History guards it.
type Ring struct {
	events []Event
	next   uint64 // number of the event to come
}

// NewRing returns a Ring that keeps n events; n is at least 1.
func NewRing(n int) *Ring { return &Ring{events: make([]Event, max(n, 1)), next: 1} }

// Add keeps e and forgets the oldest when the ring is full.
func (r *Ring) Add(e Event) {
	r.events[r.next%uint64(len(r.events))] = e
	r.next++
}

// Next returns the number that the next event will get.
func (r *Ring) Next() uint64 { return r.next }

// Since returns the events numbered from and above, oldest first, as far as
// they are kept. A from of 0, or beyond Next (it came from an earlier life of
// the process), returns all.
func (r *Ring) Since(from uint64) []Event {
	size := uint64(len(r.events))
	oldest := uint64(1)
	if r.next > size {
		oldest = r.next - size
	}
	if from < oldest || from > r.next {
		from = oldest
	}
	out := make([]Event, 0, r.next-from)
	for n := from; n < r.next; n++ {
		out = append(out, r.events[n%size])
	}
	return out
}
