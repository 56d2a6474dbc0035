package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/config"
	"gemel/node/failover"
)

const (
	// lateGrace is how long a step may take to return after its time is up,
	// so that its own error is told and not a bare "timed out".
	lateGrace = 200 * time.Millisecond
	// detachGrace is how long letting go waits for killed processes to die and
	// for a lazy unmount to return: both may hang until the held I/O has ended,
	// which is the step after them.
	detachGrace = time.Second
	// undoneWait bounds the undoing of a step that came back after its course
	// had been given up.
	undoneWait = 10 * time.Second
)

// errGivenUp is the cause of a step that was cancelled by its own reverse.
var errGivenUp = errors.New("given up: the course turned back")

// course runs the steps of one volume. Steps and their reverses come in pairs
// (mount and unmount, ...). A reverse cancels its forward step and acts at
// once; a forward step that comes back late undoes itself. A forward step
// starts only when nothing else of its pair is under way.
type course struct {
	vol       config.Volume
	replica   Replica
	addresses Addresses
	services  Services
	mount     Mount
	// discard removes a device that waits for a replicator; nil: there is none.
	discard func(ctx context.Context) error
	clients func() []api.Connection // of the peer as far as it told; nil: nobody asks
	mounted func()                  // called when the file system was mounted; nil: nobody wants to know
	fence   *fencer                 // nil: no device is configured
	ask     *asker                  // nil: the peer does not reboot itself when asked
	note    func(kind, text, reason string, fields ...string)

	cradle cradle
	// peerLeft reports whether the peer's reign of that epoch had not made the file
	// system when it was heard last; nil: nobody knows.
	peerLeft func(epoch arbiter.Epoch) bool

	mu     sync.Mutex
	left   *infancy // the file system is still to be made
	active map[*attempt]struct{}
	device string // block device of the promoted volume
	took   map[failover.Step]time.Duration
	wg     sync.WaitGroup
}

// attempt is one run of a step.
type attempt struct {
	run    failover.Run
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the work has really returned
	undo   bool          // its reverse came meanwhile; guarded by course.mu
}

// pair groups steps that must not cross.
type pair int

const (
	pairNone pair = iota
	pairDevice
	pairMount
	pairAddress
	pairServices
)

func pairOf(s failover.Step) pair {
	switch s {
	case failover.StepPromote, failover.StepDemote, failover.StepLetGoIO:
		return pairDevice
	case failover.StepFsck, failover.StepMount, failover.StepUnmount, failover.StepLetGoUnmount:
		return pairMount
	case failover.StepAddress, failover.StepDropAddress, failover.StepLetGoAddress:
		return pairAddress
	case failover.StepServices, failover.StepStopServices, failover.StepLetGoServices:
		return pairServices
	default:
		return pairNone
	}
}

// severity orders the three courses: taking over, leaving, letting go.
func severity(s failover.Step) int {
	switch {
	case s >= failover.StepLetGoAddress:
		return 2
	case s >= failover.StepDropAddress:
		return 1
	default:
		return 0
	}
}

// start runs a step; done is called exactly once, at its end or when its time
// is up or its reverse begins. The work itself may return later.
func (c *course) start(ctx context.Context, run failover.Run, done func(error)) {
	ctx, cancelTime := context.WithTimeoutCause(ctx, run.Timeout, fmt.Errorf("not finished within %v", run.Timeout))
	ctx, cancel := context.WithCancelCause(ctx)
	a := &attempt{run: run, cancel: cancel, done: make(chan struct{})}
	before := c.admit(a)
	result := make(chan error, 1)
	c.wg.Add(2)
	go func() {
		defer c.wg.Done()
		defer cancelTime()
		defer cancel(nil)
		result <- c.work(ctx, a, before)
	}()
	go func() {
		defer c.wg.Done()
		begin := time.Now()
		err := c.await(ctx, run.Step, result)
		c.tell(run.Step, time.Since(begin), err)
		done(err)
	}()
}

