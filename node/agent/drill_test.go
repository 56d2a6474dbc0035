package agent

import (
	"strings"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/failover"
	"gemel/node/replicator/control"
	"gemel/node/service"
)

// healthyStage is a stage whose node serves, with nothing amiss. Its machine answers orders.
func healthyStage(t *testing.T, words map[failover.OrderKind]string) (*stage, *[]failover.OrderKind) {
	t.Helper()
	react, got := answering(words)
	s := newStage(t, react)
	chosen := arbiter.Accepted{Epoch: 2, Version: 2, Set: arbiter.Both}
	s.script.view = failover.View{Role: failover.RoleServing, Chosen: chosen, Peer: failover.PeerView{Alive: true,
		Links: []failover.LinkView{{Name: "private", Up: true}, {Name: "lan", Up: true}}}}
	s.owner.publish()
	s.owner.state.Store(&control.VolumeState{Name: "data", Role: control.Primary, Disk: control.UpToDate, PeerDisk: control.UpToDate,
		Connection: control.Connected})
	s.agent.witnessUp.Store(true)
	s.steps.running = service.Running
	s.runOwner(t)
	return s, got
}

func TestDrill(t *testing.T) {
	s, got := healthyStage(t, map[failover.OrderKind]string{})
	d, err := s.agent.drill(t.Context(), "", false)
	if err != nil || len(d) != 1 || d[0].Skipped+d[0].Failed != "" || d[0].From != "server1" || d[0].To != "server2" {
		t.Errorf("%+v, %v", d, err)
	}
	if len(*got) != 2 || (*got)[0] != failover.OrderMayGive || (*got)[1] != failover.OrderSwitchover || !s.memory.has("drill.done") {
		t.Errorf("ordered %v", *got)
	}
}

func TestDrillThatFailsIsRecorded(t *testing.T) {
	s, _ := healthyStage(t, map[failover.OrderKind]string{failover.OrderSwitchover: "server2 could not mount"})
	d, err := s.agent.drill(t.Context(), "data", false)
	if err != nil || d[0].Failed != "server2 could not mount" || !s.memory.has("drill.failed") {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestDrillIsSkippedWhileAnythingIsAmiss(t *testing.T) {
	for want, spoil := range map[string]func(*stage){
		"maintenance is on":     func(s *stage) { s.agent.modes.setMaintenance(api.Maintenance{Serial: 1, On: true}, "test") },
		"witness, does not ans": func(s *stage) { s.agent.witnessUp.Store(false) },
		"resync is under way":   func(s *stage) { s.change(func(v *control.VolumeState) { v.Resync = &control.Resync{} }) },
		"verify is under way": func(s *stage) {
			s.change(func(v *control.VolumeState) { v.Verify = &control.Verify{State: control.VerifyRunning} })
		},
		"service nfs is stopp": func(s *stage) { s.steps.running = service.Stopped },
		"not in sync":          func(s *stage) { s.change(func(v *control.VolumeState) { v.Connection = control.StandAlone }) },
		"Inconsistent there":   func(s *stage) { s.change(func(v *control.VolumeState) { v.PeerDisk = control.Inconsistent }) },
		"server2 is not fit":   func(*stage) {},
		"server2 is on standb": func(s *stage) { s.owner.heard.Store(&api.BeatVolume{Standby: true}) },
	} {
		words := map[failover.OrderKind]string{}
		if strings.HasPrefix(want, "server2 is not fit") {
			words[failover.OrderMayGive] = "server2 is not fit to take over"
		}
		s, got := healthyStage(t, words)
		spoil(s)
		d, err := s.agent.drill(t.Context(), "", false)
		if err != nil || len(d) != 1 || !strings.Contains(d[0].Skipped, want) || !s.memory.has("drill.skipped") {
			t.Errorf("%s: %+v, %v", want, d, err)
		}
		for _, kind := range *got {
			if kind == failover.OrderSwitchover {
				t.Errorf("%s: switched over", want)
			}
		}
	}
}

func (s *stage) change(f func(*control.VolumeState)) {
	state := *s.owner.state.Load()
	f(&state)
	s.owner.state.Store(&state)
}

// TestAVolumeThatCameByADrillIsNotSentBack: both nodes keep the calendar.
func TestAVolumeThatCameByADrillIsNotSentBack(t *testing.T) {
	s, got := healthyStage(t, map[failover.OrderKind]string{})
	s.agent.dueDrills(t.Context(), time.Now().Add(-time.Hour))
	if len(*got) != 0 {
		t.Errorf("what came after the drill was due was drilled: %v", *got)
	}
	s.agent.dueDrills(t.Context(), time.Now().Add(time.Second))
	if len(*got) != 2 {
		t.Errorf("what was here was not drilled: %v", *got)
	}
}

// TestDrillOfWhatThePeerServes asks the peer.
func TestDrillOfWhatThePeerServes(t *testing.T) {
	s := newStage(t, nil)
	s.owner.heard.Store(&api.BeatVolume{Role: rolePrimary})
	d, err := s.agent.drill(t.Context(), "data", false)
	if err != nil || len(d) != 1 || d[0].To != "server1" {
		t.Errorf("%+v, %v", d, err)
	}
}
