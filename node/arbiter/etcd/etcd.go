// Package etcd is a third voter that lives in an etcd cluster, for sites that run one: no witness of our own then. It
// is arbiter.Register over a store that many can reach, so nothing may happen between the reading of a register and the
// writing of it: every vote is one transaction that fails if the register moved meanwhile, and is tried again.
//
// Keys of a volume, under a prefix such as "/gemel/CLUSTER/":
//
//	VOLUME/register   the durable Record, JSON; never expires
//	VOLUME/lease      the epoch whose owner holds the lease; bound to an etcd lease, gone when that ends
//
// A lease is renewed in two steps, and only the second one counts: etcd is asked to let the key live for another term,
// and then a transaction finds the key still there and the promise unmoved. A Prepare of the other node is a transaction
// that demands the key's absence. So no promise is given before a granted lease has ended, whatever is delayed between
// us and etcd. The first step is no transaction: a leader of etcd carries it out by itself, also one that was replaced and
// has not heard of it. So it counts only if the transaction saw the same term of etcd's leader. etcd's own clients count a lease from the reply's arrival, which is later than the server does; nothing
// here uses that (the holder counts from before the request, as with every voter). A change of etcd's leader makes leases
// longer, never shorter.
//
// The package does not keep etcd healthy, and an etcd that was put back from a backup has forgotten votes, like a
// witness whose disk was: see docs/operating/arbiters.md.
package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gemel/node/arbiter"
)

// minTTL is the shortest lease etcd grants, in seconds: half as much again as its election time, 2 at its defaults.
const minTTL = 2

// ErrBusy: the register moved at every try. Somebody else votes at the same time; asking again is right.
var ErrBusy = errors.New("the register in etcd changed at every try")

// tries bounds the repetitions of one vote. Two nodes at most write one register.
const tries = 8

// store is what a Voter needs of etcd's client.
type store interface {
	clientv3.KV
	clientv3.Lease
}

// Voter votes on the volumes of one cluster. It is safe for concurrent use.
type Voter struct {
	members []*member
	newest  atomic.Int32 // the member that answered last
	prefix  string
	stop    context.CancelFunc
	logins  sync.WaitGroup // see member.login

	mu     sync.Mutex
	leases map[string]lease // by volume: behind a key that this node wrote
}

// lease is an etcd lease of ours.
type lease struct {
	id      clientv3.LeaseID
	seconds int64 // for which it lives on from each renewal
}

// held is what etcd keeps of one volume, as of one moment.
type held struct {
	register arbiter.Register // its clock starts at zero at that moment
	revision int64            // of the register's key; zero: there is none
	lease    int64            // revision of the lease's key; zero: there is none
	leaseID  clientv3.LeaseID
	term     uint64 // of etcd's leader
}

func (v *Voter) registerKey(volume string) string { return v.prefix + volume + "/register" }
func (v *Voter) leaseKey(volume string) string    { return v.prefix + volume + "/lease" }

// Ping asks etcd for anything that takes a majority of it.
func (v *Voter) Ping(ctx context.Context) error {
	_, err := through(ctx, v, func(ctx context.Context, p *path) (*clientv3.GetResponse, error) {
		return p.store.Get(ctx, v.prefix+"ping")
	})
	if err != nil {
		return fmt.Errorf("ask etcd: %w", err)
	}
	return nil
}

// Prepare asks for the promise to refuse lower epochs.
func (v *Voter) Prepare(ctx context.Context, req arbiter.PrepareRequest) (arbiter.PrepareReply, error) {
	return through(ctx, v, func(ctx context.Context, p *path) (reply arbiter.PrepareReply, err error) {
		h, err := p.vote(ctx, "prepare", req.Volume, func(h *held) bool {
			var persist bool
			reply, persist = h.register.Prepare(0, req.Epoch, req.Known)
			return persist
		})
		if err == nil && reply.Wait > 0 {
			reply.Wait = p.left(ctx, h.leaseID)
		}
		return reply, err
	})
}

