package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/config"
	"gemel/node/failover"
	"gemel/node/fencing"
	"gemel/node/identity"
)

// fakeReboot is a box that counts how often it would have rebooted.
type fakeReboot struct {
	mu     sync.Mutex
	unable error
	done   int
}

func (f *fakeReboot) Able() error { f.mu.Lock(); defer f.mu.Unlock(); return f.unable }
func (f *fakeReboot) Do(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done++
	return nil
}
func (f *fakeReboot) String() string { return "a fake" }
func (f *fakeReboot) times() int     { f.mu.Lock(); defer f.mu.Unlock(); return f.done }

// obeys gives the stage's node, server1, a peer-reboot of its own.
func (s *stage) obeys(t *testing.T, f *fakeReboot) {
	t.Helper()
	cfg := stageConfig()
	cfg.StateDir = t.TempDir()
	cfg.Nodes[0].Fence = []config.FenceDevice{{Driver: config.FencePeerReboot}}
	s.agent.obedient = newObedient(cfg, f, func(kind, text, reason string) { s.agent.diary.note("", kind, text, reason) })
}

func TestWhatIsObeyed(t *testing.T) {
	order := api.RebootOrder{Boot: "boot1", Volume: "data", Epoch: 9, Why: "a test"}
	for name, c := range map[string]struct {
		change func(*stage, *fakeReboot, *api.RebootOrder)
		says   string
		done   int
	}{
		"of a newer reign":       {func(*stage, *fakeReboot, *api.RebootOrder) {}, "", 1},
		"over a Primary of old":  {func(s *stage, _ *fakeReboot, _ *api.RebootOrder) { s.reigns(7) }, "", 1},
		"over a newer Primary":   {func(s *stage, _ *fakeReboot, _ *api.RebootOrder) { s.reigns(10) }, "epoch 9 is not newer", 0},
		"over the same":          {func(s *stage, _ *fakeReboot, _ *api.RebootOrder) { s.reigns(9) }, "epoch 9 is not newer", 0},
		"by hand over a Primary": {func(s *stage, _ *fakeReboot, o *api.RebootOrder) { s.reigns(10); o.ByHand = true }, "", 1},
		"to an earlier start":    {func(_ *stage, _ *fakeReboot, o *api.RebootOrder) { o.Boot = "boot0" }, "an earlier start", 0},
		"only a look":            {func(s *stage, _ *fakeReboot, o *api.RebootOrder) { s.reigns(10); o.Try = true }, "", 0},
		"of an unknown volume":   {func(_ *stage, _ *fakeReboot, o *api.RebootOrder) { o.Volume = "moon" }, "no volume", 0},
		"of who cannot":          {func(_ *stage, f *fakeReboot, _ *api.RebootOrder) { f.unable = errors.New("only root") }, "only root", 0},
		"of who must not":        {func(s *stage, _ *fakeReboot, _ *api.RebootOrder) { s.agent.obedient = nil }, "has no peer-reboot", 0},
		"in maintenance": {func(s *stage, _ *fakeReboot, _ *api.RebootOrder) {
			s.agent.modes.kept.Maintenance.On = true
		}, "maintenance is on", 0},
		"in maintenance by hand": {func(s *stage, _ *fakeReboot, o *api.RebootOrder) {
			s.agent.modes.kept.Maintenance.On, o.ByHand = true, true
		}, "maintenance is on", 0},
		"without a memory": {func(s *stage, _ *fakeReboot, _ *api.RebootOrder) {
			s.agent.obedient.path = filepath.Join(filepath.Dir(s.agent.obedient.path), "missing", "file")
		}, "cannot be written down", 0},
		"with a broken memory": {func(s *stage, _ *fakeReboot, _ *api.RebootOrder) {
			_ = os.WriteFile(s.agent.obedient.path, []byte("{"), 0o600)
		}, "cannot be read", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, f, o := newStage(t, nil), &fakeReboot{}, order
			s.obeys(t, f)
			b := s.agent.obedient
			c.change(s, f, &o)
			err := s.agent.takeReboot(o)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); b.run(ctx) }()
			until(t, "the box reboots", func() bool { return f.times() >= c.done })
			cancel()
			<-done
			if f.times() != c.done {
				t.Errorf("%d reboots, want %d", f.times(), c.done)
			}
		})
	}
}