// await returns the work's answer, or the context's cause soon after its end.
func (c *course) await(ctx context.Context, s failover.Step, result <-chan error) error {
	var patience <-chan time.Time
	if s == failover.StepLetGoServices || s == failover.StepLetGoUnmount {
		timer := time.NewTimer(detachGrace)
		defer timer.Stop()
		patience = timer.C
	}
	select {
	case err := <-result:
		return err
	case <-patience:
		c.note("step.note", fmt.Sprintf("Going on without waiting for this step's end: %v.", s),
			"it may hang until held I/O has ended, which is the step after it")
		return nil
	case <-ctx.Done():
		return late(ctx, result)
	}
}

// late gives a step whose context has ended a moment to tell its own error.
func late(ctx context.Context, result <-chan error) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, errGivenUp) {
		return cause
	}
	grace := time.NewTimer(lateGrace)
	defer grace.Stop()
	select {
	case err := <-result:
		if err == nil || errors.Is(err, cause) || errors.Is(cause, context.Canceled) {
			return err // Canceled: the work had just ended by itself
		}
		return fmt.Errorf("%w: %w", cause, err)
	case <-grace.C:
		return cause
	}
}

// admit registers the attempt, cancels what it turns back and returns the
// attempts it has to wait for.
func (c *course) admit(a *attempt) []*attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active == nil {
		c.active = make(map[*attempt]struct{})
	}
	mine := severity(a.run.Step)
	var before []*attempt
	for other := range c.active {
		same := pairOf(other.run.Step) == pairOf(a.run.Step)
		switch theirs := severity(other.run.Step); {
		case theirs < mine:
			other.cancel(errGivenUp)
			other.undo = other.undo || same && theirs == 0
		case same && (mine == 0 || theirs == mine):
			before = append(before, other)
		}
	}
	c.active[a] = struct{}{}
	return before
}

// work waits for what is in the way, performs the step, and undoes it when its
// reverse came meanwhile.
func (c *course) work(ctx context.Context, a *attempt, before []*attempt) error {
	err := waitFor(ctx, before)
	if err == nil {
		err = c.perform(ctx, a.run)
		c.settle(a)
	}
	c.mu.Lock()
	delete(c.active, a)
	c.mu.Unlock()
	close(a.done)
	return err
}

func waitFor(ctx context.Context, before []*attempt) error {
	for _, other := range before {
		select {
		case <-other.done:
		case <-ctx.Done():
			return fmt.Errorf("an earlier attempt to %v still hangs: %w", other.run.Step, context.Cause(ctx))
		}
	}
	return nil
}

// settle undoes a forward step whose reverse has already acted.
func (c *course) settle(a *attempt) {
	c.mu.Lock()
	undo := a.undo
	c.mu.Unlock()
	if !undo {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoneWait)
	defer cancel()
	var err error
	switch pairOf(a.run.Step) {
	case pairAddress:
		err = c.addresses.Drop(ctx)
	case pairServices:
		err = c.services.Kill(ctx)
	case pairMount:
		err = c.mount.Detach(ctx)
	case pairDevice:
		err = c.letGoIO(ctx)
	}
	if err != nil {
		c.note("step.undo", fmt.Sprintf("Undoing a late step failed: %v.", a.run.Step), err.Error())
	}
}

// tell writes the end of a step into the history.
func (c *course) tell(s failover.Step, took time.Duration, err error) {
	ms := fmt.Sprintf("%.1f", float64(took.Microseconds())/1000)
	if err == nil {
		c.keepTime(s, took)
		c.note("step.done", fmt.Sprintf("Done: %v.", s), "", "step", s.String(), "took_ms", ms)
		return
	}
	c.note("step.error", fmt.Sprintf("Not done: %v.", s), err.Error(), "step", s.String(), "took_ms", ms)
}
