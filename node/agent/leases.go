package agent

import (
	"context"
	"errors"
	"sync"

	"gemel/node/replicator/control"
)

// leaseTries is how often the replica is told of one lease before it is given up;
// the next renewal tells it a newer one.
const leaseTries = 3

// leases tells the replicator of the leases of all volumes, many in one request.
// Of each volume only the newest is told.
type leases struct {
	tell func(ctx context.Context, q []control.LeaseRequest) ([]control.LeaseReply, error)
	lost func(volume string, err error) // told once per lease that was given up

	mu      sync.Mutex
	waiting map[string]told
	running bool
}

// told is a lease and how often it may still be told.
type told struct {
	control.LeaseRequest
	left int
}

// set passes a lease on; it does not wait.
func (l *leases) set(ctx context.Context, q control.LeaseRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = map[string]told{}
	}
	l.waiting[q.Volume] = told{q, leaseTries}
	if !l.running {
		l.running = true
		go l.run(ctx)
	}
}

// run tells what waits, until nothing does or ctx ends.
func (l *leases) run(ctx context.Context) {
	for {
		batch := l.take()
		if batch == nil {
			return
		}
		if l.deliver(ctx, batch) {
			pause(ctx, tellAgain)
		}
	}
}

// leasesMax bounds the leases of one request, which must stay below 64 KiB.
const leasesMax = 256

func (l *leases) take() (batch []told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for volume, t := range l.waiting {
		if len(batch) == leasesMax {
			break
		}
		batch = append(batch, t)
		delete(l.waiting, volume)
	}
	l.running = batch != nil
	return batch
}

// deliver tells some leases; it reports whether any has to be told again.
func (l *leases) deliver(ctx context.Context, batch []told) (again bool) {
	q := make([]control.LeaseRequest, len(batch))
	for i := range batch {
		q[i] = batch[i].LeaseRequest
	}
	once, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	replies, err := l.tell(once, q)
	if ctx.Err() != nil {
		return false
	}
	for i := range batch {
		why := err
		if err == nil && replies[i].Error != "" {
			why = errors.New(replies[i].Error)
		}
		if why != nil && l.retry(batch[i], why) {
			again = true
		}
	}
	return again
}

// retry keeps a lease that was not taken for another try, unless a newer one
// waits or it was tried often enough.
func (l *leases) retry(t told, why error) bool {
	t.left--
	if t.left == 0 {
		l.lost(t.Volume, why)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, newer := l.waiting[t.Volume]; newer {
		return false
	}
	l.waiting[t.Volume] = t
	return true
}
