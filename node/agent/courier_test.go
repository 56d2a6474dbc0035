package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/replicator/control"
)

// gate is a voter that notes what it is asked and answers when told to.
type gate struct {
	mu    sync.Mutex
	sizes []int
	open  chan struct{}
	skip  string // a volume that it never answers for
}

func (g *gate) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	g.mu.Lock()
	g.sizes = append(g.sizes, len(votes))
	g.mu.Unlock()
	select {
	case <-g.open:
	case <-ctx.Done():
		return ctx.Err()
	}
	hung := false
	for i, v := range votes {
		if v.Volume() == g.skip {
			hung = true
			continue
		}
		answer(i, ballot.Reply{Renew: &arbiter.RenewReply{OK: true}})
	}
	if hung {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (g *gate) asked() (messages, votes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.sizes {
		votes += n
	}
	return len(g.sizes), votes
}

func renewal(volume int) ballot.Vote {
	return ballot.Vote{Renew: &arbiter.RenewRequest{Volume: fmt.Sprintf("v%d", volume), Epoch: 2}}
}

func TestVotesOfManyVolumesTravelTogether(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	c := newCourier(g, time.Minute)
	const volumes = 300
	var all sync.WaitGroup
	for v := range volumes {
		all.Add(1)
		c.post(t.Context(), renewal(v), func(r ballot.Reply, err error) {
			defer all.Done()
			if err != nil || !r.Renew.OK {
				t.Errorf("volume %d: %+v, %v", v, r, err)
			}
		})
	}
	close(g.open)
	all.Wait()
	if messages, votes := g.asked(); votes != volumes || messages > carriedMax {
		t.Errorf("%d votes in %d messages", votes, messages)
	}
}

func TestAHangingVoteDoesNotHoldUpTheRest(t *testing.T) {
	g := &gate{open: make(chan struct{}), skip: "v1"}
	close(g.open)
	c := newCourier(g, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	answers := make(chan error, 3)
	hung := make(chan error, 1)
	c.post(ctx, renewal(1), func(_ ballot.Reply, err error) { hung <- err })
	for v := 2; v < 5; v++ {
		c.post(ctx, renewal(v), func(_ ballot.Reply, err error) { answers <- err })
	}
	for range 3 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-hung:
		t.Errorf("the hanging vote was answered: %v", err)
	default:
	}
	cancel()
	if err := <-hung; !errors.Is(err, context.Canceled) {
		t.Errorf("at the end: %v", err)
	}
}

func TestPeerIsAskedOnTheNextLinkForWhatIsMissingOnly(t *testing.T) {
	first, second := &gate{open: make(chan struct{}), skip: "v1"}, &gate{open: make(chan struct{})}
	close(first.open)
	close(second.open)
	ls := links{newLink("private", "", "", votingPeer{newFakePeer("private", &calls{}), first}),
		newLink("lan", "", "", votingPeer{newFakePeer("lan", &calls{}), second})}
	answered := map[int]int{}
	var mu sync.Mutex
	err := ls.Votes(t.Context(), []ballot.Vote{renewal(0), renewal(1), renewal(2)}, func(i int, _ ballot.Reply) {
		mu.Lock()
		defer mu.Unlock()
		answered[i]++
	})
	if err != nil || answered[0] != 1 || answered[1] != 1 || answered[2] != 1 {
		t.Errorf("%v, answers %v", err, answered)
	}
	if _, votes := second.asked(); votes != 1 {
		t.Errorf("the second link was asked for %d votes", votes)
	}
}

// votingPeer is a peer whose votes the test gives.
type votingPeer struct {
	*fakePeer
	votes *gate
}

func (p votingPeer) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	return p.votes.Votes(ctx, votes, answer)
}

func TestLeasesAreToldTogetherAndTheNewestWins(t *testing.T) {
	var mu sync.Mutex
	seen, calls := map[string]int64{}, 0
	begin := make(chan struct{})
	var lost []string
	l := &leases{tell: func(_ context.Context, q []control.LeaseRequest) ([]control.LeaseReply, error) {
		<-begin
		mu.Lock()
		defer mu.Unlock()
		calls++
		replies := make([]control.LeaseReply, len(q))
		for i := range q {
			seen[q[i].Volume] = q[i].Until
			if q[i].Volume == "refused" {
				replies[i].Error = "not Primary"
			}
		}
		return replies, nil
	}, lost: func(volume string, err error) {
		mu.Lock()
		defer mu.Unlock()
		lost = append(lost, volume+" "+err.Error())
	}}
	for v := range 100 {
		for until := int64(1); until <= 2; until++ {
			l.set(t.Context(), control.LeaseRequest{Volume: fmt.Sprintf("v%d", v), Until: until})
		}
	}
	l.set(t.Context(), control.LeaseRequest{Volume: "refused", Until: 7})
	close(begin)
	waitUntil(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(lost) == 1
	})
	mu.Lock()
	defer mu.Unlock()
	if seen["v0"] != 2 || seen["v99"] != 2 || lost[0] != "refused not Primary" || calls > 2*leaseTries {
		t.Errorf("v0 %d, v99 %d, lost %v, %d calls", seen["v0"], seen["v99"], lost, calls)
	}
}
