package sim

import (
	"time"

	"gemel/node/failover"
)

// runStep carries out one step of the course and answers once. A step that
// turns another back acts at once, as in package agent; the late answer of one
// that was turned back is the machine's to ignore.
func (b *box) runStep(a *agent, run failover.Run) {
	done := func(err string) {
		a.after(100*time.Microsecond, func() {
			if run.Step == failover.StepPromote || run.Step == failover.StepDemote || run.Step == failover.StepLetGoIO {
				a.look()
			}
			a.feed(failover.StepDone{Step: run.Step, Err: err})
		})
	}
	done = once(done)
	a.after(run.Timeout, func() { done("not finished in time") })
	a.after(b.dice.span(time.Millisecond, 30*time.Millisecond), func() { b.perform(run, done) })
}

func once(f func(string)) func(string) {
	over := false
	return func(err string) {
		if !over {
			over = true
			f(err)
		}
	}
}

func (b *box) perform(run failover.Run, done func(err string)) {
	switch run.Step {
	case failover.StepPromote:
		b.withReplicator(done, func(r *replicator) { r.promote(run.Chosen, run.Birth, done) })
	case failover.StepDemote:
		b.withReplicator(done, func(r *replicator) { r.demote(true, done) })
	case failover.StepLetGoIO:
		if b.repl == nil {
			done("")
			return
		}
		b.repl.demote(false, done)
	case failover.StepServices:
		b.app.start()
		done("")
	case failover.StepStopServices, failover.StepLetGoServices:
		b.app.stop()
		done("")
	case failover.StepUnmount:
		b.app.whenIdle(5*time.Second, func(ok bool) {
			if !ok {
				done("the file system is in use")
				return
			}
			done("")
		})
	default:
		done("")
	}
}

func (b *box) withReplicator(done func(string), f func(r *replicator)) {
	if b.repl == nil {
		done("the replicator is not running")
		return
	}
	f(b.repl)
}
