package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gemel/node/failover"
	"gemel/node/replicator/control"
)

const (
	watchPoll  = 500 * time.Millisecond // a watch without news returns after this
	watchWait  = 1500 * time.Millisecond
	watchAgain = 50 * time.Millisecond // after an error
	// stockEvery is how often every volume is looked at although it did not change:
	// what only counts, such as bytes written, is no change.
	stockEvery = 5 * time.Second
	// silenceAfter is how long a replicator may be silent before it counts as
	// hung; one whose socket is gone counts as dead at once.
	silenceAfter = 2 * time.Second
)

// watcher follows the replicator and turns its news into events.
type watcher struct {
	replica Replica
	owners  []*owner
	clock   Clock

	heard   time.Duration // boot time of its last answer
	down    string        // why it counts as down; empty: it answers
	process uint64        // of the replicator; zero: it may be another one
	version uint64        // what is known of that run
	stock   time.Duration // boot time when all volumes were told last
}

// run follows until ctx ends.
func (w *watcher) run(ctx context.Context) {
	w.heard = w.clock.Boot()
	for ctx.Err() == nil {
		changes, err := w.ask(ctx)
		switch {
		case err == nil:
			w.answered(changes)
		case ctx.Err() == nil:
			w.failed(err)
			pause(ctx, watchAgain)
		}
	}
}

// ask waits for news, or takes stock when the replicator may be another one or it
// is time to.
func (w *watcher) ask(ctx context.Context) (control.Changes, error) {
	ctx, cancel := context.WithTimeout(ctx, watchWait)
	defer cancel()
	if w.clock.Boot()-w.stock > stockEvery {
		w.version = 0
	}
	return w.replica.Watch(ctx, w.process, w.version, watchPoll)
}

func (w *watcher) answered(c control.Changes) {
	w.heard = w.clock.Boot()
	anew := c.Run != w.process // it may be another process, that counts from zero
	all := anew || w.version == 0
	w.process, w.version, w.down = c.Run, c.Version, ""
	if all {
		w.stock = w.heard
		for _, o := range w.owners {
			o.learn(c.Volumes, anew)
		}
		return
	}
	changed := make(map[string]*control.VolumeState, len(c.Volumes))
	for i := range c.Volumes {
		changed[c.Volumes[i].Name] = &c.Volumes[i]
	}
	for _, o := range w.owners {
		if s := changed[o.name]; s != nil {
			o.take(*s, false)
		}
	}
}

func (w *watcher) failed(err error) {
	w.process, w.version = 0, 0
	silent := w.clock.Boot() - w.heard
	why := ""
	switch {
	case errors.Is(err, errReplicatorGone):
		why = err.Error()
	case silent >= silenceAfter:
		why = fmt.Sprintf("the replicator has not answered for %v: %v", silent.Round(100*time.Millisecond), err)
	}
	if why == "" || w.down != "" {
		return
	}
	w.down = why
	for _, o := range w.owners {
		o.lose(why, errors.Is(err, errReplicatorGone))
	}
}

// learn takes the volume's state out of the replicator's list. States overtake
// each other on their way; one that is older than the newest known is dropped,
// unless it is the first of a process that may be another one (anew).
func (o *owner) learn(states []control.VolumeState, anew bool) {
	state := control.VolumeState{Name: o.name, Role: control.Secondary, Disk: control.Diskless,
		PeerDisk: control.Unknown, Connection: control.StandAlone,
		Problem: "the replicator does not know this volume; restart it with the same configuration file"}
	for i := range states {
		if states[i].Name == o.name {
			state = states[i]
		}
	}
	o.take(state, anew)
}

// take makes a state the newest known; see learn.
func (o *owner) take(state control.VolumeState, anew bool) {
	o.learning.Lock()
	defer o.learning.Unlock()
	old := o.state.Load()
	if old != nil && !anew && state.Seq < old.Seq {
		return
	}
	o.state.Store(&state)
	o.noteMove(old, &state, anew)
	o.noteVerify(old, &state)
	o.noteGrowth(old, &state)
	o.noteApart(old, &state)
	o.noteUnreadable(old, &state)
	now := report(state)
	if anew || old == nil || !sameNews(report(*old), now) {
		o.box.post(failover.Replica{State: now})
	}
}

// noteMove writes down that the connection took another link, once.
func (o *owner) noteMove(old, now *control.VolumeState, anew bool) {
	m := now.Move
	if m == nil || old == nil || anew || old.Move != nil && old.Move.Number == m.Number {
		return
	}
	o.note("connection.moved", fmt.Sprintf("replication moved from link %s to link %s without a break, after a pause of %v.",
		m.From, m.To, m.Pause.Round(time.Millisecond)), m.Reason, "from", m.From, "to", m.To)
}

// lose forgets the state of a replicator that does not answer; gone says that
// there is no such process.
func (o *owner) lose(why string, gone bool) {
	o.learning.Lock()
	defer o.learning.Unlock()
	o.state.Store(nil)
	o.box.post(failover.ReplicaDown{Reason: why, Gone: gone})
}

// refresh fetches the state after a step that changed the replica's role: the
// machine must not meet the step's end with the role of before.
func (o *owner) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchWait)
	defer cancel()
	states, err := o.replica.StateOf(ctx, o.name)
	switch {
	case err == nil:
		o.learn(states, false)
	case errors.Is(err, errReplicatorGone):
		o.lose(err.Error(), true)
	}
}

// lookWait bounds how long a status waits for the replicator's newest figures.
const lookWait = 500 * time.Millisecond

// look fetches the state of all volumes for somebody who wants to see what only
// counts, too. Without an answer the newest known has to do.
func (a *Agent) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	states, err := a.replica.State(ctx)
	if err != nil {
		return // the watcher finds out why, and what follows
	}
	for _, o := range a.owners {
		if o.state.Load() != nil {
			o.learn(states, false)
		}
	}
}

// report reduces a volume's state to what decisions need.
func report(s control.VolumeState) failover.ReplicaReport {
	attached := s.Disk != control.Diskless && s.Disk != ""
	problem := s.Problem
	if problem == "" && !attached {
		problem = "the replica has no disk; `gemel status` shows why"
	}
	if problem == "" && s.Yields {
		problem = "the volume begins with the data of the peer's replica, which was created with --keep-data"
	}
	return failover.ReplicaReport{
		Usable:  problem == "",
		Problem: problem,
		Created: s.Created,
		Blank:   s.Blank,
		// Whole says nothing of currency: that is the voters' to know.
		DiskWhole:      attached && s.Disk != control.Inconsistent && !s.GivenUp,
		Primary:        s.Role == control.Primary,
		Epoch:          s.Epoch,
		Record:         s.Record,
		Chosen:         s.Chosen,
		MayYield:       s.MayYield,
		Remote:         s.Remote,
		WantShrink:     s.WantShrink,
		ReadyToGrow:    s.ReadyToGrow,
		CrashedPrimary: s.CrashedPrimary,
		StandAlone:     s.Connection == control.StandAlone,
		Connected:      s.Connection == control.Connected,
		LeaseLeft:      s.LeaseLeft,
		NewerPromise:   s.NewerPromise,
		MayLack:        s.MayLack,
		Outdated:       s.Outdated,
		Survives:       s.Survives,
	}
}

// sameNews reports whether b tells the machine nothing new; a lease that runs
// down is no news.
func sameNews(a, b failover.ReplicaReport) bool {
	a.LeaseLeft = b.LeaseLeft
	return a == b
}
