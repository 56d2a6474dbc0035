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

// post adds an event.
func (b *mailbox) post(ev failover.Event) {
	b.mu.Lock()
	b.events = append(b.events, ev)
	b.mu.Unlock()
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
