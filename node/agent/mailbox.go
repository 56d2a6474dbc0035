package agent

import (
	"sync"

	"gemel/node/failover"
)

// mailbox holds events for one owner. It never blocks and never loses one, so
// that a receiver of heartbeats or a finished step cannot hang on a busy owner.
type mailbox struct {
	mu     sync.Mutex
	events []failover.Event
	ready  chan struct{} // holds one token while events wait
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

// leave adds an event that may wait for the next tick.
func (b *mailbox) leave(ev failover.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, ev)
}

// post adds an event and wakes the owner.
func (b *mailbox) post(ev failover.Event) {
	b.leave(ev)
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take returns the events that wait, oldest first.
func (b *mailbox) take() []failover.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}
