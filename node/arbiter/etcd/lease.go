package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"gemel/node/arbiter"
)

// Renew asks to honour the lease of req.Epoch's owner for a term from now.
func (v *Voter) Renew(ctx context.Context, req arbiter.RenewRequest) (arbiter.RenewReply, error) {
	return through(ctx, v, func(ctx context.Context, p *path) (arbiter.RenewReply, error) { return p.renewed(ctx, req) })
}

func (p *path) renewed(ctx context.Context, req arbiter.RenewRequest) (arbiter.RenewReply, error) {
	for range tries {
		reply, done, err := p.renew(ctx, req)
		if err != nil {
			return arbiter.RenewReply{}, fmt.Errorf("renew the lease of volume %s in etcd: %w", req.Volume, err)
		}
		if done {
			return reply, nil
		}
	}
	return arbiter.RenewReply{}, fmt.Errorf("renew the lease of volume %s in etcd: %w", req.Volume, ErrBusy)
}

// renew is one try; done is false when something moved meanwhile.
func (p *path) renew(ctx context.Context, req arbiter.RenewRequest) (reply arbiter.RenewReply, done bool, err error) {
	id, term, err := p.alive(ctx, req)
	if err != nil {
		return reply, false, err
	}
	h, err := p.read(ctx, req.Volume)
	if err != nil {
		return reply, false, err
	}
	if other := h.register.Lease.Epoch; other != 0 && other.Owner() != req.Epoch.Owner() {
		// The promise was given after that lease had ended, so it is about to vanish.
		return reply, false, nil
	}
	if reply = h.register.Renew(0, req.Epoch, req.Term); !reply.OK {
		return reply, true, nil
	}
	if h.leaseID == id && h.register.Lease.Epoch == req.Epoch && h.lease != 0 {
		// The key lives on already, unless who kept it alive was the leader no more.
		return reply, h.term == term, nil
	}
	value := strconv.FormatUint(uint64(req.Epoch), 10)
	got, err := p.store.Txn(ctx).If(p.unmoved(req.Volume, h)...).
		Then(clientv3.OpPut(p.leaseKey(req.Volume), value, clientv3.WithLease(id))).Commit()
	if err != nil {
		return reply, false, err
	}
	return reply, got.Succeeded && h.term == term, nil
}

// alive returns an etcd lease that lives for at least the term from now, if etcd's leader is still that of the term
// returned with it.
func (p *path) alive(ctx context.Context, req arbiter.RenewRequest) (id clientv3.LeaseID, term uint64, err error) {
	want := seconds(req.Term)
	p.mu.Lock()
	own, known := p.leases[req.Volume]
	p.mu.Unlock()
	if known && own.seconds >= want {
		kept, err := p.store.KeepAliveOnce(ctx, own.id)
		if err == nil {
			return own.id, kept.GetRaftTerm(), nil
		}
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return 0, 0, err
		}
	}
	granted, err := p.store.Grant(ctx, want)
	if err != nil {
		return 0, 0, err
	}
	p.mu.Lock()
	p.leases[req.Volume] = lease{granted.ID, min(granted.TTL, want)}
	p.mu.Unlock()
	return granted.ID, granted.GetRaftTerm(), nil
}

// seconds rounds a term up to what etcd can grant: its leases are whole seconds.
func seconds(term time.Duration) int64 {
	return max(int64((term+time.Second-1)/time.Second), minTTL)
}

// Release gives the lease back: its owner has let everything go.
func (v *Voter) Release(ctx context.Context, req arbiter.ReleaseRequest) error {
	_, err := through(ctx, v, func(ctx context.Context, p *path) (struct{}, error) { return struct{}{}, p.release(ctx, req) })
	return err
}

func (p *path) release(ctx context.Context, req arbiter.ReleaseRequest) error {
	for range tries {
		h, err := p.read(ctx, req.Volume)
		if err != nil {
			return fmt.Errorf("release the lease of volume %s in etcd: %w", req.Volume, err)
		}
		before := h.register.Lease
		if h.register.Release(req.Epoch); h.register.Lease == before {
			return nil
		}
		got, err := p.store.Txn(ctx).If(p.unmoved(req.Volume, h)...).Then(clientv3.OpDelete(p.leaseKey(req.Volume))).Commit()
		if err != nil {
			return fmt.Errorf("release the lease of volume %s in etcd: %w", req.Volume, err)
		}
		if got.Succeeded {
			return nil
		}
	}
	return fmt.Errorf("release the lease of volume %s in etcd: %w", req.Volume, ErrBusy)
}
