// Package witness is the third voter's logic: one register per volume over a
// durable store. It opens no socket and reads no clock of its own; whoever
// serves it says which cluster and which node a request came from, and has
// checked both.
package witness

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gemel/node/arbiter"
)

// Errors that callers decide on. A refused vote is no error: it stands in the reply.
var (
	ErrCluster = errors.New("request is of another cluster")
	ErrVolume  = errors.New("volume name is missing or too long")
	ErrFull    = errors.New("too many volumes")
	ErrCaller  = errors.New("the epoch belongs to the other node")
)

// Limits of what a stranger with a valid certificate can make the witness keep.
const (
	maxVolumes = 1024
	maxName    = 128 // bytes
)

// Store keeps records; store.File is one. Save returns when the record is
// stable. Calls never overlap.
type Store interface {
	Get(volume string) arbiter.Record
	Save(volume string, record arbiter.Record) error
}

// Witness votes on the volumes of one cluster. It is safe for concurrent use.
type Witness struct {
	cluster string
	store   Store
	clock   func() time.Duration
	term    time.Duration
	started time.Duration

	mu        sync.Mutex
	registers map[string]arbiter.Register
}

// New starts a witness. clock reads CLOCK_BOOTTIME. term is the longest lease
// the cluster's nodes ask for: for that long after the start the witness
// honours leases that it may have granted before.
func New(cluster string, store Store, clock func() time.Duration, term time.Duration) *Witness {
	return &Witness{
		cluster: cluster, store: store, clock: clock, term: term, started: clock(),
		registers: map[string]arbiter.Register{},
	}
}

// Prepare asks for the promise to refuse lower epochs. caller is the data node
// that asks, as its certificate says.
func (w *Witness) Prepare(
	_ context.Context, cluster string, caller arbiter.NodeID, req arbiter.PrepareRequest,
) (reply arbiter.PrepareReply, err error) {
	err = w.vote(cluster, caller, req.Volume, req.Epoch, func(r *arbiter.Register) bool {
		var persist bool
		reply, persist = r.Prepare(w.clock(), req.Epoch, req.Known)
		return persist
	})
	return reply, err
}

// Accept asks to record an in-sync set.
func (w *Witness) Accept(
	_ context.Context, cluster string, caller arbiter.NodeID, req arbiter.AcceptRequest,
) (reply arbiter.AcceptReply, err error) {
	err = w.vote(cluster, caller, req.Volume, req.Accepted.Epoch, func(r *arbiter.Register) bool {
		var persist bool
		reply, persist = r.Accept(w.clock(), req.Accepted)
		return persist
	})
	return reply, err
}

// Renew asks to honour the caller's lease for a term from now.
func (w *Witness) Renew(
	_ context.Context, cluster string, caller arbiter.NodeID, req arbiter.RenewRequest,
) (reply arbiter.RenewReply, err error) {
	err = w.vote(cluster, caller, req.Volume, req.Epoch, func(r *arbiter.Register) bool {
		reply = r.Renew(w.clock(), req.Epoch, req.Term)
		return false
	})
	return reply, err
}

// Release gives the caller's lease back.
func (w *Witness) Release(
	_ context.Context, cluster string, caller arbiter.NodeID, req arbiter.ReleaseRequest,
) error {
	return w.vote(cluster, caller, req.Volume, req.Epoch, func(r *arbiter.Register) bool {
		r.Release(req.Epoch)
		return false
	})
}

// Record returns what the witness holds of a volume, for status.
func (w *Witness) Record(volume string) arbiter.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.register(volume).Record
}

// vote lets ask change a copy of the volume's register, and makes the copy the
// register once its record is stable. One vote at a time: a vote is one small
// fsync, and there are few.
func (w *Witness) vote(
	cluster string, caller arbiter.NodeID, volume string, epoch arbiter.Epoch, ask func(*arbiter.Register) bool,
) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.check(cluster, caller, volume, epoch); err != nil {
		return err
	}
	next := w.register(volume)
	if ask(&next) {
		if err := w.store.Save(volume, next.Record); err != nil {
			return fmt.Errorf("vote on volume %q: %w", volume, err)
		}
	}
	w.registers[volume] = next
	return nil
}

func (w *Witness) check(cluster string, caller arbiter.NodeID, volume string, epoch arbiter.Epoch) error {
	_, known := w.registers[volume]
	switch {
	case cluster != w.cluster:
		return fmt.Errorf("%w: %q, this witness serves %q", ErrCluster, cluster, w.cluster)
	case volume == "" || len(volume) > maxName:
		return fmt.Errorf("%w: at most %d bytes", ErrVolume, maxName)
	case !known && len(w.registers) >= maxVolumes:
		return fmt.Errorf("%w: %d already", ErrFull, maxVolumes)
	case epoch.Owner() != caller:
		return fmt.Errorf("%w: epoch %d is of node %d, node %d asked", ErrCaller, epoch, epoch.Owner(), caller)
	}
	return nil
}

func (w *Witness) register(volume string) arbiter.Register {
	if r, known := w.registers[volume]; known {
		return r
	}
	return arbiter.Boot(w.store.Get(volume), w.started, w.term)
}
