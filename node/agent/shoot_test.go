package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/config"
	"gemel/node/failover"
	"gemel/node/fencing"
	"gemel/node/replicator/control"
)

// shooter is an owner whose machine asked for a shot.
func shooter(device *fakeSwitch, view failover.View) *owner {
	o := &owner{name: "data", self: 1, box: newMailbox(), course: &course{}, turn: nil}
	if device != nil {
		o.course.fence = testFencer(device, false, &kinds{})
	}
	o.view.Store(&view)
	return o
}

func TestAShotIsProvedOrSaysWhyNot(t *testing.T) {
	for name, c := range map[string]struct {
		device *fakeSwitch
		alive  bool
		says   string
		offs   int
	}{
		"proved":    {&fakeSwitch{power: fencing.On}, false, "", 1},
		"fails":     {&fakeSwitch{refuses: errors.New("no route")}, false, "no route", 1},
		"lies dead": {&fakeSwitch{power: fencing.On, dead: true}, false, "still", 1},
		"heard":     {&fakeSwitch{power: fencing.On}, true, "heard again", 0},
		"no device": {nil, false, "no fencing device", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := shooter(c.device, failover.View{Peer: failover.PeerView{Alive: c.alive}})
			a := &Agent{cfg: &config.Config{}, owners: []*owner{o}}
			o.turn = func(ctx context.Context) { a.waitTurn(ctx, o) }
			o.shoot(t.Context())
			events := o.box.take()
			if len(events) != 1 {
				t.Fatalf("%s: events %v", name, events)
			}
			shot := events[0].(failover.Shot)
			if (shot.Err == "") != (c.says == "") || !strings.Contains(shot.Err, c.says) {
				t.Errorf("%s: %q, want %q", name, shot.Err, c.says)
			}
			if c.device != nil {
				if c.device.offs != c.offs {
					t.Errorf("%s: %d orders, want %d", name, c.device.offs, c.offs)
				}
				o.course.fence.wg.Wait()
			}
		})
	}
}

// TestOfTwoPrimariesTheSecondNodeWaits: both reign, over different volumes.
func TestOfTwoPrimariesTheSecondNodeWaits(t *testing.T) {
	for name, c := range map[string]struct {
		self  arbiter.NodeID
		peer  string
		waits bool
	}{
		"first node":           {0, rolePrimary, false},
		"second, both Primary": {1, rolePrimary, true},
		"second, peer is not":  {1, control.Secondary, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := &config.Config{Fencing: config.Fencing{Delay: 4 * time.Second}}
			mine, other := shooter(nil, failover.View{Role: failover.RoleServing}), shooter(nil, failover.View{})
			mine.self = c.self
			other.heard.Store(&api.BeatVolume{Role: c.peer})
			a := &Agent{cfg: cfg, owners: []*owner{mine, other}}
			begin := time.Now()
			a.waitTurn(t.Context(), mine)
			if waited := time.Since(begin) >= 4*time.Second; waited != c.waits {
				t.Errorf("%s: waited %v", name, waited)
			}
		})
	}
}

func TestWhatAPairWithoutThirdVoterSurvives(t *testing.T) {
	cfg := &config.Config{Node: "server1", Nodes: []config.Node{{Name: "server1"}, {Name: "server2"}}}
	volume := func(assured bool) []api.Volume {
		return []api.Volume{{VolumeState: control.VolumeState{Name: "data"}, Arbiter: api.ArbiterStatus{Assured: assured}}}
	}
	fit, broken := testFencer(&fakeSwitch{}, false, &kinds{}), testFencer(&fakeSwitch{}, false, &kinds{})
	broken.health = []fencing.Health{{Device: "fake", Problem: "no route"}}
	for _, c := range []struct {
		fence   *fencer
		assured bool
		says    string
	}{
		{nil, true, "until a person takes over"},
		{broken, true, "would fail (fake: no route)"},
		{fit, false, "data is not known to be current"},
		{fit, true, "its power is cut, and service goes on when that is proved"},
	} {
		a := &Agent{cfg: cfg, fencer: c.fence}
		if s := a.witnessStatus(volume(c.assured)); !strings.Contains(s.Means, c.says) {
			t.Errorf("%q, want %q", s.Means, c.says)
		}
	}
}
