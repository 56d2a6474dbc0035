package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gemel/node/replicator/control"
)

const (
	bootAsk   = 3 * time.Second  // for the replicator's first answer
	bootClean = 20 * time.Second // for the whole cleaning of one volume
)

// clean removes what an earlier life of the agent left: addresses, services and
// mounts of every volume whose replica is not Primary now. A replica that still
// is Primary keeps all of it; its machine resumes the reign and the steps of the
// course adopt what runs.
func (a *Agent) clean(ctx context.Context) {
	states := a.firstStates(ctx)
	for _, o := range a.owners {
		if primaryIn(states, o.name) {
			a.diary.note(o.name, "boot.resume", "The replica is still Primary: nothing was taken down.",
				"the agent was restarted")
			continue
		}
		o.clean(ctx)
	}
	a.learnFirst(ctx)
}

// learnFirst lets the very first heartbeat tell the truth about the replica: a
// Primary's vacancy must not be reported to the peer.
func (a *Agent) learnFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchWait)
	defer cancel()
	states, err := a.replica.State(ctx)
	if err != nil {
		return // the watcher finds out why, and what follows
	}
	for _, o := range a.owners {
		o.learn(states, true)
	}
}

// firstStates asks the replicator what it serves. No answer means that no
// device of it is in use that could be kept.
func (a *Agent) firstStates(ctx context.Context) []control.VolumeState {
	ctx, cancel := context.WithTimeout(ctx, bootAsk)
	defer cancel()
	var err error
	for ctx.Err() == nil {
		var states []control.VolumeState
		once, done := context.WithTimeout(ctx, bootAsk/3)
		states, err = a.replica.State(once)
		done()
		if err == nil {
			return states
		}
		pause(ctx, 2*watchAgain)
	}
	a.diary.note("", "boot.no-replicator", "The replicator does not answer; leftovers of an earlier life are removed.", text(err))
	return nil
}

func primaryIn(states []control.VolumeState, volume string) bool {
	for i := range states {
		if states[i].Name == volume {
			return states[i].Role == control.Primary
		}
	}
	return false
}

// clean takes down leftovers in the order of letting go.
func (o *owner) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, bootClean)
	defer cancel()
	err := errors.Join(
		wrap("drop the addresses", o.course.addresses.Drop(ctx)),
		wrap("remove a device that waits", o.discardLeft(ctx)), // or what uses it cannot be killed
		wrap("kill the services", o.course.services.Kill(ctx)),
		wrap("unmount", o.detachLeftover(ctx)))
	if err != nil {
		o.note("boot.clean", "Some leftovers of an earlier life could not be removed.", err.Error())
	}
}

// discardLeft is for a device whose replicator is gone, or was started anew and
// is not Primary.
func (o *owner) discardLeft(ctx context.Context) error {
	if o.course.discard == nil {
		return nil
	}
	return o.course.discard(ctx)
}

func (o *owner) detachLeftover(ctx context.Context) error {
	if o.vol.Mount.Path == "" {
		return nil
	}
	mounted, err := o.course.mount.Mounted()
	if err != nil || !mounted {
		return err
	}
	o.note("boot.unmount", fmt.Sprintf("A leftover mount at %s is taken away.", o.vol.Mount.Path),
		"the replica is not Primary")
	return o.course.mount.Detach(ctx)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