// Accept asks to record an in-sync set.
func (v *Voter) Accept(ctx context.Context, req arbiter.AcceptRequest) (arbiter.AcceptReply, error) {
	return through(ctx, v, func(ctx context.Context, p *path) (reply arbiter.AcceptReply, err error) {
		_, err = p.vote(ctx, "accept", req.Volume, func(h *held) bool {
			var persist bool
			reply, persist = h.register.Accept(0, req.Accepted)
			return persist
		})
		return reply, err
	})
}

// vote lets ask change the register and writes it back, unless etcd's moved meanwhile: then it begins again.
func (p *path) vote(ctx context.Context, what, volume string, ask func(*held) bool) (h held, err error) {
	for range tries {
		h, err = p.read(ctx, volume)
		if err != nil {
			return h, fmt.Errorf("%s volume %s in etcd: %w", what, volume, err)
		}
		if !ask(&h) {
			return h, nil
		}
		raw, err := json.Marshal(h.register.Record)
		if err != nil {
			return h, fmt.Errorf("%s volume %s in etcd: %w", what, volume, err)
		}
		done, err := p.store.Txn(ctx).If(p.unmoved(volume, h)...).
			Then(clientv3.OpPut(p.registerKey(volume), string(raw))).Commit()
		if err != nil {
			return h, fmt.Errorf("%s volume %s in etcd: %w", what, volume, err)
		}
		if done.Succeeded {
			return h, nil
		}
	}
	return h, fmt.Errorf("%s volume %s in etcd: %w", what, volume, ErrBusy)
}

// unmoved is the condition that register and lease are those of h. A lease that ended meanwhile only makes a vote
// easier, but then the vote is simply asked again.
func (v *Voter) unmoved(volume string, h held) []clientv3.Cmp {
	return []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(v.registerKey(volume)), "=", h.revision),
		clientv3.Compare(clientv3.ModRevision(v.leaseKey(volume)), "=", h.lease),
	}
}

// read takes register and lease out of etcd, as of one moment.
func (p *path) read(ctx context.Context, volume string) (held, error) {
	h := held{register: arbiter.Register{Record: arbiter.Record{Fresh: true}}}
	got, err := p.store.Txn(ctx).Then(clientv3.OpGet(p.registerKey(volume)), clientv3.OpGet(p.leaseKey(volume))).Commit()
	if err != nil {
		return h, fmt.Errorf("read: %w", err)
	}
	h.term = got.Header.GetRaftTerm()
	for _, kv := range got.Responses[0].GetResponseRange().Kvs {
		h.revision = kv.ModRevision
		if err := json.Unmarshal(kv.Value, &h.register.Record); err != nil {
			return h, fmt.Errorf("the key %s holds no register: %w; who wrote it?", kv.Key, err)
		}
	}
	for _, kv := range got.Responses[1].GetResponseRange().Kvs {
		epoch, err := strconv.ParseUint(string(kv.Value), 10, 64)
		if err != nil {
			return h, fmt.Errorf("the key %s holds no epoch: %w; who wrote it?", kv.Key, err)
		}
		h.lease, h.leaseID = kv.ModRevision, clientv3.LeaseID(kv.Lease)
		h.register.Lease = arbiter.Grant{Epoch: arbiter.Epoch(epoch), Until: soon}
	}
	return h, nil
}

// Record returns a volume's register without a vote; Fresh when there is none.
func (v *Voter) Record(ctx context.Context, volume string) (arbiter.Record, error) {
	h, err := through(ctx, v, func(ctx context.Context, p *path) (held, error) { return p.read(ctx, volume) })
	if err != nil {
		return arbiter.Record{}, fmt.Errorf("the register of volume %s in etcd: %w", volume, err)
	}
	return h.register.Record, nil
}

// soon is how long a lease runs that is there, as far as is known without a question.
const soon = 100 * time.Millisecond

// left is how long an etcd lease still runs; only a hint for when to ask again, so what is not known is short.
func (p *path) left(ctx context.Context, id clientv3.LeaseID) time.Duration {
	ttl, err := p.store.TimeToLive(ctx, id)
	if err != nil || ttl.TTL <= 0 {
		return soon
	}
	return time.Duration(ttl.TTL) * time.Second
}
