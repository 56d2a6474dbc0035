package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/failover"
	"gemel/node/replicator/control"
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
		r.Birth = step == failover.StepPromote
		if step == failover.StepDemote || step == failover.StepDropAddress {
			s.runStep(t, run(failover.StepPromote))
		}
		if done := s.runStep(t, r); done.Err != "" {
			t.Errorf("%v: %s", step, done.Err)
		}
	}
	want := []string{"blank", "format", "mount", "claim", "start", "open", "drop", "stop", "unmount", "drop", "kill", "detach"}
	if got := s.steps.calls.all(); !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
	if !s.memory.has("step.done") {
		t.Error("no event tells of a finished step")
	}
}

// The first file system is made in the first reign, or in one that follows directly
// on a reign that did not finish it; and never over anything else.
func TestFormatOnlyWhereNothingWasEverStored(t *testing.T) {
	const before, epoch = 4, 6
	for name, c := range map[string]struct {
		birth, forced, blank bool
		left                 *infancy        // on this node's disk
		said                 *api.BeatVolume // the peer's last word
		want                 []string        // of blank, format, format again, fsck
	}{
		"birth":                           {birth: true, blank: true, want: []string{"blank", "format"}},
		"birth on something":              {birth: true, want: []string{"blank"}},
		"later":                           {blank: true, want: []string{"fsck"}},
		"killed before mkfs":              {blank: true, left: &infancy{Epoch: before}, want: []string{"blank", "format"}},
		"killed before mkfs on something": {left: &infancy{Epoch: before}, want: []string{"blank"}},
		"killed in mkfs":                  {left: &infancy{Epoch: before, Formatting: true}, want: []string{"format again"}},
		"another reign came between":      {blank: true, left: &infancy{Epoch: before - 2, Formatting: true}, want: []string{"fsck"}},
		"by an operator's word":           {forced: true, blank: true, left: &infancy{Epoch: before, Formatting: true}, want: []string{"fsck"}},
		"the peer was killed before mkfs": {blank: true, want: []string{"blank", "format"},
			said: &api.BeatVolume{Role: control.Primary, Epoch: before, Unformatted: true}},
		"the peer was killed in mkfs": {want: []string{"blank"},
			said: &api.BeatVolume{Role: control.Primary, Epoch: before, Unformatted: true}},
		"the peer had finished": {blank: true, want: []string{"fsck"},
			said: &api.BeatVolume{Role: control.Primary, Epoch: before}},
		"the peer of another reign": {blank: true, want: []string{"fsck"},
			said: &api.BeatVolume{Role: control.Primary, Epoch: before - 1, Unformatted: true}},
	} {
		s := newStage(t, nil)
		s.steps.blank = c.blank
		s.owner.heard.Store(c.said)
		kept := s.owner.course.cradle
		if c.left != nil {
			if err := kept.save(c.left); err != nil {
				t.Fatal(err)
			}
		}
		s.runOwner(t)
		r := run(failover.StepPromote)
		r.Birth, r.Forced, r.Before, r.Chosen.Epoch = c.birth, c.forced, before, epoch
		s.runStep(t, r)
		if left := kept.load(); c.want[0] != "fsck" && (left == nil || left.Epoch != epoch) {
			t.Errorf("%s: once promoted the disk says %+v", name, left)
		}
		s.runStep(t, run(failover.StepFsck))
		if got := s.steps.calls.all(); !slices.Equal(got, c.want) {
			t.Errorf("%s: calls %v, want %v", name, got, c.want)
		}
		if left := kept.load(); left != nil || s.owner.word(false).Unformatted {
			t.Errorf("%s: before anything is mounted the disk says %+v, the beats %v", name, left, s.owner.word(false).Unformatted)
		}
	}
}

// A format that fails, or is killed, leaves word of itself for the next reign.
func TestAnUnfinishedFormatIsRemembered(t *testing.T) {
	s := newStage(t, nil)
	s.steps.blank = true
	s.steps.fail["format"] = errors.New("killed")
	s.runOwner(t)
	r := run(failover.StepPromote)
	r.Birth, r.Chosen.Epoch = true, 2
	s.runStep(t, r)
	if !s.owner.word(false).Unformatted {
		t.Error("the beats do not tell that the volume is not formatted")
	}
	if done := s.runStep(t, run(failover.StepFsck)); done.Err == "" {
		t.Error("a failed mkfs passed")
	}
	if left := s.owner.course.cradle.load(); left == nil || *left != (infancy{Epoch: 2, Formatting: true}) {
		t.Errorf("the disk says %+v", left)
	}
	s.runStep(t, run(failover.StepLetGoIO))
	if s.owner.word(false).Unformatted {
		t.Error("a node that let go still speaks of its reign")
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
