package fencing

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestANodeThatWasJustSwitchedOffIsNoLie: its last heartbeats are a moment old.
func TestANodeThatWasJustSwitchedOffIsNoLie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, heard := &device{name: "a", power: On}, time.Now()
		p := NewPeer("server2", []Device{d}, Options{Heard: func() time.Time { return heard }})
		if _, err := p.Off(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h := p.Probe(t.Context()); h[0].Problem != "" || h[0].Power != Off {
			t.Errorf("the device is blamed: %+v", h)
		}
	})
}

// TestALiarProvesNothing: what it says of a silent node nobody can verify. Only a node
// that fell silent at its order clears it.
func TestALiarProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, silent := &device{name: "a", power: Off, lies: true, ordered: 1}, false
		last := time.Now()
		p := NewPeer("server2", []Device{d}, Options{Heard: func() time.Time {
			if !silent && (d.lies || d.now() == On) {
				last = time.Now()
			}
			return last
		}})
		if h := p.Probe(t.Context()); !strings.Contains(h[0].Problem, "lies") {
			t.Fatalf("not caught: %+v", h)
		}
		silent = true
		time.Sleep(10 * time.Second)
		if proof, err := p.Off(t.Context()); !errors.Is(err, ErrDistrusted) || proof.Verified() || d.ordered != 2 {
			t.Errorf("%+v, %v after %d orders; want an order and no proof", proof, err, d.ordered)
		}
		d.set(false, On)
		silent = false
		if h := p.Probe(t.Context()); !strings.Contains(h[0].Problem, "was caught lying") {
			t.Errorf("forgiven without a test: %+v", h)
		}
		if proof, err := p.Off(t.Context()); err != nil || !proof.Verified() {
			t.Errorf("a device that was mended: %+v, %v", proof, err)
		}
		if h := p.Probe(t.Context()); h[0].Problem != "" {
			t.Errorf("a device that switched a node off that was heard: %+v", h)
		}
	})
}

// TestASilentNodeThatWasNeverOff: the lie was believed, since nobody could see through
// it; the node's own heartbeats tell of it later.
func TestASilentNodeThatWasNeverOff(t *testing.T) {
	for name, c := range map[string]struct {
		start string
		lied  bool
	}{"the same start": {"1", true}, "a new start": {"2", false}, "nobody tells": {"", false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, heard, start := &device{name: "a", power: On, lies: true}, time.Now(), "1"
				if c.start == "" {
					start = ""
				}
				p := NewPeer("server2", []Device{d}, Options{Heard: func() time.Time { return heard }, Start: func() string { return start }})
				time.Sleep(10 * time.Second)
				if _, err := p.Off(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				d.set(false, On)
				heard, start = time.Now(), c.start
				if h := p.Probe(t.Context()); (h[0].Problem != "") != c.lied {
					t.Errorf("%+v, want caught: %v", h, c.lied)
				}
			})
		})
	}
}

// TestAnOrderThatWasNotCarriedOutIsRemembered: a look at the state would not show it.
func TestAnOrderThatWasNotCarriedOutIsRemembered(t *testing.T) {
	for name, c := range map[string]struct {
		device *device
		says   string
	}{
		"refused":            {&device{name: "a", power: On, refuses: errors.New("out of order")}, "out of order"},
		"accepted, not done": {&device{name: "a", power: On, drains: time.Hour}, "accepted"},
		"no answer at all":   {&device{name: "a", power: On, mute: errors.New("no route"), refuses: errors.New("no route")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPeer("server2", []Device{c.device}, Options{})
				if _, err := p.Off(t.Context()); err == nil {
					t.Fatal("proved")
				}
				c.device.mute = nil
				if h := p.Probe(t.Context()); (h[0].Problem == "") != (c.says == "") || !strings.Contains(h[0].Problem, c.says) {
					t.Errorf("%+v", h)
				}
				c.device.refuses, c.device.drains, c.device.offAt = nil, 0, time.Time{}
				if _, err := p.Off(t.Context()); err != nil {
					t.Fatal(err)
				}
				if h := p.Probe(t.Context()); h[0].Problem != "" {
					t.Errorf("it did what it was told since: %+v", h)
				}
			})
		})
	}
}

func (d *device) now() Power { d.mu.Lock(); defer d.mu.Unlock(); return d.power }

// set mends or breaks the device, and gives the power a state.
func (d *device) set(lies bool, power Power) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lies, d.power, d.offAt = lies, power, time.Time{}
}
