package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/replicator/control"
)

// hedgeAfter is how long a question to the peer waits on one link before it is
// also asked on the next: a pulled cable swallows requests without an error.
// Registers answer the same question twice with the same answer.
const hedgeAfter = 100 * time.Millisecond

// link is one way to the peer's agent, and what is known of it.
type link struct {
	name          string
	local, remote string // IP addresses
	peer          Peer
	nic           string // interface that owns local; guarded by Agent.nicMu

	carrier   atomic.Bool
	lastHeard atomic.Int64 // boot time in ns of the newest beat in either direction
	rtt       atomic.Int64 // ns, of the newest answered beat
	kick      chan struct{}
}

func newLink(name, local, remote string, peer Peer) *link {
	l := &link{name: name, local: local, remote: remote, peer: peer, kick: make(chan struct{}, 1)}
	l.carrier.Store(true)
	return l
}

// links reaches the peer's agent over every link at once: the healthiest
// first, the next one when it fails or is slow.
type links []*link

// best returns the links in the order to try them: those with carrier that
// were heard within a second of the newest beat, then silent ones, then those
// without carrier; each group in the order of the configuration.
func (ls links) best() links {
	newest := int64(0)
	for _, l := range ls {
		newest = max(newest, l.lastHeard.Load())
	}
	rank := func(l *link) int {
		switch {
		case !l.carrier.Load():
			return 2
		case newest-l.lastHeard.Load() > int64(time.Second):
			return 1
		default:
			return 0
		}
	}
	sorted := slices.Clone(ls)
	slices.SortStableFunc(sorted, func(a, b *link) int { return rank(a) - rank(b) })
	return sorted
}

// Votes asks the peer's registers. What is not answered on one link soon is asked
// on the next one too.
func (ls links) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	d := newDocket(len(votes), answer)
	_, err := overLinks(ctx, ls, func(ctx context.Context, p Peer) (struct{}, error) {
		where := d.unanswered()
		open := make([]ballot.Vote, len(where))
		for i, n := range where {
			open[i] = votes[n]
		}
		return struct{}{}, p.Votes(ctx, open, func(i int, r ballot.Reply) { d.answer(where[i], r) })
	})
	d.close()
	return err
}

func (ls links) handOver(ctx context.Context, volume string, epoch arbiter.Epoch) error {
	_, err := overLinks(ctx, ls, func(ctx context.Context, p Peer) (struct{}, error) {
		return struct{}{}, p.HandOver(ctx, volume, epoch)
	})
	return err
}

// switchover is not hedged: it takes long, and twice is once too often.
func (ls links) switchover(ctx context.Context, volume string) error {
	best := ls.best()
	if len(best) == 0 {
		return errNoLink
	}
	return best[0].peer.Switchover(ctx, volume)
}

func (ls links) protocol(ctx context.Context, req control.ProtocolRequest) error {
	_, err := overLinks(ctx, ls, func(ctx context.Context, p Peer) (struct{}, error) { return struct{}{}, p.Protocol(ctx, req) })
	return err
}

var errNoLink = errors.New("no link to the peer is configured")

type answer[T any] struct {
	value T
	link  string
	err   error
}

// overLinks asks on the best link first and on each further one after an error
// or after hedgeAfter. The first reply wins and ends the others.
func overLinks[T any](ctx context.Context, ls links, ask func(context.Context, Peer) (T, error)) (T, error) {
	var none T
	if len(ls) == 0 {
		return none, errNoLink
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer[T], len(ls))
	waiting, open := ls.best(), 0
	hedge := time.NewTimer(0) // the first question leaves at once
	defer hedge.Stop()
	for {
		select {
		case <-hedge.C:
			if len(waiting) == 0 {
				continue
			}
			l := waiting[0]
			waiting, open = waiting[1:], open+1
			go func() {
				v, err := ask(ctx, l.peer)
				answers <- answer[T]{v, l.name, err}
			}()
			hedge.Reset(hedgeAfter)
		case a := <-answers:
			if a.err == nil {
				return a.value, nil
			}
			if open--; open == 0 && len(waiting) == 0 {
				return none, fmt.Errorf("over link %s: %w", a.link, a.err)
			}
			hedge.Reset(0)
		case <-ctx.Done():
			return none, fmt.Errorf("ask the peer: %w", ctx.Err())
		}
	}
}

// status returns the links for people.
func (ls links) status(seen map[string]linkSeen, wall func(time.Duration) time.Time) []api.LinkStatus {
	out := make([]api.LinkStatus, 0, len(ls))
	for _, l := range ls {
		s := seen[l.name]
		out = append(out, api.LinkStatus{Name: l.name, Local: l.local, Remote: l.remote, Up: s.up, Missed: s.missed,
			Carrier: l.carrier.Load(), RTT: time.Duration(l.rtt.Load()),
			Minor: s.minor, LastMinor: wall(s.lastMinor), Phi: s.phi})
	}
	return out
}

type linkSeen struct {
	up     bool
	missed int

	minor     int
	lastMinor time.Duration // boot time; zero: never
	phi       float64
}
