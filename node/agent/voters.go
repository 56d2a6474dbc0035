package agent

import (
	"context"
	"errors"
	"time"

	"gemel/node/arbiter"
)

// How long a voter may take before it counts as unreachable. The machine asks
// again; a slow answer is worth less than an early "unreachable".
const (
	prepareWait  = 400 * time.Millisecond
	renewWait    = 400 * time.Millisecond
	acceptWait   = time.Second
	releaseWait  = time.Second
	localVote    = time.Second // the own register: its only delay is its disk
	handOverWait = 2 * time.Second
)

// errNoVoter is the answer of a voter that is not configured.
var errNoVoter = errors.New("there is no such voter in the configuration")

// voters finds the register behind a voter's number.
type voters struct {
	self    arbiter.NodeID
	local   Voter
	peer    Voter
	witness Voter // nil: none configured
}

func (v *voters) of(id arbiter.NodeID) (Voter, error) {
	switch {
	case id == v.self:
		return v.local, nil
	case id < arbiter.Witness:
		return v.peer, nil
	case v.witness != nil:
		return v.witness, nil
	default:
		return nil, errNoVoter
	}
}

// wait returns how long this voter may take.
func (v *voters) wait(id arbiter.NodeID, remote time.Duration) time.Duration {
	if id == v.self {
		return localVote
	}
	return remote
}

func (v *voters) prepare(ctx context.Context, id arbiter.NodeID, req arbiter.PrepareRequest) (arbiter.PrepareReply, error) {
	return vote(ctx, v, id, prepareWait, func(ctx context.Context, to Voter) (arbiter.PrepareReply, error) {
		return to.Prepare(ctx, req)
	})
}

func (v *voters) accept(ctx context.Context, id arbiter.NodeID, req arbiter.AcceptRequest) (arbiter.AcceptReply, error) {
	return vote(ctx, v, id, acceptWait, func(ctx context.Context, to Voter) (arbiter.AcceptReply, error) {
		return to.Accept(ctx, req)
	})
}

func (v *voters) renew(ctx context.Context, id arbiter.NodeID, req arbiter.RenewRequest) (arbiter.RenewReply, error) {
	return vote(ctx, v, id, renewWait, func(ctx context.Context, to Voter) (arbiter.RenewReply, error) {
		return to.Renew(ctx, req)
	})
}

func (v *voters) release(ctx context.Context, id arbiter.NodeID, req arbiter.ReleaseRequest) error {
	_, err := vote(ctx, v, id, releaseWait, func(ctx context.Context, to Voter) (struct{}, error) {
		return struct{}{}, to.Release(ctx, req)
	})
	return err
}

func vote[T any](ctx context.Context, v *voters, id arbiter.NodeID, wait time.Duration,
	ask func(context.Context, Voter) (T, error)) (T, error) {
	to, err := v.of(id)
	if err != nil {
		var none T
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, v.wait(id, wait))
	defer cancel()
	return ask(ctx, to)
}
