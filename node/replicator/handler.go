package replicator

import (
	"context"
	"errors"
	"fmt"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/block"
	"gemel/node/replicator/control"
	"gemel/node/replicator/meta"
	"gemel/node/replicator/volume"
	"gemel/node/replicator/volume/core"
)

// find returns the slot of a configured volume.
func (d *daemon) find(name string) (*slot, error) {
	for _, s := range d.slots {
		if s.conf.Name == name {
			return s, nil
		}
	}
	return nil, &control.Error{Code: control.CodeUnknownVolume,
		Message: fmt.Sprintf("no volume %q is configured on this node; see `gemel volume list`", name)}
}

// volume returns a running volume.
func (d *daemon) volume(name string) (*volume.Volume, error) {
	s, err := d.find(name)
	if err != nil {
		return nil, err
	}
	return s.running()
}

// State returns all volumes and the channel of the next change.
func (d *daemon) State() ([]control.VolumeState, <-chan struct{}) {
	d.mu.Lock()
	changed := d.changed // taken first, so that no change falls between
	d.mu.Unlock()
	states := make([]control.VolumeState, 0, len(d.slots))
	for _, s := range d.slots {
		states = append(states, s.state())
	}
	return states, changed
}

// Create makes a new replica.
func (d *daemon) Create(_ context.Context, q control.CreateRequest) error {
	s, err := d.find(q.Volume)
	if err != nil {
		return err
	}
	return s.create(q.Force, q.Keep)
}

// Promote makes a replica Primary.
func (d *daemon) Promote(_ context.Context, q control.PromoteRequest) (control.PromoteReply, error) {
	v, err := d.volume(q.Volume)
	if err != nil {
		return control.PromoteReply{}, err
	}
	reply, err := v.Promote(q)
	return reply, refusal(err)
}

// Chosen tells a volume which set 2 of 3 accepted.
func (d *daemon) Chosen(_ context.Context, q control.ChosenRequest) error {
	v, err := d.volume(q.Volume)
	if err != nil {
		return err
	}
	return refusal(v.Chosen(q))
}

// Lease moves the end of a lease.
func (d *daemon) Lease(_ context.Context, q control.LeaseRequest) error {
	v, err := d.volume(q.Volume)
	if err != nil {
		return err
	}
	return refusal(v.Lease(q))
}

// Demote makes a replica Secondary; one that does not run is none other.
func (d *daemon) Demote(ctx context.Context, q control.DemoteRequest) error {
	v, err := d.volume(q.Volume)
	if control.CodeOf(err) == control.CodeNotRunning {
		return nil
	}
	if err != nil {
		return err
	}
	return refusal(v.Demote(ctx, q))
}

// Connect ends a volume's StandAlone.
func (d *daemon) Connect(_ context.Context, q control.ConnectRequest) error {
	v, err := d.volume(q.Volume)
	if err != nil {
		return err
	}
	v.Reconnect()
	return nil
}

// Outdate marks a replica as out of date by hand, or takes that back.
func (d *daemon) Outdate(_ context.Context, q control.OutdateRequest) error {
	v, err := d.volume(q.Volume)
	if err != nil {
		return err
	}
	return refusal(v.Outdate(q))
}

// GiveUp lets a replica be overwritten by the peer's.
func (d *daemon) GiveUp(_ context.Context, q control.GiveUpRequest) error {
	v, err := d.volume(q.Volume)
	if err != nil {
		return err
	}
	return refusal(v.GiveUp(q))
}

// Verify starts, holds or ends a verify.
func (d *daemon) Verify(_ context.Context, q control.VerifyRequest) error {
	v, err := d.volume(q.Volume)
	if err != nil {
		return err
	}
	return refusal(v.Verify(q))
}

// Resync pauses or resumes a resync, or changes its limits.
func (d *daemon) Resync(_ context.Context, q control.ResyncRequest) error {
	v, err := d.volume(q.Volume)
	if err != nil {
		return err
	}
	return refusal(v.Resync(q))
}

// Resize makes a volume larger while it is used.
func (d *daemon) Resize(_ context.Context, q control.GrowRequest) error {
	v, err := d.volume(q.Volume)
	if err != nil {
		return err
	}
	return refusal(v.Grow(q))
}

// Protocol changes a volume's protocol until the next start.
func (d *daemon) Protocol(_ context.Context, q control.ProtocolRequest) error {
	v, err := d.volume(q.Volume)
	if err != nil {
		return err
	}
	p, err := block.ParseProtocol(q.Protocol)
	if err != nil {
		return &control.Error{Code: control.CodeBadRequest, Message: fmt.Sprintf("volume %s: %v", q.Volume, err)}
	}
	v.SetProtocol(p)
	return nil
}

// Prepare is this node's promise.
func (d *daemon) Prepare(_ context.Context, q arbiter.PrepareRequest) (arbiter.PrepareReply, error) {
	v, err := d.volume(q.Volume)
	if err != nil {
		return arbiter.PrepareReply{}, err
	}
	return v.Prepare(q)
}

// Accept is this node's acceptance of a set.
func (d *daemon) Accept(_ context.Context, q arbiter.AcceptRequest) (arbiter.AcceptReply, error) {
	v, err := d.volume(q.Volume)
	if err != nil {
		return arbiter.AcceptReply{}, err
	}
	return v.Accept(q)
}

// Renew is this node's grant of a lease.
func (d *daemon) Renew(_ context.Context, q arbiter.RenewRequest) (arbiter.RenewReply, error) {
	v, err := d.volume(q.Volume)
	if err != nil {
		return arbiter.RenewReply{}, err
	}
	return v.Renew(q)
}

// Release gives a lease back; there is nothing to give back at a volume that
// does not run.
func (d *daemon) Release(_ context.Context, q arbiter.ReleaseRequest) error {
	v, err := d.volume(q.Volume)
	if control.CodeOf(err) == control.CodeNotRunning {
		return nil
	}
	if err != nil {
		return err
	}
	v.Release(q)
	return nil
}

// Votes gives each vote to its volume's register.
func (d *daemon) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	return ballot.Cast(ctx, d, votes, control.CodeOf, answer)
}

// refusal gives a volume's refusal its stable code.
func refusal(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, volume.ErrDeviceInUse):
		return &control.Error{Code: control.CodeDeviceInUse, Message: err.Error()}
	case errors.Is(err, core.ErrNotElected), errors.Is(err, core.ErrInconsistent),
		errors.Is(err, core.ErrNotPrimary), errors.Is(err, core.ErrBusy),
		errors.Is(err, core.ErrDiscarded), errors.Is(err, core.ErrYields), errors.Is(err, core.ErrOutdated),
		errors.Is(err, core.ErrIsCurrent), errors.Is(err, core.ErrNotWhole), errors.Is(err, core.ErrIsPrimary),
		errors.Is(err, volume.ErrOnlyCopy),
		errors.Is(err, core.ErrNotInSync), errors.Is(err, core.ErrVerifying), errors.Is(err, core.ErrNoVerify),
		errors.Is(err, core.ErrShrink), errors.Is(err, core.ErrNoRoom), errors.Is(err, core.ErrGrowing),
		errors.Is(err, meta.ErrShrunk), errors.Is(err, meta.ErrTooSmall):
		return &control.Error{Code: control.CodeRefused, Message: err.Error()}
	}
	return err
}
