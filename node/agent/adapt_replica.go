package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/arbiter/ballot"
	"gemel/node/replicator/control"
)

// replicaClient is the replicator behind its unix socket.
type replicaClient struct{ c *control.Client }

// gone marks the errors that prove that no replicator runs: its socket is
// missing or nobody listens there. A time-out proves nothing.
func gone(err error) error {
	if errors.Is(err, control.ErrNoReplicator) && (errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)) {
		return fmt.Errorf("%w: %w", errReplicatorGone, err)
	}
	return err
}

func (r replicaClient) State(ctx context.Context) ([]control.VolumeState, error) {
	states, err := r.c.State(ctx)
	return states, gone(err)
}

func (r replicaClient) StateOf(ctx context.Context, volume string) ([]control.VolumeState, error) {
	states, err := r.c.StateOf(ctx, volume)
	return states, gone(err)
}

func (r replicaClient) Watch(ctx context.Context, run, since uint64, wait time.Duration) (control.Changes, error) {
	changes, err := r.c.Watch(ctx, run, since, wait)
	return changes, gone(err)
}

func (r replicaClient) Create(ctx context.Context, req control.CreateRequest) error {
	return gone(r.c.Create(ctx, req))
}

func (r replicaClient) Promote(ctx context.Context, req control.PromoteRequest) (string, error) {
	reply, err := r.c.Promote(ctx, req)
	return reply.Device, gone(err)
}

func (r replicaClient) Chosen(ctx context.Context, req control.ChosenRequest) error {
	return gone(r.c.Chosen(ctx, req))
}

func (r replicaClient) Leases(ctx context.Context, req []control.LeaseRequest) ([]control.LeaseReply, error) {
	replies, err := r.c.Leases(ctx, req)
	return replies, gone(err)
}

func (r replicaClient) Demote(ctx context.Context, req control.DemoteRequest) error {
	return gone(r.c.Demote(ctx, req))
}

func (r replicaClient) Connect(ctx context.Context, req control.ConnectRequest) error {
	return gone(r.c.Connect(ctx, req))
}

func (r replicaClient) Protocol(ctx context.Context, req control.ProtocolRequest) error {
	return gone(r.c.Protocol(ctx, req))
}

func (r replicaClient) Outdate(ctx context.Context, req control.OutdateRequest) error {
	return gone(r.c.Outdate(ctx, req))
}

func (r replicaClient) GiveUp(ctx context.Context, req control.GiveUpRequest) error {
	return gone(r.c.GiveUp(ctx, req))
}

func (r replicaClient) Verify(ctx context.Context, req control.VerifyRequest) error {
	return gone(r.c.Verify(ctx, req))
}

func (r replicaClient) Resync(ctx context.Context, req control.ResyncRequest) error {
	return gone(r.c.Resync(ctx, req))
}

func (r replicaClient) Resize(ctx context.Context, req control.GrowRequest) error {
	return gone(r.c.Resize(ctx, req))
}

func (r replicaClient) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	return gone(r.c.Votes(ctx, votes, answer))
}
