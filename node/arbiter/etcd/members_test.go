package etcd

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"gemel/node/arbiter"
)

// hangLimit bounds a vote while one server of three hangs. Connections to it stay open, and it would take etcd's own
// client longer than this to leave it out.
const hangLimit = 10 * time.Second

// TestOneServerOfThreeHangs: the other two are a majority, and votes go on through them.
func TestOneServerOfThreeHangs(t *testing.T) {
	for name, leader := range map[string]bool{"leader": true, "follower": false} {
		t.Run(name, func(t *testing.T) {
			all := servers(t, 3)
			v := open(t, "http://"+all[0].client, "http://"+all[1].client, "http://"+all[2].client)
			prepare(t, v, "data", first)
			accept(t, v, "data", arbiter.Accepted{Epoch: first, Version: 1, Set: arbiter.Only(0)})
			for range 3 {
				renew(t, v, "data", first)
			}
			for i, m := range all {
				if leads(t, m) == leader {
					v.newest.Store(int32(i)) // so that it is asked first
					if err := m.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
						t.Fatal(err)
					}
					break
				}
			}
			voteOn(t, v)
		})
	}
}

// voteOn casts every kind of vote, as an agent does: what is not answered in time is asked again.
func voteOn(t *testing.T, v *Voter) {
	t.Helper()
	end := time.Now().Add(hangLimit)
	until := func(what string, ask func(ctx context.Context) (ok bool, err error)) {
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			ok, err := ask(ctx)
			cancel()
			if err == nil && ok {
				return
			}
			if err == nil || time.Now().After(end) {
				t.Fatalf("%s: granted %v, %v", what, ok, err)
			}
		}
	}
	set := arbiter.Accepted{Epoch: third, Version: 1, Set: arbiter.Only(0)}
	until("renew", func(ctx context.Context) (bool, error) {
		r, err := v.Renew(ctx, arbiter.RenewRequest{Volume: "data", Epoch: first, Term: 2 * time.Second})
		return r.OK, err
	})
	until("prepare", func(ctx context.Context) (bool, error) {
		r, err := v.Prepare(ctx, arbiter.PrepareRequest{Volume: "data", Epoch: third})
		return r.OK, err
	})
	until("accept", func(ctx context.Context) (bool, error) {
		r, err := v.Accept(ctx, arbiter.AcceptRequest{Volume: "data", Accepted: set})
		return r.OK, err
	})
	until("release", func(ctx context.Context) (bool, error) {
		return true, v.Release(ctx, arbiter.ReleaseRequest{Volume: "data", Epoch: third})
	})
	until("ping", func(ctx context.Context) (bool, error) { return true, v.Ping(ctx) })
}

// deposed keeps leases alive as a leader does that was replaced and has not heard of it.
type deposed struct {
	store
	lies  atomic.Int32 // so many times
	asked atomic.Int32
}

func (d *deposed) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	d.asked.Add(1)
	if d.lies.Add(-1) < 0 {
		return d.store.KeepAliveOnce(ctx, id)
	}
	return &clientv3.LeaseKeepAliveResponse{ResponseHeader: &pb.ResponseHeader{RaftTerm: 1}, ID: id, TTL: 2}, nil
}

// TestADeposedLeaderKeepsNoLeaseAlive: what it says is no renewal.
func TestADeposedLeaderKeepsNoLeaseAlive(t *testing.T) {
	v := open(t, server(t))
	prepare(t, v, "data", first)
	accept(t, v, "data", arbiter.Accepted{Epoch: first, Version: 1, Set: arbiter.Only(0)})
	renew(t, v, "data", first)
	d := &deposed{store: v.members[0].store}
	v.members[0].store = d
	d.lies.Store(1)
	if r := renew(t, v, "data", first); !r.OK || d.asked.Load() != 2 {
		t.Errorf("%+v after %d questions; the first answer does not count", r, d.asked.Load())
	}
	d.lies.Store(1000)
	_, err := v.Renew(t.Context(), arbiter.RenewRequest{Volume: "data", Epoch: first, Term: 2 * time.Second})
	if !errors.Is(err, ErrBusy) {
		t.Errorf("a lease from a deposed leader: %v", err)
	}
}

// TestAPasswordDoesNotWaitForEtcd: a node starts while etcd is away, and finds it when it comes.
func TestAPasswordDoesNotWaitForEtcd(t *testing.T) {
	well := server(t)
	for name, c := range map[string]struct {
		at string
		up bool
	}{"away": {"http://" + address(t), false}, "there": {well, true}} {
		v, err := Open(clientv3.Config{Endpoints: []string{c.at}, Username: "u", Password: "p", Logger: zap.NewNop()}, "lab")
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); ; {
			err = v.Ping(t.Context())
			if err == nil || !c.up || time.Now().After(end) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if c.up != (err == nil) || !c.up && !errors.Is(err, errNotYet) {
			t.Errorf("%s: %v", name, err)
		}
		if err := v.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
