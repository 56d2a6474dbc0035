package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gemel/node/failover"
)

// orders are the operator's commands that wait for the machine's answer.
type orders struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan string
}

func (o *orders) open() (uint64, <-chan string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting == nil {
		o.waiting = make(map[uint64]chan string)
	}
	o.last++
	ch := make(chan string, 1)
	o.waiting[o.last] = ch
	return o.last, ch
}

func (o *orders) answer(id uint64, err string) {
	o.mu.Lock()
	ch := o.waiting[id]
	delete(o.waiting, id)
	o.mu.Unlock()
	if ch != nil {
		ch <- err
	}
}

func (o *orders) forget(id uint64) {
	o.mu.Lock()
	delete(o.waiting, id)
	o.mu.Unlock()
}

// order gives a command to the machine and waits for its end.
func (o *owner) order(ctx context.Context, kind failover.OrderKind) error {
	id, answer := o.orders.open()
	defer o.orders.forget(id)
	o.box.post(failover.Order{ID: id, Kind: kind})
	select {
	case msg := <-answer:
		if msg != "" {
			return errors.New(msg)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("order on volume %s: no answer in time, it may still be carried out: %w", o.name, context.Cause(ctx))
	}
}

// primaryHere reports whether this node holds or takes the volume.
func (o *owner) primaryHere() bool {
	view := o.view.Load()
	return view != nil && isPrimary(view.Role)
}

func isPrimary(r failover.Role) bool {
	return r == failover.RoleTakingOver || r == failover.RoleServing || r == failover.RoleLeaving
}

// switchover gives the volume to the peer. On the Secondary the order goes to
// the peer's agent, unless it came from there.
func (o *owner) switchover(ctx context.Context, forwarded bool) error {
	if o.primaryHere() || forwarded {
		return o.order(ctx, failover.OrderSwitchover)
	}
	heard := o.heard.Load()
	if heard == nil || heard.Role != rolePrimary {
		return o.order(ctx, failover.OrderSwitchover) // the machine knows why not
	}
	o.note("order.forwarded", "The order to switch over goes to the peer, which is Primary.", "")
	if err := o.links.switchover(ctx, o.name); err != nil {
		return fmt.Errorf("the Primary was asked to switch volume %s over: %w", o.name, err)
	}
	return nil
}
