package event

import (
	"context"
	"slices"
	"sync"
	"time"
)

// History keeps events in memory and on disk, and tells listeners. It is safe
// for use by several goroutines.
type History struct {
	mu   sync.Mutex
	ring *Ring
	pen  *pen          // nil: memory only
	news chan struct{} // closed and renewed with every event
	subs map[*subscriber]struct{}
}

type subscriber struct{ ch chan Event }

// NewHistory keeps the newest n events in memory and, unless file is nil, all
// of them in file, which it owns from now on. It begins with what the file
// holds already.
func NewHistory(n int, file *File) (*History, error) {
	h := &History{ring: NewRing(n), news: make(chan struct{}), subs: map[*subscriber]struct{}{}}
	if file == nil {
		return h, nil
	}
	old, err := ReadFile(file.path, n)
	if err != nil {
		return nil, err
	}
	for _, e := range old {
		h.ring.Add(e)
	}
	h.pen = newPen(file.path, file)
	return h, nil
}

// Add keeps e and tells every listener. It never waits for the disk: one that is full
// or does not answer loses the event on disk only, and Problem says so.
func (h *History) Add(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring.Add(e)
	if h.pen != nil {
		h.pen.write(e)
	}
	close(h.news)
	h.news = make(chan struct{})
	for s := range h.subs {
		select {
		case s.ch <- e:
		default: // a listener that does not listen must not hold up the rest
		}
	}
}

// Problem returns why the newest events are not on disk, or nil.
func (h *History) Problem() error {
	if pen := h.writer(); pen != nil {
		return pen.problem()
	}
	return nil
}

// Lost is how many events could not be written to disk since the start.
func (h *History) Lost() int {
	if pen := h.writer(); pen != nil {
		return pen.missing()
	}
	return 0
}

func (h *History) writer() *pen {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pen
}

// From returns the events from a time on, oldest first: those on disk, which reach
// further back than memory, and without a file those in memory.
func (h *History) From(t time.Time) ([]Event, error) {
	if pen := h.writer(); pen != nil {
		pen.flush(flushWait)
	}
	h.mu.Lock()
	pen, kept := h.pen, h.ring.Since(0)
	h.mu.Unlock()
	if pen != nil && pen.complete() {
		return ReadSince(pen.path, t)
	}
	kept = slices.DeleteFunc(kept, func(e Event) bool { return e.Time.Before(t) })
	if pen == nil || len(kept) == 0 {
		return kept, nil
	}
	older, err := ReadSince(pen.path, t)
	older = slices.DeleteFunc(older, func(e Event) bool { return !e.Time.Before(kept[0].Time) })
	return append(older, kept...), err
}

// Since returns the events numbered from and above, and the number to ask for
// next time. See Ring.Since.
func (h *History) Since(from uint64) (events []Event, next uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ring.Since(from), h.ring.Next()
}

// Wait is Since, but waits for an event while there is none. It returns what
// there is when ctx ends.
func (h *History) Wait(ctx context.Context, from uint64) (events []Event, next uint64) {
	for {
		h.mu.Lock()
		events, next, news := h.ring.Since(from), h.ring.Next(), h.news
		h.mu.Unlock()
		if len(events) > 0 {
			return events, next
		}
		select {
		case <-news:
		case <-ctx.Done():
			return events, next
		}
	}
}

// Last returns the newest event, or nil.
func (h *History) Last() *Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ring.Next() == 1 {
		return nil
	}
	e := h.ring.Since(h.ring.Next() - 1)[0]
	return &e
}

// Subscribe returns a channel that gets every event from now on. A listener
// more than depth events behind loses the newer ones. cancel ends it and closes
// the channel; it may be called more than once.
func (h *History) Subscribe(depth int) (events <-chan Event, cancel func()) {
	s := &subscriber{ch: make(chan Event, max(depth, 1))}
	h.mu.Lock()
	h.subs[s] = struct{}{}
	h.mu.Unlock()
	return s.ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[s]; ok {
			delete(h.subs, s)
			close(s.ch)
		}
	}
}

// Close writes what waits and closes the file, unless the disk does not take it in
// time; events added later are kept in memory only.
func (h *History) Close() error {
	h.mu.Lock()
	p := h.pen
	h.pen = nil
	h.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.close(closeWait)
}
