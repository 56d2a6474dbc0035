package fencing

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestNoneProvesNothing(t *testing.T) {
	var d Driver = None{}
	proof, err := d.Off(t.Context())
	if !errors.Is(err, ErrNone) || proof.Verified() {
		t.Errorf("off: %+v, %v; want no proof and ErrNone", proof, err)
	}
	if p, err := d.Status(t.Context()); p != Unknown || err != nil {
		t.Errorf("status: %s, %v; want unknown", p, err)
	}
}

// device is a switch that can fail, lie and be slow.
type device struct {
	name     string
	mu       sync.Mutex
	power    Power
	refuses  error         // of orders
	mute     error         // of questions
	lies     bool          // says off once it was ordered, and switches nothing
	drains   time.Duration // from the order until it is off
	hangs    bool          // answers nothing until ctx ends
	ordered  int
	offAt    time.Time
	restored int
}

func (d *device) Name() string { return d.name }

func (d *device) Status(ctx context.Context) (Power, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hangs {
		d.mu.Unlock()
		<-ctx.Done()
		d.mu.Lock()
		return Unknown, ctx.Err()
	}
	switch {
	case d.mute != nil:
		return Unknown, d.mute
	case d.lies && d.ordered > 0:
		return Off, nil
	case !d.offAt.IsZero() && !time.Now().Before(d.offAt):
		d.power = Off
	}
	return d.power, nil
}

func (d *device) PowerOff(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ordered++
	if d.refuses == nil && !d.lies {
		d.offAt = time.Now().Add(d.drains)
	}
	return d.refuses
}

func (d *device) PowerOn(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuses == nil {
		d.power, d.offAt = On, time.Time{}
		d.restored++
	}
	return d.refuses
}

func TestOffTakesOnlyAReadStateForAProof(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		devices []Device
		by      string // empty: no proof
		says    string
	}{
		"off at once":                       {[]Device{&device{name: "a", power: On}}, "a", ""},
		"off after a time":                  {[]Device{&device{name: "a", power: On, drains: 7 * time.Second}}, "a", ""},
		"off before, and refuses the order": {[]Device{&device{name: "a", power: Off, refuses: broken}}, "a", ""},
		"order accepted, nothing happens":   {[]Device{&device{name: "a", power: On, drains: time.Hour}}, "", `still "on"`},
		"order accepted, state cannot be read": {[]Device{&device{name: "a", power: On, mute: broken}}, "",
			"the state cannot be read"},
		"never says what it is":     {[]Device{&device{name: "a", power: Unknown, drains: time.Hour}}, "", `still "unknown"`},
		"hangs, the second is well": {[]Device{&device{name: "a", hangs: true}, &device{name: "b", power: On}}, "b", ""},
		"none":                      {nil, "", ErrNone.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				proof, err := NewPeer("server2", c.devices, Options{}).Off(t.Context())
				if proof.Driver != c.by || proof.Verified() != (c.by != "") || (err == nil) != (c.by != "") {
					t.Errorf("%+v, %v; want a proof by %q", proof, err, c.by)
				}
				if err != nil && !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v does not say %q", err, c.says)
				}
			})
		})
	}
}

func TestANodeThatSpeaksIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{name: "a", power: On, lies: true}
		p := NewPeer("server2", []Device{d}, Options{Heard: time.Now})
		if proof, err := p.Off(t.Context()); !errors.Is(err, ErrAlive) || proof.Verified() {
			t.Errorf("%+v, %v", proof, err)
		}
		if h := p.Probe(t.Context()); !strings.Contains(h[0].Problem, "lies") {
			t.Errorf("status does not say that the device lies: %+v", h)
		}
	})
}

func TestALateHeartbeatOnlyDelaysTheProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := time.Now().Add(600 * time.Millisecond)
		p := NewPeer("server2", []Device{&device{name: "a", power: On}}, Options{Heard: func() time.Time {
			if time.Now().Before(late) {
				return time.Now()
			}
			return late
		}})
		if proof, err := p.Off(t.Context()); err != nil || !proof.At.After(late) {
			t.Errorf("%+v, %v", proof, err)
		}
	})
}

func TestSeveralVolumesShareOneShot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{name: "a", power: On, drains: 3 * time.Second}
		var heard time.Time
		p := NewPeer("server2", []Device{d}, Options{Heard: func() time.Time { return heard }})
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if proof, err := p.Off(t.Context()); err != nil || !proof.Verified() {
					t.Errorf("%+v, %v", proof, err)
				}
			})
		}
		wg.Wait()
		if _, err := p.Off(t.Context()); err != nil || d.ordered != 1 {
			t.Errorf("%d shots, %v; want one", d.ordered, err)
		}
		time.Sleep(time.Second)
		heard = time.Now() // it is back: the proof is void
		if _, err := p.Off(t.Context()); err != nil || d.ordered != 2 {
			t.Errorf("%d shots after it was heard again, %v; want another one", d.ordered, err)
		}
		if err := p.On(t.Context()); err != nil || d.restored != 1 {
			t.Errorf("on: %v", err)
		}
		if _, err := p.Off(t.Context()); err != nil || d.ordered != 3 {
			t.Errorf("%d shots after it was switched on, %v; want a third", d.ordered, err)
		}
	})
}

// TestAnOldProofIsNone: who was off a while ago may have been switched on by hand since, and be cut off.
func TestAnOldProofIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{name: "a", power: On}
		p := NewPeer("server2", []Device{d}, Options{})
		for want := 1; want <= 2; want++ {
			if proof, err := p.Off(t.Context()); err != nil || !proof.Verified() || d.ordered != want {
				t.Errorf("%+v, %v, %d orders; want %d", proof, err, d.ordered, want)
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestCloseEndsAShot: the agent that leaves waits for no device.
func TestCloseEndsAShot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPeer("server2", []Device{&device{name: "a", hangs: true}}, Options{})
		begun, shot := time.Now(), make(chan error)
		go func() {
			_, err := p.Off(context.Background())
			shot <- err
		}()
		synctest.Wait()
		p.Close()
		if err := <-shot; err == nil || time.Since(begun) != 0 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		if _, err := p.Off(t.Context()); err == nil {
			t.Error("a shot after Close")
		}
	})
}

func TestProbeNamesADeviceThatWouldFail(t *testing.T) {
	for name, c := range map[string]struct {
		device *device
		says   string
	}{
		"fit":         {&device{power: On}, ""},
		"mute":        {&device{mute: errors.New("no route")}, "does not answer: no route"},
		"ignorant":    {&device{power: Unknown}, "cannot tell"},
		"says off":    {&device{power: Off}, "belongs to another box, or lies"},
		"is too slow": {&device{hangs: true}, "does not answer"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := NewPeer("server2", []Device{c.device}, Options{Heard: time.Now})
			h := p.Probe(t.Context())
			if len(h) != 1 || (h[0].Problem == "") != (c.says == "") || !strings.Contains(h[0].Problem, c.says) {
				t.Errorf("%s: %+v", name, h)
			}
		})
	}
}
