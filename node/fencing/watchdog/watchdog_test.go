package watchdog

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// board is a fake watchdog and the box that it resets.
type board struct {
	info     Info
	min      int // shortest timeout that it grants
	fixed    int // it grants nothing else
	noWayOut bool
	missing  error // of opening
	mute     error // of reading the timeout
	blank    error // of telling what it is
	deaf     error // of pings
	crude    bool  // knows no order to stop
	stuck    error // of closing

	timeout int
	running bool
	open    bool
	opened  int
	pings   int
	left    time.Duration // until the reset
	reset   bool
	found   Found
	absent  error // of looking

	notes []string
}

func (b *board) Info() (Info, error) { return b.info, b.blank }
func (b *board) SetTimeout(s int) error {
	if b.fixed != 0 {
		return unix.EOPNOTSUPP
	}
	b.timeout = max(s, b.min)
	b.left = b.span()
	return nil
}
func (b *board) span() time.Duration   { return time.Duration(b.timeout) * time.Second }
func (b *board) Timeout() (int, error) { return b.timeout, b.mute }
func (b *board) Ping() error {
	if b.deaf != nil {
		return b.deaf
	}
	b.pings++
	b.left = b.span()
	return nil
}
func (b *board) Disable() error {
	switch {
	case b.crude:
		return unix.EOPNOTSUPP
	case b.noWayOut:
		return ErrNoWayOut
	}
	b.running = false
	return nil
}
func (b *board) Close() error {
	if b.stuck == nil {
		b.running = b.noWayOut
	}
	b.open = false
	return b.stuck
}

func (b *board) dog() *Dog {
	return New(Options{Path: "/dev/watchdog", Timeout: 2 * time.Second, Longest: 3 * time.Second,
		Open: func(string) (Device, error) {
			if b.missing != nil {
				return nil, b.missing
			}
			b.open, b.running = true, true
			b.opened++
			if b.timeout = 60; b.fixed != 0 {
				b.timeout = b.fixed
			}
			b.left = b.span()
			return b, nil
		},
		Look: func(string) (Found, error) { return b.found, b.absent },
		Note: func(kind, _, _ string) { b.notes = append(b.notes, kind) }})
}

// play gives one word per 250 ms and lets the timer run; it returns the time in the end.
func (b *board) play(d *Dog, now time.Duration, words ...Word) time.Duration {
	for _, w := range words {
		d.Turn(now, w)
		now += 250 * time.Millisecond
		if b.left -= 250 * time.Millisecond; b.running && b.left <= 0 {
			b.reset = true
		}
	}
	return now
}

func many(w Word, n int) []Word { return slices.Repeat([]Word{w}, n) }

func TestTheTimerRunsOnlyWhileSomethingIsHeld(t *testing.T) {
	b := &board{info: Info{Identity: "test", Magic: true}}
	d := b.dog()
	d.Begin(0)
	now := b.play(d, 0, Rest)
	if b.running || b.open || b.opened != 1 || d.State().Phase != Idle || d.State().Granted != 2*time.Second {
		t.Fatalf("after the first look: %+v, %+v", b, d.State())
	}
	now = b.play(d, now, many(Hold, 40)...)
	if !b.running || b.reset || b.pings != 40 || d.State().Phase != Armed {
		t.Fatalf("while it holds: %+v, %+v", b, d.State())
	}
	b.play(d, now, Rest, Rest)
	if b.running || b.open || d.State().Phase != Idle {
		t.Errorf("afterwards: %+v, %+v", b, d.State())
	}
	if want := []string{"watchdog.armed", "watchdog.stopped"}; !slices.Equal(b.notes, want) {
		t.Errorf("noted %v", b.notes)
	}
}

