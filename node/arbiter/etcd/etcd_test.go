package etcd

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"gemel/node/arbiter"
)

// open returns a voter as one node has it.
func open(t *testing.T, endpoints ...string) *Voter {
	t.Helper()
	v, err := Open(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()}, "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

const (
	first  arbiter.Epoch = 2 // of node 0
	second arbiter.Epoch = 3 // of node 1
	third  arbiter.Epoch = 4 // of node 0
)

func prepare(t *testing.T, v *Voter, volume string, e arbiter.Epoch) arbiter.PrepareReply {
	t.Helper()
	r, err := v.Prepare(t.Context(), arbiter.PrepareRequest{Volume: volume, Epoch: e})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func accept(t *testing.T, v *Voter, volume string, a arbiter.Accepted) arbiter.AcceptReply {
	t.Helper()
	r, err := v.Accept(t.Context(), arbiter.AcceptRequest{Volume: volume, Accepted: a})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func renew(t *testing.T, v *Voter, volume string, e arbiter.Epoch) arbiter.RenewReply {
	t.Helper()
	r, err := v.Renew(t.Context(), arbiter.RenewRequest{Volume: volume, Epoch: e, Term: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAWholeReign(t *testing.T) {
	c := server(t)
	a, b := open(t, c), open(t, c) // as the two nodes have them
	if r := prepare(t, a, "data", first); !r.OK || !r.Record.Fresh {
		t.Fatalf("birth: %+v", r)
	}
	set := arbiter.Accepted{Epoch: first, Version: 1, Set: arbiter.Only(0)}
	if r := accept(t, a, "data", set); !r.OK {
		t.Fatalf("accept: %+v", r)
	}
	if r := renew(t, a, "data", first); !r.OK {
		t.Fatalf("renew: %+v", r)
	}
	both := arbiter.Accepted{Epoch: first, Version: 2, Set: arbiter.Both}
	accept(t, a, "data", both)
	if r := prepare(t, b, "data", second); r.OK || r.Wait <= 0 || r.Refusal != arbiter.RefusedLeaseHeld {
		t.Fatalf("a promise while the other's lease runs: %+v", r)
	}
	if err := a.Release(t.Context(), arbiter.ReleaseRequest{Volume: "data", Epoch: first}); err != nil {
		t.Fatal(err)
	}
	r := prepare(t, b, "data", second)
	if !r.OK || r.Record.Accepted != both {
		t.Fatalf("after the release: %+v", r)
	}
	if r := renew(t, a, "data", first); r.OK || r.Refusal != arbiter.RefusedHigherPromise {
		t.Errorf("an old reign renews: %+v", r)
	}
	if r := accept(t, a, "data", set); r.OK {
		t.Errorf("an old reign records a set: %+v", r)
	}
	if r, err := a.Record(t.Context(), "data"); err != nil || r.Promised != second || r.Accepted != both {
		t.Errorf("the register without a vote: %+v, %v", r, err)
	}
	if r, err := a.Record(t.Context(), "other"); err != nil || !r.Fresh {
		t.Errorf("the register of a volume that nobody asked about: %+v, %v", r, err)
	}
	if err := a.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestALeaseThatIsNotRenewedEnds(t *testing.T) {
	c := server(t)
	a, b := open(t, c), open(t, c)
	prepare(t, a, "data", first)
	accept(t, a, "data", arbiter.Accepted{Epoch: first, Version: 1, Set: arbiter.Only(0)})
	accept(t, a, "data", arbiter.Accepted{Epoch: first, Version: 2, Set: arbiter.Both})
	sent := time.Now()
	renew(t, a, "data", first)
	for deadline := time.Now().Add(time.Minute); ; {
		r := prepare(t, b, "data", second)
		if r.OK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the lease never ends: %+v", r)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if took := time.Since(sent); took < 2*time.Second {
		t.Errorf("the promise came %v after the renewal was sent; the lease was for 2s", took)
	}
}

func TestOwnLeaseDoesNotBarTheOwner(t *testing.T) {
	c := server(t)
	a := open(t, c)
	prepare(t, a, "data", first)
	accept(t, a, "data", arbiter.Accepted{Epoch: first, Version: 1, Set: arbiter.Only(0)})
	renew(t, a, "data", first)
	if r := prepare(t, a, "data", third); !r.OK {
		t.Fatalf("the owner's next epoch: %+v", r)
	}
	if r := renew(t, a, "data", third); !r.OK {
		t.Errorf("renew in the next epoch: %+v", r)
	}
	restarted := open(t, c) // knows nothing of its etcd lease
	if r := renew(t, restarted, "data", third); !r.OK {
		t.Errorf("renew after a restart: %+v", r)
	}
}

// TestManyVotesAtOnce lets both nodes vote as fast as they can: whatever happens, at most one of them holds a promise
// of its newest epoch with a lease.
func TestManyVotesAtOnce(t *testing.T) {
	c := server(t)
	voters := [2]*Voter{open(t, c), open(t, c)}
	prepare(t, voters[0], "data", first)
	accept(t, voters[0], "data", arbiter.Accepted{Epoch: first, Version: 1, Set: arbiter.Only(0)})
	accept(t, voters[0], "data", arbiter.Accepted{Epoch: first, Version: 2, Set: arbiter.Both})
	var mu sync.Mutex
	var until [2]time.Time // of each node's lease, as it may count it
	var wg sync.WaitGroup
	for node := range voters {
		wg.Go(func() {
			for i := range 15 {
				epoch := arbiter.Epoch(uint64(10+2*i) + uint64(node))
				sent := time.Now()
				p, err := voters[node].Prepare(t.Context(), arbiter.PrepareRequest{Volume: "data", Epoch: epoch})
				if err != nil && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
				if err != nil || !p.OK {
					continue
				}
				r, err := voters[node].Renew(t.Context(), arbiter.RenewRequest{Volume: "data", Epoch: epoch, Term: 2 * time.Second})
				if err != nil && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
				mu.Lock()
				if err == nil && r.OK {
					if other := until[1-node]; time.Now().Before(other) {
						t.Errorf("node %d got a lease in epoch %d while the other's runs for %v", node, epoch, time.Until(other))
					}
					until[node] = sent.Add(2 * time.Second)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestStrangeKeysAreRefused(t *testing.T) {
	c := server(t)
	v := open(t, c)
	for key, want := range map[string]string{"x/register": "holds no register", "y/lease": "holds no epoch"} {
		if _, err := v.members[0].store.Put(t.Context(), "/gemel/lab/"+key, "what is this?"); err != nil {
			t.Fatal(err)
		}
		_, err := v.Prepare(t.Context(), arbiter.PrepareRequest{Volume: key[:1], Epoch: first})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := open(t, "http://"+address(t)).Renew(ctx, arbiter.RenewRequest{Volume: "data", Epoch: first, Term: time.Second}); err == nil {
		t.Error("a lease from nobody")
	}
}

func TestSeconds(t *testing.T) {
	for term, want := range map[time.Duration]int64{time.Second: 2, 2 * time.Second: 2, 2500 * time.Millisecond: 3, 3 * time.Second: 3} {
		if got := seconds(term); got != want {
			t.Errorf("%v: %d, want %d", term, got, want)
		}
	}
}
