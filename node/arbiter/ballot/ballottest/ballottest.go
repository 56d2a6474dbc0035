// Package ballottest helps tests that cast one vote and want its answer. The
// product always casts many.
package ballottest

import (
	"context"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
)

// One casts a single vote. A failure comes back as the error.
func One(ctx context.Context, c ballot.Caster, vote ballot.Vote) (r ballot.Reply, err error) {
	err = c.Votes(ctx, []ballot.Vote{vote}, func(_ int, got ballot.Reply) { r = got })
	if err == nil && r.Failure != nil {
		err = r.Failure
	}
	return r, err
}

// Prepare casts one vote of its kind.
func Prepare(ctx context.Context, c ballot.Caster, req arbiter.PrepareRequest) (arbiter.PrepareReply, error) {
	r, err := One(ctx, c, ballot.Vote{Prepare: &req})
	if err != nil {
		return arbiter.PrepareReply{}, err
	}
	return *r.Prepare, nil
}

// Accept casts one vote of its kind.
func Accept(ctx context.Context, c ballot.Caster, req arbiter.AcceptRequest) (arbiter.AcceptReply, error) {
	r, err := One(ctx, c, ballot.Vote{Accept: &req})
	if err != nil {
		return arbiter.AcceptReply{}, err
	}
	return *r.Accept, nil
}

// Renew casts one vote of its kind.
func Renew(ctx context.Context, c ballot.Caster, req arbiter.RenewRequest) (arbiter.RenewReply, error) {
	r, err := One(ctx, c, ballot.Vote{Renew: &req})
	if err != nil {
		return arbiter.RenewReply{}, err
	}
	return *r.Renew, nil
}

// Release casts one vote of its kind.
func Release(ctx context.Context, c ballot.Caster, req arbiter.ReleaseRequest) error {
	_, err := One(ctx, c, ballot.Vote{Release: &req})
	return err
}
