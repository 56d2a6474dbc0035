package failover

import (
	"fmt"
	"time"
)

// The three courses of action, in the order of their steps.
var (
	takeCourse  = []Step{StepFence, StepPromote, StepFsck, StepMount, StepAddress, StepServices}
	leaveCourse = []Step{StepDropAddress, StepStopServices, StepUnmount, StepDemote}
	letGoCourse = []Step{StepLetGoAddress, StepLetGoServices, StepLetGoUnmount, StepLetGoIO}
)

// takeSteps are the steps to a reign's end state. The peer is put out of the way once, before
// the reign begins: one that goes on, in an agent that was restarted, say, has not heard the
// peer yet and must not take that for silence.
func (m *Machine) takeSteps() []Step {
	if m.outOfWay {
		return takeCourse[1:]
	}
	return takeCourse
}

var stepNames = map[Step]string{
	StepFence:         "make sure that the peer is out of the way",
	StepPromote:       "make the replica Primary",
	StepFsck:          "check the file system",
	StepMount:         "mount the file system",
	StepAddress:       "claim the addresses",
	StepServices:      "start the services",
	StepDropAddress:   "drop the addresses",
	StepStopServices:  "stop the services",
	StepUnmount:       "unmount the file system",
	StepDemote:        "make the replica Secondary",
	StepLetGoAddress:  "drop the addresses at once",
	StepLetGoServices: "kill the services",
	StepLetGoUnmount:  "unmount the file system lazily",
	StepLetGoIO:       "end held I/O and detach the device",
}

// String returns the step in words.
func (s Step) String() string {
	if name, ok := stepNames[s]; ok {
		return name
	}
	return fmt.Sprintf("step %d", int(s))
}

// course runs one list of steps, one at a time.
type course struct {
	steps   []Step
	at      int
	running bool
	retryAt time.Duration // when a failed step may run again; letting go only
}

func (c *course) done() bool { return c.at >= len(c.steps) }

// current returns the step that runs or comes next.
func (c *course) current() Step {
	if c.done() {
		return 0
	}
	return c.steps[c.at]
}

// last returns the course's last step.
func (c *course) last() Step {
	if len(c.steps) == 0 {
		return 0
	}
	return c.steps[len(c.steps)-1]
}

// finish records the answer of a step; it reports false for an answer that
// belongs to a course that was given up meanwhile.
func (c *course) finish(s Step) bool {
	if !c.running || c.current() != s {
		return false
	}
	c.running = false
	return true
}