// reigns makes the stage's node Primary of an epoch.
func (s *stage) reigns(epoch uint64) {
	s.owner.view.Store(&failover.View{Role: failover.RoleServing, Epoch: arbiter.Epoch(epoch)})
}

func TestABoxThatRebootsTooOftenStaysUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeReboot{}
		b := &obedient{way: f, path: filepath.Join(t.TempDir(), rebootsFile), note: func(string, string, string) {}, due: make(chan struct{}, 1)}
		for range restores {
			b = &obedient{way: f, path: b.path, note: b.note, due: make(chan struct{}, 1)} // the next life
			if err := errors.Join(b.promise("a test", false), b.promise("the same, over another link", false)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
		}
		b = &obedient{way: f, path: b.path, note: b.note, due: make(chan struct{}, 1)}
		if err := b.promise("a test", false); err == nil || !strings.Contains(err.Error(), "3 times within") {
			t.Errorf("once more: %v", err)
		}
		time.Sleep(time.Hour)
		if err := b.promise("a test", false); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// asks gives the stage's node a peer that reboots itself when asked.
func (s *stage) asks() *asker {
	cfg := stageConfig()
	cfg.Nodes[1].Fence = []config.FenceDevice{{Driver: config.FencePeerReboot}}
	s.agent.asker = newAsker(cfg, s.agent.links, func() string { return "peer1" }, s.agent.modes.mode, &repeats{},
		func(kind, text, reason string) { s.agent.diary.note("", kind, text, reason) })
	return s.agent.asker
}

func stepFence(alive bool) failover.Run {
	return failover.Run{Step: failover.StepFence, PeerAlive: alive, Epoch: 9}
}

// TestThePeersWordChangesNothing: with it and without it, a take-over ends as its devices want it.
func TestThePeersWordChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		says   error
		device *fakeSwitch
		needs  bool
		alive  bool
		fails  bool
		asked  int
	}{
		"it says yes, no device":                    {nil, nil, false, false, false, 1},
		"it says no, no device":                     {&api.Error{Code: api.CodeRefused, Message: "no"}, nil, false, false, false, 1},
		"it says yes, the device fails":             {nil, &fakeSwitch{refuses: errors.New("no route")}, false, false, false, 1},
		"it says yes, and a proof is wanted":        {nil, &fakeSwitch{refuses: errors.New("no route")}, true, false, true, 1},
		"it says yes, and the proof comes":          {nil, &fakeSwitch{power: fencing.On}, true, false, false, 1},
		"it is heard, so it lets go without a word": {nil, nil, false, true, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil)
			s.private.err, s.lan.err = c.says, c.says
			course := &course{vol: config.Volume{Name: "data"}, ask: s.asks()}
			if c.device != nil {
				course.fence = testFencer(c.device, c.needs, &kinds{})
				course.fence.cfg.Wait, course.fence.cfg.Restore = time.Millisecond, false
				course.fence.peer = fencing.NewPeer("server2", []fencing.Device{c.device},
					fencing.Options{DeviceTimeout: 50 * time.Millisecond, Poll: time.Millisecond, Ended: course.fence.ended})
			}
			err := course.powerOff(t.Context(), stepFence(c.alive))
			course.wg.Wait()
			if course.fence != nil {
				course.fence.peer.Close()
			}
			if (err != nil) != c.fails {
				t.Errorf("%v", err)
			}
			noted := map[error]string{nil: "peer-reboot.asked"}[c.says]
			if noted == "" {
				noted = "peer-reboot.refused"
			}
			if s.memory.has(noted) == c.alive {
				t.Errorf("%s noted: %v", noted, !c.alive)
			}
			got := len(s.private.reboots) + len(s.lan.reboots)
			if got < c.asked || c.asked == 0 && got > 0 {
				t.Errorf("asked %d times", got)
			}
			if got > 0 {
				o := <-s.private.reboots
				if o.Boot != "peer1" || o.Volume != "data" || o.Epoch != 9 || o.Try || o.ByHand {
					t.Errorf("order %+v", o)
				}
			}
		})
	}
}

