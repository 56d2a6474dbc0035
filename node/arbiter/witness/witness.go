// Package witness is the third voter's logic: one register per volume over a
// durable store. It opens no socket and reads no clock of its own; whoever
// serves it says which cluster and which node a request came from, and has
// checked both.
package witness

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
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

// Store keeps records; store.File is one. Save returns when the records are
// stable, all of them or, with an error, perhaps none. Calls never overlap.
type Store interface {
	Get(volume string) arbiter.Record
	Save(records map[string]arbiter.Record) error
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

// Record returns what the witness holds of a volume, for status.
func (w *Witness) Record(volume string) arbiter.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.register(volume).Record
}

// Votes takes votes of the data node caller, as its certificate says, in order. What they change becomes stable
// together, and only then they are answered: a hundred volumes cost one write.
// There is a reply or an error for each.
func (w *Witness) Votes(cluster string, caller arbiter.NodeID, votes []ballot.Vote) ([]ballot.Reply, []error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	replies, errs := make([]ballot.Reply, len(votes)), make([]error, len(votes))
	next, dirty := map[string]arbiter.Register{}, map[string]arbiter.Record{}
	for i := range votes {
		volume := votes[i].Volume()
		r, staged := next[volume]
		if !staged {
			if errs[i] = w.check(cluster, caller, volume, votes[i].Epoch(), len(next)); errs[i] != nil {
				continue
			}
			r = w.register(volume)
		} else if errs[i] = owned(caller, votes[i].Epoch()); errs[i] != nil {
			continue
		}
		var persist bool
		if replies[i], persist = w.ask(&r, &votes[i]); persist {
			dirty[volume] = r.Record
		}
		next[volume] = r
	}
	w.keep(votes, next, dirty, errs)
	return replies, errs
}

// keep makes the changed records stable and then the registers the witness's. A
// register whose record may not be stable stays as it was, and nobody is
// answered from it.
func (w *Witness) keep(votes []ballot.Vote, next map[string]arbiter.Register, dirty map[string]arbiter.Record, errs []error) {
	var failed error
	if len(dirty) > 0 {
		failed = w.store.Save(dirty)
	}
	if failed != nil {
		for i := range votes {
			if _, lost := dirty[votes[i].Volume()]; lost && errs[i] == nil {
				errs[i] = fmt.Errorf("vote on volume %q: %w", votes[i].Volume(), failed)
			}
		}
		for volume := range dirty {
			delete(next, volume)
		}
	}
	maps.Copy(w.registers, next)
}

// ask lets a vote change a copy of its register.
func (w *Witness) ask(r *arbiter.Register, v *ballot.Vote) (reply ballot.Reply, persist bool) {
	now := w.clock()
	switch {
	case v.Prepare != nil:
		p, changed := r.Prepare(now, v.Prepare.Epoch, v.Prepare.Known)
		return ballot.Reply{Prepare: &p}, changed
	case v.Accept != nil:
		a, changed := r.Accept(now, v.Accept.Accepted)
		return ballot.Reply{Accept: &a}, changed
	case v.Renew != nil:
		n := r.Renew(now, v.Renew.Epoch, v.Renew.Term)
		return ballot.Reply{Renew: &n}, false
	case v.Release != nil:
		r.Release(v.Release.Epoch)
	}
	return ballot.Reply{}, false
}

// check refuses what the caller may not ask; more is how many volumes more are
// being taken in.
func (w *Witness) check(cluster string, caller arbiter.NodeID, volume string, epoch arbiter.Epoch, more int) error {
	_, known := w.registers[volume]
	switch {
	case cluster != w.cluster:
		return fmt.Errorf("%w: %q, this witness serves %q", ErrCluster, cluster, w.cluster)
	case volume == "" || len(volume) > maxName:
		return fmt.Errorf("%w: at most %d bytes", ErrVolume, maxName)
	case !known && len(w.registers)+more >= maxVolumes:
		return fmt.Errorf("%w: %d already", ErrFull, maxVolumes)
	}
	return owned(caller, epoch)
}

func owned(caller arbiter.NodeID, epoch arbiter.Epoch) error {
	if epoch.Owner() != caller {
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
