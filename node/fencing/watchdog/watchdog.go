// Package watchdog keeps this box's own watchdog, a timer that resets the box unless it is pinged in time: while the
// box holds something that its peer could come to hold as well, and no longer than it does so rightly. It is told that
// by a Word at every turn, and does not know why: node/failover and node/agent do. It fences nobody else and proves
// nothing to anybody.
package watchdog

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Word is what the box has to say to its watchdog at one moment.
type Word int

// Words.
const (
	Rest Word = iota // nothing is held that another node could come to hold: the timer is stopped
	Stay             // that is not known yet: a running timer is pinged, one that rests is left alone
	Hold             // something is held rightly: the timer runs and is pinged
	Over             // something is held no longer rightly, or who knows does not move: the timer runs out
)

// Info is what a device tells of itself.
type Info struct {
	Identity  string // the driver's name for it
	Magic     bool   // it is stopped only by closing it on purpose, not by the death of who pings it
	BitBefore bool   // the box was last reset by it
}

// Device is an open watchdog: its timer runs.
type Device interface {
	Info() (Info, error)
	// SetTimeout asks for a timeout in seconds; the driver may grant another one.
	SetTimeout(seconds int) error
	// Timeout reads back the one that is in force, in seconds.
	Timeout() (int, error)
	Ping() error
	// Disable stops the timer. ErrNoWayOut says that nothing can; another error, that the driver has no such order.
	Disable() error
	// Close closes the device; on purpose, so that the driver stops the timer if it may.
	Close() error
}

// ErrNoWayOut is returned by Disable of a device that cannot be stopped once it is open.
var ErrNoWayOut = errors.New("the driver does not let its timer be stopped (nowayout)")

// Phases of a Dog.
const (
	Idle     = "idle"     // does not run, and could
	Armed    = "armed"    // runs and is pinged
	Kept     = "kept"     // runs and is pinged only because it cannot be stopped
	Starving = "starving" // runs and is not pinged: the box is reset soon
	Unfit    = "unfit"    // does not run, and could not; Problem says why
)

// State is what is known of the watchdog.
type State struct {
	Path      string
	Identity  string
	Phase     string
	Problem   string        // empty: none
	Asked     time.Duration // whole seconds
	Granted   time.Duration // zero: not read yet
	Longest   time.Duration
	Magic     bool
	NoWayOut  bool
	BitBefore bool
}

// Options of a Dog.
type Options struct {
	Path    string
	Timeout time.Duration // to ask for, in whole seconds
	Longest time.Duration // that may be granted
	// Open opens a device; nil: the kernel's.
	Open func(path string) (Device, error)
	// Look tells what is known of a device that is not open; nil: the kernel's word.
	Look func(path string) (Found, error)
	Note func(kind, text, reason string)
}

// openAgain is the time between tries to open a device that could not be opened or was refused.
const openAgain = 10 * time.Second

// Dog keeps one watchdog. Turn, Begin and End are called by one goroutine, State by any.
type Dog struct {
	opt    Options
	dev    Device // nil: not open
	hungry int    // turns in a row without a ping although the timer runs
	again  time.Duration
	deaf   bool // the last ping failed

	mu    sync.Mutex
	state State
}

// New returns a Dog that has not looked at its device yet.
func New(opt Options) *Dog {
	if opt.Open == nil {
		opt.Open = openKernel
	}
	if opt.Look == nil {
		opt.Look = Look
	}
	return &Dog{opt: opt, state: State{Path: opt.Path, Asked: opt.Timeout, Longest: opt.Longest, Phase: Idle}}
}

// State returns what is known now.
func (d *Dog) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

func (d *Dog) set(change func(*State)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.state)
}

// Begin opens the device, for two reasons: one that is missing or unfit is known before it is needed, and one that an
// earlier life of this program left running gets a ping. The first Turn stops it again. A device that could
// never be stopped again is not opened before it is needed, unless it runs already.
func (d *Dog) Begin(now time.Duration) {
	if found, err := d.opt.Look(d.opt.Path); err == nil && found.NoWayOut && !found.Active {
		d.set(func(s *State) { s.Identity, s.NoWayOut = found.Identity, true })
		return
	}
	d.open(now)
	if s := d.State(); s.BitBefore {
		d.opt.Note("watchdog.bit", "The last reset of this box came from its watchdog.",
			fmt.Sprintf("%s says so; before it the agent hung, died, or could not let a volume go: see the end of the last history", s.Identity))
	}
}

// Turn carries one word out. It must be called several times within the timeout.
func (d *Dog) Turn(now time.Duration, w Word) {
	if d.dev == nil && (w == Hold || w == Over) {
		d.open(now)
	}
	if d.dev == nil {
		return
	}
	switch w {
	case Hold, Stay:
		d.ping(Armed)
	case Over:
		d.starve()
	case Rest:
		d.rest()
	}
}

// End is the last turn of a program that ends in good order: with Rest the timer is stopped if that is possible, else it
// runs on, for the next start of the program or for a reset.
func (d *Dog) End(now time.Duration, w Word) {
	d.Turn(now, w)
	if d.dev == nil {
		return
	}
	why := "a volume could not be let go"
	if w == Rest {
		why = ErrNoWayOut.Error()
	}
	d.opt.Note("watchdog.left", fmt.Sprintf("The agent ends and leaves the watchdog %s running: the box is reset in %v unless an agent "+
		"starts before.", d.opt.Path, d.State().Granted), why)
}