func TestTheBoxIsResetWhen(t *testing.T) {
	for name, c := range map[string]struct {
		words []Word
		reset bool
		notes string
	}{
		"it holds what it must not":            {append(many(Hold, 4), many(Over, 8)...), true, "watchdog.starving"},
		"it holds it, and never held rightly":  {many(Over, 8), true, "watchdog.starving"},
		"nobody takes a turn":                  {many(Hold, 4), false, ""},
		"it lets go in the last moment":        {append(append(many(Hold, 4), many(Over, 6)...), Rest), false, "watchdog.stopped"},
		"it holds rightly again":               {append(append(many(Hold, 4), many(Over, 6)...), many(Hold, 9)...), false, "watchdog.fed"},
		"one turn late":                        {append(append(many(Hold, 4), Over), many(Hold, 9)...), false, ""},
		"it does not know, and nothing runs":   {many(Stay, 20), false, ""},
		"it does not know, and the timer runs": {append(many(Hold, 2), many(Stay, 20)...), false, ""},
	} {
		b := &board{info: Info{Magic: true}}
		d := b.dog()
		b.play(d, 0, c.words...)
		if b.reset != c.reset {
			t.Errorf("%s: reset %v", name, b.reset)
		}
		for _, odd := range []string{"watchdog.starving", "watchdog.stopped", "watchdog.fed"} {
			if want := odd == c.notes; slices.Contains(b.notes, odd) != want && (want || c.notes == "") {
				t.Errorf("%s: noted %v", name, b.notes)
			}
		}
	}
}

func TestWhatIsUnfitIsRefusedAndStopped(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		board board
		says  string
	}{
		"grants more than the lease allows": {board{min: 60}, "grants a timeout of 1m0s where 2s was asked, and the lease allows 3s at most"},
		"has one timeout only":              {board{fixed: 30}, "refused to set it"},
		"does not tell its timeout":         {board{mute: broken}, "does not tell its timeout"},
		"does not tell what it is":          {board{blank: broken}, "does not say what it is"},
		"is missing":                        {board{missing: unix.ENOENT}, "modprobe softdog"},
		"is another program's":              {board{missing: unix.EBUSY}, "RuntimeWatchdogSec"},
		"has no driver":                     {board{missing: unix.ENODEV}, "no driver behind it"},
		"is forbidden":                      {board{missing: unix.EPERM}, "must be root"},
		"cannot be closed":                  {board{min: 60, stuck: broken, crude: true}, "could not be stopped"},
	} {
		b := c.board
		d := b.dog()
		now := b.play(d, 0, Hold, Hold)
		if s := d.State(); s.Phase != Unfit || !strings.Contains(s.Problem, c.says) {
			t.Errorf("%s: %+v does not say %q", name, s, c.says)
		}
		if b.open || b.running && b.stuck == nil || b.opened > 1 || !slices.Contains(b.notes, "watchdog.unfit") {
			t.Errorf("%s: %+v", name, b)
		}
		b = board{notes: b.notes} // somebody mends it
		b.play(d, now+openAgain, Hold)
		if s := d.State(); s.Problem != "" || s.Phase != Armed || !slices.Contains(b.notes, "watchdog.fit") {
			t.Errorf("%s: mended, %+v", name, s)
		}
	}
}

func TestAnotherTimeoutThatTheLeaseAllowsIsTaken(t *testing.T) {
	b := &board{min: 3}
	d := b.dog()
	b.play(d, 0, Hold)
	if s := d.State(); s.Phase != Armed || s.Asked != 2*time.Second || s.Granted != 3*time.Second {
		t.Errorf("%+v", s)
	}
}

func TestADeviceThatCannotBeStopped(t *testing.T) {
	b := &board{noWayOut: true, found: Found{NoWayOut: true, Identity: "test"}}
	d := b.dog()
	d.Begin(0)
	now := b.play(d, 0, Rest)
	if b.opened != 0 || !d.State().NoWayOut {
		t.Fatalf("it was opened before it was needed, for ever: %+v", b)
	}
	now = b.play(d, now, append(many(Hold, 10), many(Rest, 40)...)...)
	if b.reset || d.State().Phase != Kept || !slices.Contains(b.notes, "watchdog.kept") {
		t.Errorf("it is not kept alive: %+v, %+v", b, d.State())
	}
	now = b.play(d, now, many(Hold, 2)...)
	if d.State().Phase != Armed {
		t.Errorf("%+v", d.State())
	}
	d.End(now, Rest)
	if !b.running || !slices.Contains(b.notes, "watchdog.left") {
		t.Errorf("the end: %+v", b)
	}
}

// TestAnUnfitOneThatCannotBeStoppedIsPinged: it would reset the box for nothing.
func TestAnUnfitOneThatCannotBeStoppedIsPinged(t *testing.T) {
	b := &board{noWayOut: true, min: 60}
	d := b.dog()
	b.play(d, 0, append(many(Hold, 3), many(Rest, 400)...)...)
	if s := d.State(); b.reset || b.opened != 1 || s.Problem == "" || s.Phase != Kept {
		t.Errorf("%+v, %+v", b, s)
	}
}

