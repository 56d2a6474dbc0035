package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gemel/node/failover"
)

// act lets the machine ask for actions at its next event.
func (s *stage) ask(actions ...failover.Action) {
	s.script.mu.Lock()
	s.script.react = func(failover.Event) []failover.Action { a := actions; actions = nil; return a }
	s.script.mu.Unlock()
}

func run(step failover.Step) failover.Run { return failover.Run{Step: step, Timeout: 5 * time.Second} }

func (s *stage) runStep(t *testing.T, r failover.Run) failover.StepDone {
	t.Helper()
	s.ask(r)
	done := next[failover.StepDone](t, s.script)
	if done.Step != r.Step {
		t.Fatalf("step %v ended, asked for %v", done.Step, r.Step)
	}
	return done
}

func TestStepsInOrder(t *testing.T) {
	s := newStage(t, nil)
	s.steps.blank = true
	s.runOwner(t)
	for step := failover.StepFence; step <= failover.StepLetGoIO; step++ {
		r := run(step)
		r.Birth = step == failover.StepPromote || step == failover.StepFsck
		if step == failover.StepDemote || step == failover.StepDropAddress {
			s.runStep(t, run(failover.StepPromote))
		}
		if done := s.runStep(t, r); done.Err != "" {
			t.Errorf("%v: %s", step, done.Err)
		}
	}
	want := []string{"blank", "format", "mount", "claim", "start", "drop", "stop", "unmount", "drop", "kill", "detach"}
	if got := s.steps.calls.all(); !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
	if !s.memory.has("step.done") {
		t.Error("no event tells of a finished step")
	}
}

func TestFormatOnlyAtBirthAndWhenBlank(t *testing.T) {
	for _, c := range []struct {
		birth, blank bool
		want         string
	}{{true, true, "format"}, {true, false, ""}, {false, true, "fsck"}} {
		s := newStage(t, nil)
		s.steps.blank = c.blank
		s.runOwner(t)
		s.runStep(t, run(failover.StepPromote))
		r := run(failover.StepFsck)
		r.Birth = c.birth
		s.runStep(t, r)
		got := s.steps.calls.all()
		if c.want != "" && !slices.Contains(got, c.want) || s.steps.calls.count("format") > 0 && c.want != "format" {
			t.Errorf("birth %v blank %v: calls %v, want %q", c.birth, c.blank, got, c.want)
		}
	}
}

// A mounted file system belongs to the reign that the agent's restart resumed.
func TestFsckLeavesAMountedFileSystemAlone(t *testing.T) {
	s := newStage(t, nil)
	s.steps.mounted = true
	s.runOwner(t)
	s.runStep(t, run(failover.StepFsck))
	if n := s.steps.calls.count("fsck"); n != 0 {
		t.Errorf("fsck ran %d times on a mounted file system", n)
	}
}

func TestStepTimeoutIsToldOnceAndRetryWaits(t *testing.T) {
	s := newStage(t, nil)
	hang := s.steps.hang("unmount")
	s.runOwner(t)
	r := failover.Run{Step: failover.StepUnmount, Timeout: 30 * time.Millisecond}
	if done := s.runStep(t, r); !strings.Contains(done.Err, "not finished within 30ms") {
		t.Errorf("error %q does not tell of the time", done.Err)
	}
	if done := s.runStep(t, r); !strings.Contains(done.Err, "still hangs") {
		t.Errorf("second attempt: %q", done.Err)
	}
	s.steps.mu.Lock()
	delete(s.steps.block, "unmount")
	s.steps.mu.Unlock()
	close(hang)
	if done := s.runStep(t, run(failover.StepUnmount)); done.Err != "" {
		t.Errorf("third attempt: %q", done.Err)
	}
	if n := s.steps.calls.count("unmount"); n != 2 {
		t.Errorf("unmount was called %d times, want 2: the second attempt must wait for the first", n)
	}
	select {
	case ev := <-s.script.events:
		t.Errorf("one more event: %#v", ev)
	default:
	}
}

// The reverse must not wait for its forward step, and what comes up late must
// go down again.
func TestLetGoOvertakesAHangingClaim(t *testing.T) {
	s := newStage(t, nil)
	hang := s.steps.hang("claim")
	s.runOwner(t)
	s.ask(run(failover.StepAddress), run(failover.StepLetGoAddress))
	seen := map[failover.Step]string{}
	for range 2 {
		done := next[failover.StepDone](t, s.script)
		seen[done.Step] = done.Err
	}
	if seen[failover.StepLetGoAddress] != "" || !strings.Contains(seen[failover.StepAddress], "given up") {
		t.Errorf("ends: %v", seen)
	}
	before := s.steps.calls.count("drop")
	close(hang)
	s.ask(run(failover.StepDropAddress)) // no order between the two; only the count matters
	next[failover.StepDone](t, s.script)
	s.owner.course.wg.Wait()
	if after := s.steps.calls.count("drop"); after != before+2 {
		t.Errorf("%d drops, want %d: the late claim must undo itself", after, before+2)
	}
}

func TestLetGoGoesOnPastAHangingUnmount(t *testing.T) {
	s := newStage(t, nil)
	hang := s.steps.hang("detach")
	s.runOwner(t)
	if done := s.runStep(t, run(failover.StepLetGoUnmount)); done.Err != "" {
		t.Errorf("letting go hangs on the mount: %s", done.Err)
	}
	close(hang)
}

func TestLetGoWithoutReplicator(t *testing.T) {
	s := newStage(t, nil)
	s.replica.kill(errReplicatorGone)
	s.runOwner(t)
	s.ask(run(failover.StepLetGoIO))
	next[failover.ReplicaDown](t, s.script) // told before the step's end
	if done := next[failover.StepDone](t, s.script); done.Err != "" {
		t.Errorf("a dead replicator stops the letting go: %s", done.Err)
	}
	s.replica.kill(errors.New("time-out"))
	if done := s.runStep(t, run(failover.StepLetGoIO)); done.Err == "" {
		t.Error("a hanging replicator still holds the device; the step must fail")
	}
}

// The machine must meet the end of a demotion with the new role, else it would
// resume the reign it has just ended.
func TestRoleArrivesBeforeTheStepThatChangedIt(t *testing.T) {
	s := newStage(t, nil)
	s.runOwner(t)
	for _, c := range []struct {
		step failover.Step
		want bool
	}{{failover.StepPromote, true}, {failover.StepLetGoIO, false}} {
		s.ask(run(c.step))
		if got := next[failover.Replica](t, s.script).State.Primary; got != c.want {
			t.Errorf("%v: Primary %v", c.step, got)
		}
		next[failover.StepDone](t, s.script)
	}
}