// open opens the device and makes sure that it is fit.
func (d *Dog) open(now time.Duration) {
	if now < d.again {
		return
	}
	d.again = now + openAgain
	dev, err := d.opt.Open(d.opt.Path)
	if err != nil {
		d.unfit(Diagnose(d.opt.Path, err))
		return
	}
	d.dev = dev
	problem := d.examine()
	if problem == "" {
		d.again, d.hungry = 0, 0
		d.fit()
		return
	}
	d.unfit(problem)
	d.rest()
}

// examine sets the timeout, reads it back, and says why the device is unfit; empty: it is not.
func (d *Dog) examine() string {
	info, err := d.dev.Info()
	if err != nil {
		return fmt.Sprintf("%s does not say what it is: %v; it is no watchdog, or its driver is broken", d.opt.Path, err)
	}
	d.set(func(s *State) {
		s.Identity, s.Magic, s.BitBefore, s.Granted = info.Identity, info.Magic, info.BitBefore, 0
	})
	set := d.dev.SetTimeout(int(d.opt.Timeout / time.Second))
	seconds, err := d.dev.Timeout()
	if err != nil {
		return fmt.Sprintf("%s (%s) does not tell its timeout: %v; without it nobody knows when it resets the box", d.opt.Path, info.Identity, err)
	}
	granted := time.Duration(seconds) * time.Second
	d.set(func(s *State) { s.Granted = granted })
	switch {
	case granted <= 0 || granted > d.opt.Longest:
		text := fmt.Sprintf("%s (%s) grants a timeout of %v where %v was asked, and the lease allows %v at most: the peer could have taken over "+
			"before the box is reset; lengthen timing.lease by %v or more, or use another driver, such as softdog",
			d.opt.Path, info.Identity, granted, d.opt.Timeout, d.opt.Longest, granted-d.opt.Longest)
		if set != nil {
			text += fmt.Sprintf(" (the driver refused to set it: %v)", set)
		}
		return text
	}
	return ""
}

func (d *Dog) fit() {
	was := ""
	d.set(func(s *State) { was, s.Problem = s.Problem, "" })
	if was != "" {
		d.opt.Note("watchdog.fit", fmt.Sprintf("The watchdog %s can be used now.", d.opt.Path), "")
	}
}

func (d *Dog) unfit(problem string) {
	was := ""
	d.set(func(s *State) { was, s.Problem, s.Phase = s.Problem, problem, Unfit })
	if was != problem {
		d.opt.Note("watchdog.unfit", "This box has no watchdog: it is not reset when the agent hangs.", problem)
	}
}

// ping pings, for the sake of phase.
func (d *Dog) ping(phase string) {
	starved := d.hungry > 1
	d.hungry = 0
	err := d.dev.Ping()
	was, problem := d.State().Phase, d.State().Problem
	switch {
	case err != nil:
		text := fmt.Sprintf("%s cannot be pinged and will reset the box: %v", d.opt.Path, err)
		d.deaf = true
		d.set(func(s *State) { s.Phase, s.Problem = Starving, text })
		if problem != text {
			d.opt.Note("watchdog.deaf", "The watchdog takes no ping.", text)
		}
		return
	case was == phase:
		return
	}
	d.set(func(s *State) { s.Phase = phase })
	d.told(was, phase, starved)
}

// told writes down what a ping changed.
func (d *Dog) told(was, phase string, starved bool) {
	s := d.State()
	switch {
	case d.deaf:
		d.deaf = false
		d.fit()
	case starved:
		d.opt.Note("watchdog.fed", "The watchdog is pinged again.", "the agent moves, and what it holds it holds rightly")
	case phase == Kept:
		d.opt.Note("watchdog.kept", fmt.Sprintf("The watchdog %s goes on running although nothing needs it.", s.Path), ErrNoWayOut.Error())
	case was == Idle || was == Unfit:
		d.opt.Note("watchdog.armed", fmt.Sprintf("The watchdog %s (%s) resets this box %v after the last ping.", s.Path, s.Identity, s.Granted), d.warning())
	}
}

// warning says what a running device cannot do.
func (d *Dog) warning() string {
	if !d.State().Magic {
		return "its driver stops when the agent dies (it has no magic close): only an agent that hangs is caught"
	}
	return ""
}

// starve lets the timer run out. One turn without a ping is nothing worth telling.
func (d *Dog) starve() {
	if d.hungry++; d.hungry != 2 {
		return
	}
	d.set(func(s *State) { s.Phase = Starving })
	d.opt.Note("watchdog.starving", fmt.Sprintf("The watchdog %s is not pinged any more: it resets this box within %v.", d.opt.Path, d.State().Granted),
		"a volume is held without a lease, or the agent does not move; the reset is called off when the volume was let go")
}

// rest stops the timer, or keeps it pinged where it cannot be stopped.
func (d *Dog) rest() {
	if err := d.dev.Disable(); errors.Is(err, ErrNoWayOut) {
		d.set(func(s *State) { s.NoWayOut = true })
		d.ping(Kept)
		return
	}
	err := d.dev.Close()
	d.dev, d.hungry = nil, 0
	if err != nil {
		d.unfit(fmt.Sprintf("%s could not be stopped, and may reset the box: %v", d.opt.Path, err))
		return
	}
	was := ""
	d.set(func(s *State) {
		if was = s.Phase; s.Problem == "" {
			s.Phase = Idle
		}
	})
	if was == Armed || was == Starving {
		d.opt.Note("watchdog.stopped", fmt.Sprintf("The watchdog %s is stopped.", d.opt.Path), "nothing is held here that the peer could take over")
	}
}
