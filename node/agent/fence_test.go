package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/failover"
	"gemel/node/fencing"
)

// fakeSwitch is a fencing device that works, refuses, or does nothing.
type fakeSwitch struct {
	mu      sync.Mutex
	power   fencing.Power
	refuses error
	dead    bool // accepts orders, and switches nothing
	offs    int
}

func (s *fakeSwitch) Name() string { return "fake" }

func (s *fakeSwitch) Status(context.Context) (fencing.Power, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.power, s.refuses
}

func (s *fakeSwitch) PowerOff(context.Context) error { return s.set(fencing.Off) }
func (s *fakeSwitch) PowerOn(context.Context) error  { return s.set(fencing.On) }

func (s *fakeSwitch) set(power fencing.Power) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if power == fencing.Off {
		s.offs++
	}
	if s.refuses == nil && !s.dead {
		s.power = power
	}
	return s.refuses
}

func (s *fakeSwitch) now() fencing.Power { s.mu.Lock(); defer s.mu.Unlock(); return s.power }

// kinds collects the kinds of what was noted.
type kinds struct {
	mu   sync.Mutex
	list []string
}

func (k *kinds) note(kind, _, _ string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, kind)
}

func (k *kinds) has(kind string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.list, kind)
}

func testFencer(s *fakeSwitch, required bool, k *kinds) *fencer {
	cfg := config.Fencing{Required: required, Wait: 3 * time.Second, Timeout: 10 * time.Second, Restore: true, Probe: time.Minute}
	return newFencer("server2", []fencing.Device{s}, cfg, func() time.Time { return time.Time{} }, nil, k.note)
}

func TestTakeOverAndFencing(t *testing.T) {
	for name, c := range map[string]struct {
		device   *fakeSwitch
		required bool
		alive    bool
		fails    bool
		noted    string
		offs     int
	}{
		"proved":                         {&fakeSwitch{power: fencing.On}, true, false, false, "fence.off", 1},
		"fails, but the vote suffices":   {&fakeSwitch{refuses: errors.New("no route")}, false, false, false, "fence.unproved", 1},
		"too slow, the vote suffices":    {&fakeSwitch{power: fencing.On, dead: true}, false, false, false, "fence.unproved", 1},
		"fails, and a proof is required": {&fakeSwitch{power: fencing.On, dead: true}, true, false, true, "fence.failed", 1},
		"the peer is alive":              {&fakeSwitch{power: fencing.On}, true, true, false, "", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := &kinds{}
			f := testFencer(c.device, c.required, k)
			err := (&course{fence: f}).powerOff(t.Context(), failover.Run{Step: failover.StepFence, PeerAlive: c.alive})
			synctest.Wait()
			if (err != nil) != c.fails || c.noted != "" && !k.has(c.noted) || c.device.offs != c.offs {
				t.Errorf("%s: %v, noted %v, %d orders", name, err, k.list, c.device.offs)
			}
			time.Sleep(time.Minute) // the shot that nobody waits for ends
			f.wg.Wait()
		})
	}
}

func TestWithoutADeviceThereIsNothingToDo(t *testing.T) {
	if err := (&course{}).powerOff(t.Context(), failover.Run{Step: failover.StepFence}); err != nil {
		t.Error(err)
	}
}

func TestAShotPeerIsSwitchedOnAgainButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := &fakeSwitch{power: fencing.On}, &kinds{}
		f := testFencer(s, true, k)
		heard := time.Time{}
		f.peer = fencing.NewPeer("server2", []fencing.Device{s}, fencing.Options{Heard: func() time.Time { return heard }, Ended: f.ended})
		for i := range restores + 1 {
			if err := f.out(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * restoreAfter)
			f.wg.Wait()
			if on := s.now() == fencing.On; on != (i < restores) {
				t.Errorf("after shot %d the peer is %s", i+1, s.now())
			}
			heard = time.Now() // it came back, and died again
			time.Sleep(time.Minute)
		}
		if st := f.status(); !strings.Contains(st.LeftOff, "4 times") || !k.has("fence.left-off") {
			t.Errorf("status does not say why it is off: %+v", st)
		}
		if err := f.on(t.Context()); err != nil || f.status().LeftOff != "" || s.now() != fencing.On {
			t.Errorf("by hand: %v, %+v", err, f.status())
		}
	})
}

func TestABrokenDeviceIsSaidBeforeItIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := &fakeSwitch{power: fencing.On, refuses: errors.New("no route")}, &kinds{}
		f := testFencer(s, false, k)
		f.fit = func(fit bool) { k.note(map[bool]string{true: "fit", false: "unfit"}[fit], "", "") }
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { f.run(ctx) })
		time.Sleep(2 * firstProbe)
		if k.has("fit") || k.has("unfit") {
			t.Errorf("a device that never was fit: %v", k.list)
		}
		if st := f.status(); len(st.Devices) != 1 || !strings.Contains(st.Devices[0].Problem, "no route") || !k.has("fence.unfit") {
			t.Errorf("%+v, noted %v", f.status(), k.list)
		}
		s.mu.Lock()
		s.refuses = nil
		s.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if st := f.status(); st.Devices[0].Problem != "" || !k.has("fence.fit") || !k.has("fit") {
			t.Errorf("%+v, noted %v", f.status(), k.list)
		}
		s.mu.Lock()
		s.refuses = errors.New("no route")
		s.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if !k.has("unfit") {
			t.Errorf("noted %v", k.list)
		}
		cancel()
		wg.Wait()
	})
}

func TestFenceOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSwitch{power: fencing.On}
		cfg := &config.Config{Node: "server1", Nodes: []config.Node{{Name: "server1"}, {Name: "server2"}}}
		a := &Agent{cfg: cfg, diary: &diary{node: "server1", log: slog.New(slog.NewTextHandler(io.Discard, nil))}}
		if _, err := a.fence(t.Context(), api.FenceOrder{Node: "server2", Do: api.FenceOff}); err == nil ||
			!strings.Contains(err.Error(), "no fencing device") {
			t.Errorf("without a device: %v", err)
		}
		a.fencer = testFencer(s, false, &kinds{})
		a.fencer.cfg.Restore = false
		for _, c := range []struct {
			node, do string
			want     fencing.Power
			fails    bool
		}{{"server1", api.FenceOff, fencing.On, true}, {"server2", "spin", fencing.On, true},
			{"server2", api.FenceOff, fencing.Off, false}, {"server2", api.FenceOn, fencing.On, false},
			{"server2", api.FenceProbe, fencing.On, false}} {
			st, err := a.fence(t.Context(), api.FenceOrder{Node: c.node, Do: c.do})
			if (err != nil) != c.fails || s.now() != c.want || err == nil && st.Devices[0].Power != string(c.want) {
				t.Errorf("%s %s: %v, %s, %+v", c.do, c.node, err, s.now(), st)
			}
		}
		s.mu.Lock()
		s.dead = true
		s.mu.Unlock()
		_, err := a.fence(t.Context(), api.FenceOrder{Node: "server2", Do: api.FenceOff})
		if st := a.fencer.status(); !errors.Is(err, &api.Error{Code: api.CodeFailed}) || st.Devices[0].Problem == "" {
			t.Errorf("a device that does nothing: %v; status %+v", err, st)
		}
	})
}

func TestFenceDevicesFromTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	password := dir + "/password"
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	devices, err := fenceDevices(&config.Node{Name: "server2", Fence: []config.FenceDevice{
		{Driver: config.FenceRedfish, Address: "https://192.0.2.7", User: "admin", PasswordFile: password},
		{Driver: config.FenceIPMI, Address: "192.0.2.7", Port: 623, User: "admin", PasswordFile: password},
		{Driver: config.FenceCommand, Command: []string{"/usr/local/sbin/outlet", "3"}}}})
	if err != nil || len(devices) != 3 {
		t.Fatalf("%v, %v", devices, err)
	}
	for _, d := range []config.FenceDevice{{Driver: config.FenceRedfish, Address: "https://x", PasswordFile: dir + "/none"},
		{Driver: config.FenceRedfish, Address: "https://x", PasswordFile: password, CA: dir + "/none"},
		{Driver: "apc", PasswordFile: password}} {
		if _, err := fenceDevices(&config.Node{Name: "server2", Fence: []config.FenceDevice{d}}); err == nil {
			t.Errorf("%+v is taken", d)
		}
	}
}