func TestTheNextLifeTakesTheTimerOver(t *testing.T) {
	b := &board{found: Found{NoWayOut: true, Active: true}, noWayOut: true}
	d := b.dog()
	d.Begin(0)
	b.play(d, 0, append(many(Stay, 20), Rest)...)
	if b.reset || b.opened != 1 {
		t.Errorf("%+v", b)
	}
}

func TestTheEndStopsTheTimerOnlyWhenNothingIsHeld(t *testing.T) {
	for _, c := range []struct {
		word    Word
		crude   bool
		running bool
	}{{Rest, false, false}, {Rest, true, false}, {Over, false, true}, {Hold, false, true}} {
		b := &board{crude: c.crude}
		d := b.dog()
		now := b.play(d, 0, Hold)
		d.End(now, c.word)
		if b.running != c.running || slices.Contains(b.notes, "watchdog.left") != c.running {
			t.Errorf("%+v: %+v", c, b)
		}
	}
}

func TestADeafDeviceIsTold(t *testing.T) {
	b := &board{}
	d := b.dog()
	now := b.play(d, 0, Hold)
	b.deaf = errors.New("no answer")
	now = b.play(d, now, Hold, Hold)
	if s := d.State(); s.Phase != Starving || !strings.Contains(s.Problem, "no answer") {
		t.Errorf("%+v", s)
	}
	b.deaf = nil
	b.play(d, now, Hold)
	if s := d.State(); s.Phase != Armed || s.Problem != "" {
		t.Errorf("%+v", s)
	}
}

func TestALastResetIsTold(t *testing.T) {
	b := &board{info: Info{BitBefore: true}}
	b.dog().Begin(0)
	if !slices.Contains(b.notes, "watchdog.bit") {
		t.Errorf("noted %v", b.notes)
	}
}

func TestLookWithoutOpening(t *testing.T) {
	class := t.TempDir()
	put := func(attribute, value string) {
		t.Helper()
		dir := filepath.Join(class, "watchdog0")
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, attribute), []byte(value+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := lookIn(class, filepath.Join(class, "watchdog")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("missing: %v", err)
	}
	put("identity", "Software Watchdog")
	put("state", "active")
	put("nowayout", "1")
	if _, err := lookIn(class, filepath.Join(class, "watchdog0")); !strings.Contains(Diagnose("/dev/x", err), "is no device") {
		t.Errorf("a directory: %v", err)
	}
	device := filepath.Join(t.TempDir(), "watchdog")
	if err := os.Symlink(os.DevNull, device); err != nil {
		t.Fatal(err)
	}
	f, err := lookIn(class, device)
	if want := (Found{Identity: "Software Watchdog", Active: true, NoWayOut: true}); f != want || err != nil {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestNumbers compares what this package asks of the kernel with the kernel's rule for such numbers, as amd64 and arm64
// have it: direction, size, letter, number.
func TestNumbers(t *testing.T) {
	const read, write = 2, 1
	number := func(direction, size, n uint) uint { return direction<<30 | size<<16 | 'W'<<8 | n }
	for name, c := range map[string][2]uint{
		"GETSUPPORT":    {unix.WDIOC_GETSUPPORT, number(read, uint(unsafe.Sizeof(unix.WatchdogInfo{})), 0)},
		"GETBOOTSTATUS": {unix.WDIOC_GETBOOTSTATUS, number(read, 4, 2)},
		"SETOPTIONS":    {unix.WDIOC_SETOPTIONS, number(read, 4, 4)},
		"KEEPALIVE":     {unix.WDIOC_KEEPALIVE, number(read, 4, 5)},
		"SETTIMEOUT":    {unix.WDIOC_SETTIMEOUT, number(read|write, 4, 6)},
		"GETTIMEOUT":    {unix.WDIOC_GETTIMEOUT, number(read, 4, 7)},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %#x, want %#x", name, c[0], c[1])
		}
	}
}

// TestSomethingElseIsNoWatchdog opens a device that knows no watchdog's questions.
func TestSomethingElseIsNoWatchdog(t *testing.T) {
	d := New(Options{Path: os.DevNull, Timeout: time.Second, Longest: time.Second, Note: func(string, string, string) {}})
	d.Turn(0, Hold)
	if s := d.State(); s.Phase != Unfit || !strings.Contains(s.Problem, "it is no watchdog") {
		t.Errorf("%+v", s)
	}
}
