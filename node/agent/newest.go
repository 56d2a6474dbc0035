package agent

import (
	"context"
	"sync"
	"time"
)

const (
	tellWait  = 500 * time.Millisecond // for one attempt to tell the replica
	tellAgain = 50 * time.Millisecond
)

// newest gives values to the replica one after the other, in order, and skips
// those that a newer one has overtaken. A failed one is told again until it
// succeeds or its time is over.
type newest[T any] struct {
	tell  func(ctx context.Context, v T) error
	lost  func(err error) // told once per value that was given up
	tries int

	mu    sync.Mutex
	value *T
	ready chan struct{}
}

func newNewest[T any](tries int, tell func(context.Context, T) error, lost func(error)) *newest[T] {
	return &newest[T]{tell: tell, lost: lost, tries: tries, ready: make(chan struct{}, 1)}
}

func (n *newest[T]) set(v T) {
	n.mu.Lock()
	n.value = &v
	n.mu.Unlock()
	select {
	case n.ready <- struct{}{}:
	default:
	}
}

func (n *newest[T]) take() *T {
	n.mu.Lock()
	defer n.mu.Unlock()
	v := n.value
	n.value = nil
	return v
}

func (n *newest[T]) overtaken() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.value != nil
}

func (n *newest[T]) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.ready:
			if v := n.take(); v != nil {
				n.deliver(ctx, *v)
			}
		}
	}
}

func (n *newest[T]) deliver(ctx context.Context, v T) {
	var err error
	for range n.tries {
		once, cancel := context.WithTimeout(ctx, tellWait)
		err = n.tell(once, v)
		cancel()
		if err == nil || ctx.Err() != nil || n.overtaken() {
			return
		}
		pause(ctx, tellAgain)
	}
	n.lost(err)
}
