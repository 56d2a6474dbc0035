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
	for range tries {
		reply, done, err := v.renew(ctx, req)
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
func (v *Voter) renew(ctx context.Context, req arbiter.RenewRequest) (reply arbiter.RenewReply, done bool, err error) {
	id, err := v.alive(ctx, req)
	if err != nil {
		return reply, false, err
	}
	h, err := v.read(ctx, req.Volume)
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
	value := strconv.FormatUint(uint64(req.Epoch), 10)
	txn := v.store.Txn(ctx).If(v.unmoved(req.Volume, h)...)
	if h.leaseID == id && h.register.Lease.Epoch == req.Epoch && h.lease != 0 {
		// The key lives on already; that it is there after it was kept alive is what counts.
		txn = txn.Then(clientv3.OpGet(v.leaseKey(req.Volume)))
	} else {
		txn = txn.Then(clientv3.OpPut(v.leaseKey(req.Volume), value, clientv3.WithLease(id)))
	}
	got, err := txn.Commit()
	if err != nil {
		return reply, false, err
	}
	return reply, got.Succeeded, nil
}

// alive returns an etcd lease that lives for at least the term from now.
func (v *Voter) alive(ctx context.Context, req arbiter.RenewRequest) (clientv3.LeaseID, error) {
	want := seconds(req.Term)
	v.mu.Lock()
	own, known := v.leases[req.Volume]
	v.mu.Unlock()
	if known && own.seconds >= want {
		_, err := v.store.KeepAliveOnce(ctx, own.id)
		if err == nil {
			return own.id, nil
		}
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return 0, err
		}
	}
	granted, err := v.store.Grant(ctx, want)
	if err != nil {
		return 0, err
	}
	v.mu.Lock()
	v.leases[req.Volume] = lease{granted.ID, min(granted.TTL, want)}
	v.mu.Unlock()
	return granted.ID, nil
}

// seconds rounds a term up to what etcd can grant: its leases are whole seconds.
func seconds(term time.Duration) int64 {
	return max(int64((term+time.Second-1)/time.Second), minTTL)
}

// Release gives the lease back: its owner has let everything go.
func (v *Voter) Release(ctx context.Context, req arbiter.ReleaseRequest) error {
	for range tries {
		h, err := v.read(ctx, req.Volume)
		if err != nil {
			return fmt.Errorf("release the lease of volume %s in etcd: %w", req.Volume, err)
		}
		before := h.register.Lease
		if h.register.Release(req.Epoch); h.register.Lease == before {
			return nil
		}
		got, err := v.store.Txn(ctx).If(v.unmoved(req.Volume, h)...).Then(clientv3.OpDelete(v.leaseKey(req.Volume))).Commit()
		if err != nil {
			return fmt.Errorf("release the lease of volume %s in etcd: %w", req.Volume, err)
		}
		if got.Succeeded {
			return nil
		}
	}
	return fmt.Errorf("release the lease of volume %s in etcd: %w", req.Volume, ErrBusy)
}
