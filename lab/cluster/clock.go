package cluster

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// longestJump bounds a jump of the clock.
const longestJump = 10 * 365 * 24 * time.Hour

// JumpClock moves the wall clock. All boxes of all labs and the host itself share it: a
// container can have no wall clock of its own, and its monotonic clocks can be moved only
// before its first process starts. Leases live on CLOCK_BOOTTIME, which does not jump.
// Jumps add up; JumpBack undoes them.
func (c *Cluster) JumpClock(by time.Duration) error {
	if by > longestJump || by < -longestJump {
		return fmt.Errorf("jump the clock by %v: at most %v", by, longestJump)
	}
	if _, err := loadState(c.dir); err != nil {
		return err
	}
	c.Note("clock-jump", "The wall clock of the host jumps by %v.", by)
	if err := moveClock(by); err != nil {
		return fmt.Errorf("jump the clock by %v: %w", by, err)
	}
	return changeState(c.dir, func(s *State) { s.Jumped += by })
}

// JumpBack takes back what JumpClock moved, and returns how much that was.
func (c *Cluster) JumpBack() (time.Duration, error) {
	state, err := loadState(c.dir)
	if err != nil || state.Jumped == 0 {
		return 0, err
	}
	jumped := state.Jumped
	if err := moveClock(-jumped); err != nil {
		return 0, fmt.Errorf("move the clock back by %v: %w", jumped, err)
	}
	return jumped, changeState(c.dir, func(s *State) { s.Jumped -= jumped })
}

func moveClock(by time.Duration) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	then := unix.NsecToTimespec(now.Nano() + int64(by))
	return unix.ClockSettime(unix.CLOCK_REALTIME, &then)
}