func TestThePeerIsAskedWithinReason(t *testing.T) {
	s := newStage(t, nil)
	r := s.asks()
	asked := func() int { return len(s.private.reboots) }
	for range 3 { // three volumes of one take-over
		r.away(t.Context(), "data", 9)
	}
	if asked() != 1 {
		t.Errorf("%d requests for one take-over", asked())
	}
	for range restores {
		r.tries.add(time.Now(), true)
	}
	r.last = time.Time{}
	if r.away(t.Context(), "data", 11); asked() != 1 || !strings.Contains(r.status().Answer, "is not asked any more") {
		t.Errorf("%d requests, %+v", asked(), r.status())
	}
	if err := r.byHand(t.Context()); err != nil || asked() != 2 {
		t.Errorf("by hand: %v, %d requests", err, asked())
	}
	s.agent.modes.kept.Maintenance.On = true
	if err := r.byHand(t.Context()); err == nil || !strings.Contains(err.Error(), "maintenance") {
		t.Errorf("in maintenance: %v", err)
	}
	s.agent.modes.kept.Maintenance.On = false
	r.start = func() string { return "" }
	if err := r.byHand(t.Context()); err == nil || !strings.Contains(err.Error(), "not heard since") {
		t.Errorf("nobody to ask: %v", err)
	}
}

func TestAShotAndARequestAreOneFailure(t *testing.T) {
	r, at := &repeats{}, time.Now()
	for i, c := range []struct {
		after time.Duration
		asked bool
		want  int
	}{{0, true, 1}, {3 * time.Second, false, 1}, {10 * time.Minute, false, 2}, {10 * time.Minute, true, 2}, {20 * time.Minute, true, 3},
		{2 * time.Hour, false, 1}} {
		if got := r.add(at.Add(c.after), c.asked); got != c.want {
			t.Errorf("%d: %d, want %d", i, got, c.want)
		}
	}
}

func TestOrdersOnAPeerThatIsOnlyAsked(t *testing.T) {
	s := newStage(t, nil)
	s.asks()
	for do, says := range map[string]string{api.FenceProbe: "", api.FenceReboots: "", api.FenceOff: "no fencing device", api.FenceOn: "no fencing device"} {
		got, err := s.agent.fence(t.Context(), api.FenceOrder{Node: "server2", Do: do})
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) || err == nil && got.Reboot == nil {
			t.Errorf("%s: %+v, %v", do, got, err)
		}
	}
	s.agent.asker = nil
	if _, err := s.agent.fence(t.Context(), api.FenceOrder{Node: "server2", Do: api.FenceReboots}); err == nil || !strings.Contains(err.Error(), "no peer-reboot") {
		t.Error(err)
	}
}

// TestOnlyThePeerIsObeyed asks over the API's handler, with the names of others.
func TestOnlyThePeerIsObeyed(t *testing.T) {
	s, f := newStage(t, nil), &fakeReboot{}
	s.obeys(t, f)
	h := handler{a: s.agent}
	for _, name := range []string{"server1", "witness", "admin", ""} {
		if err := h.Reboot(t.Context(), api.Caller{Peer: identity.Peer{Name: name}}, api.RebootOrder{Boot: "boot1", ByHand: true}); err == nil {
			t.Errorf("%q was obeyed", name)
		}
	}
	if err := h.Reboot(t.Context(), api.Caller{Peer: identity.Peer{Name: "server2"}}, api.RebootOrder{Boot: "boot1", ByHand: true}); err != nil {
		t.Error(err)
	}
}

// TestAPeersWordIsNoDevice: nothing that decides by proofs knows of it.
func TestAPeersWordIsNoDevice(t *testing.T) {
	cfg := stageConfig()
	for i := range cfg.Nodes {
		cfg.Nodes[i].Fence = []config.FenceDevice{{Driver: config.FencePeerReboot}, {Driver: config.FenceWatchdog, Device: "/dev/watchdog"}}
	}
	devices, err := fenceDevices(cfg.Peer())
	if err != nil || len(devices) != 0 || cfg.Fenced() || machineConfig(cfg, 0, "boot1", cfg.Volumes[0]).Fences {
		t.Errorf("%d devices, %v, fenced %v", len(devices), err, cfg.Fenced())
	}
}
