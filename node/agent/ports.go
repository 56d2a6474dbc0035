package agent

import (
	"context"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/event"
	"gemel/node/failover"
	"gemel/node/replicator/control"
)

// machine is what decides for one volume; failover.Machine is the real one.
type machine interface {
	Step(now time.Duration, ev failover.Event) []failover.Action
	View() failover.View
}

// Clock reads CLOCK_BOOTTIME, the clock of every lease.
type Clock interface {
	Boot() time.Duration
}

// Voter keeps a register of each volume, wherever they lie. A failure means that
// no answer came; a voter's "no" is a reply.
type Voter = ballot.Caster

// Replica is this box's replicator. An error that wraps errReplicatorGone means
// that no replicator process answers at all.
type Replica interface {
	Voter
	// State returns every volume the replicator serves.
	State(ctx context.Context) ([]control.VolumeState, error)
	// StateOf returns one volume; none when the replicator does not know it.
	StateOf(ctx context.Context, volume string) ([]control.VolumeState, error)
	// Watch returns what changed after version since of a run of the replicator, as
	// soon as there is something, or after wait.
	Watch(ctx context.Context, run, since uint64, wait time.Duration) (control.Changes, error)
	Create(ctx context.Context, req control.CreateRequest) error
	// Promote returns the block device to mount.
	Promote(ctx context.Context, req control.PromoteRequest) (string, error)
	Chosen(ctx context.Context, req control.ChosenRequest) error
	// Leases moves the ends of some volumes' leases; there is a reply for each.
	Leases(ctx context.Context, req []control.LeaseRequest) ([]control.LeaseReply, error)
	Demote(ctx context.Context, req control.DemoteRequest) error
	Connect(ctx context.Context, req control.ConnectRequest) error
	Protocol(ctx context.Context, req control.ProtocolRequest) error
	Verify(ctx context.Context, req control.VerifyRequest) error
	Resync(ctx context.Context, req control.ResyncRequest) error
	Resize(ctx context.Context, req control.GrowRequest) error
	GiveUp(ctx context.Context, req control.GiveUpRequest) error
	Outdate(ctx context.Context, req control.OutdateRequest) error
}

// Peer is the peer's agent as reached over one link.
type Peer interface {
	Voter
	Beat(ctx context.Context, beat api.Beat) (api.Beat, error)
	HandOver(ctx context.Context, volume string, epoch arbiter.Epoch) error
	// Reboot asks the peer to reboot its box; its answer is no proof.
	Reboot(ctx context.Context, o api.RebootOrder) error
	Clients(ctx context.Context, m api.Clients) (api.ClientsTaken, error)
	// Switchover returns when the peer has given the volume away, or why it did not.
	Switchover(ctx context.Context, volume string) error
	Protocol(ctx context.Context, req control.ProtocolRequest) error
	Verify(ctx context.Context, req control.VerifyRequest) error
	Resync(ctx context.Context, req control.ResyncRequest) error
	Resize(ctx context.Context, req control.GrowRequest) error
	// Drill returns when the peer has made the drills, or why it did not.
	Drill(ctx context.Context, o api.DrillOrder) ([]api.Drill, error)
	// Stage is what the peer's machines stand on, for a dry run.
	Stage(ctx context.Context) (api.Stage, error)
}

// Witness is the third voter.
type Witness interface {
	Voter
	Ping(ctx context.Context) error
}

// Addresses are the VIPs of one volume. Every method is idempotent; Drop also
// removes what an earlier life of the agent left.
type Addresses interface {
	// Ask begins to find out whether somebody else answers for the addresses, which a
	// Claim soon after need not do any more, and returns at once.
	Ask()
	// Claim makes this node answer for the addresses, without a word to clients
	// until Open; Open then makes those of the other node connect anew.
	Claim(ctx context.Context) error
	Open(ctx context.Context, clients []api.Connection) error
	Drop(ctx context.Context) error
	// Held tells for every configured address whether this node answers for it.
	Held() []api.Held
	// Announce tells the neighbours again, after a conflict or a new carrier.
	Announce()
}

// Services are the services of one volume. Start returns when each is ready, has
// failed, or waits for one that failed; it adopts what runs already. Kill also ends
// what an earlier life of the agent left.
type Services interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	Kill(ctx context.Context) error
	State() []api.Running
}

// Mount is the file system of one volume. Every method is idempotent.
type Mount interface {
	// Mounted reports whether something is mounted at the configured path.
	Mounted() (bool, error)
	// Blank reports whether the device carries no file system and no other signature.
	Blank(ctx context.Context, device string) (bool, error)
	// Format makes the file system; again: over one that it did not finish.
	Format(ctx context.Context, device string, again bool) error
	// Check repairs the file system where it is dirty and returns what was done.
	Check(ctx context.Context, device string) (string, error)
	Mount(ctx context.Context, device string) error
	// Grow makes a mounted file system as large as its device; it returns its size in bytes before and after.
	Grow(ctx context.Context, device string) (before, after int64, err error)
	Unmount(ctx context.Context) error
	// Detach unmounts lazily: open files stay, the path is free at once.
	Detach(ctx context.Context) error
}

// History keeps events.
type History interface {
	Add(e event.Event)
}
