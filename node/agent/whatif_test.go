package agent

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/config"
	"gemel/node/event"
	"gemel/node/failover"
	"gemel/node/replicator/control"
)

// inRole is a real machine that says it has a role; only its standing is asked.
type inRole struct {
	*failover.Machine
	role failover.Role
	view failover.View
}

func (m inRole) View() failover.View { return m.view }

func (m inRole) Standing() failover.Standing {
	return failover.Standing{Role: m.role, Heard: true, Uptime: time.Hour, Phase: "test"}
}

// rehearsed is a pair in which this node, server1, serves and both are in sync.
func rehearsed(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, nil)
	cfg := s.agent.cfg
	cfg.Timing = config.Timing{Heartbeat: 250 * time.Millisecond, MinorBeats: 3, Major: 2 * time.Second, Lease: 3 * time.Second,
		Renew: 500 * time.Millisecond, BootWait: 5 * time.Second, StepTimeout: 30 * time.Second}
	s.owner.vol.Services = []config.Service{{Name: "nfs"}}
	chosen := arbiter.Accepted{Epoch: 2, Version: 2, Set: arbiter.Both, Rule: arbiter.Rule{Third: arbiter.ThirdNamed("witness witness")}}
	record := arbiter.Record{Promised: 2, Accepted: chosen}
	view := failover.View{Role: failover.RoleServing, Epoch: 2, Chosen: chosen, Peer: failover.PeerView{Alive: true,
		Links: []failover.LinkView{{Name: "private", Up: true}, {Name: "lan", Up: true}}}}
	s.owner.machine = inRole{role: failover.RoleServing, view: view}
	s.owner.publish()
	mine := control.VolumeState{Name: "data", Role: control.Primary, Disk: control.UpToDate, Connection: control.Connected,
		Epoch: 2, Record: record, Chosen: chosen, LeaseLeft: 2 * time.Second}
	s.owner.state.Store(&mine)
	its := standing{}
	its.Standing, its.AddressNIC = failover.Standing{Heard: true, Uptime: time.Hour}, true
	its.Replica = failover.ReplicaReport{Usable: true, DiskWhole: true, Record: record, Connected: true}
	s.tellPeer(t, its)
	s.agent.witnessUp.Store(true)
	return s
}

func (s *stage) tellPeer(t *testing.T, its standing) {
	t.Helper()
	raw, err := json.Marshal(its)
	if err != nil {
		t.Fatal(err)
	}
	s.private.stage = api.Stage{Volumes: map[string]json.RawMessage{"data": raw}}
	s.lan.stage = s.private.stage
}

func (s *stage) rehearse(t *testing.T, q api.WhatIfQuery) api.WhatIf {
	t.Helper()
	list, err := s.agent.whatIf(t.Context(), q)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v: %v, %v", q, list, err)
	}
	return list[0]
}

func TestWhatIf(t *testing.T) {
	s := rehearsed(t)
	took := event.Event{Volume: "data", Kind: "step.done", Fields: map[string]string{"step": failover.StepMount.String(), "took_ms": "21.0"}}
	s.agent.recallTimes([]event.Event{took})
	w := s.rehearse(t, api.WhatIfQuery{What: api.WhatIfKill, Node: "server1"})
	if w.Before != "server1" || w.After != "server2" || w.Pause < 2*time.Second || w.Pause > 6*time.Second || !w.PauseOpen {
		t.Errorf("kill the Primary: %+v", w)
	}
	var text []string
	for _, l := range w.Lines {
		text = append(text, l.Text)
	}
	for _, want := range []string{"MAJOR failure: server1 is silent on every link.", "server2 reigns in epoch 3.", "claim the addresses"} {
		if !strings.Contains(strings.Join(text, "\n"), want) {
			t.Errorf("the course lacks %q: %q", want, text)
		}
	}
	w = s.rehearse(t, api.WhatIfQuery{What: api.WhatIfStopService})
	if w.After != "server2" {
		t.Errorf("stop a service: %+v", w)
	}
	for _, l := range w.Lines {
		if l.Node == "server1" && l.Step && l.Text == failover.StepMount.String() {
			t.Errorf("server1 would mount: %+v", l)
		}
	}
	w = s.rehearse(t, api.WhatIfQuery{What: api.WhatIfCutPrivate})
	if w.After != "server1" || w.Pause != 0 || len(w.Not) == 0 {
		t.Errorf("cut the private link: %+v", w)
	}
	w = s.rehearse(t, api.WhatIfQuery{What: api.WhatIfCutAll, Node: "server1"})
	if w.After != "server2" || w.Pause < 2*time.Second { // the one that is cut off serves nobody
		t.Errorf("cut all of the Primary: %+v", w)
	}
	if w = s.rehearse(t, api.WhatIfQuery{What: api.WhatIfLoseWitness}); w.After != "server1" || !strings.Contains(w.Not[len(w.Not)-1].Why, "2 votes of 3") {
		t.Errorf("lose the witness: %+v", w)
	}
}

// TestWhatIfAsksTheThirdVoter: what it recorded counts, not what a stale node that is
// alone remembers.
func TestWhatIfAsksTheThirdVoter(t *testing.T) {
	s := rehearsed(t)
	alone := failover.View{Role: failover.RoleSecondary, Peer: failover.PeerView{Alive: false}}
	s.owner.machine = inRole{role: failover.RoleSecondary, view: alone}
	s.owner.publish()
	s.change(func(v *control.VolumeState) {
		v.Role, v.Connection, v.Chosen = control.Secondary, control.Connecting, arbiter.Accepted{}
	})
	q := api.WhatIfQuery{What: api.WhatIfKill, Node: "server2"}
	if w := s.rehearse(t, q); w.After != "server1" {
		t.Errorf("in sync and with a voter that cannot tell: %+v", w)
	}
	s.agent.witness = remembering{s.agent.witness, arbiter.Record{Promised: 3, Accepted: arbiter.Accepted{Epoch: 3, Version: 1, Set: arbiter.Only(1)}}}
	if w := s.rehearse(t, q); w.After != "" || len(w.Not) != 1 || !strings.Contains(w.Not[0].Why, "not current") {
		t.Errorf("stale: %+v", w)
	}
}

// remembering is a third voter that tells its register.
type remembering struct {
	Witness
	record arbiter.Record
}

func (r remembering) Records(context.Context, []string) (map[string]arbiter.Record, error) {
	return map[string]arbiter.Record{"data": r.record}, nil
}

func TestWhatIfSaysWhyNot(t *testing.T) {
	s := rehearsed(t)
	why := func(change func(*standing)) string {
		t.Helper()
		its := standing{}
		its.Standing, its.AddressNIC = failover.Standing{Heard: true, Uptime: time.Hour}, true
		its.Replica = failover.ReplicaReport{Usable: true, DiskWhole: true, Connected: true,
			Record: arbiter.Record{Promised: 2, Accepted: arbiter.Accepted{Epoch: 2, Version: 2, Set: arbiter.Both,
				Rule: arbiter.Rule{Third: arbiter.ThirdNamed("witness witness")}}}}
		change(&its)
		s.tellPeer(t, its)
		w := s.rehearse(t, api.WhatIfQuery{What: api.WhatIfKill, Node: "server1"})
		if w.After != "" || len(w.Not) != 1 {
			t.Errorf("served, or not told why not: %+v", w)
			return ""
		}
		return w.Not[0].Why
	}
	for want, change := range map[string]func(*standing){
		"is incomplete":         func(s *standing) { s.Replica.DiskWhole = false },
		"marked Outdated":       func(s *standing) { s.Replica.Outdated = true },
		"under protocol A":      func(s *standing) { s.Replica.MayLack = "A" },
		"maintenance is on":     func(s *standing) { s.Standing.Mode.Maintenance = true },
		"on standby":            func(s *standing) { s.Standing.Mode.Standby = true },
		"does not answer":       func(s *standing) { s.ReplicaDown = "the replicator does not answer" },
		"the disk is dead":      func(s *standing) { s.Replica.Usable, s.Replica.Problem = false, "the disk is dead" },
		"fewer than 2 voters":   func(st *standing) { st.NoWitness = true; s.agent.witnessUp.Store(true) },
		"could not make sure":   func(s *standing) { s.Fails = map[failover.Step]string{failover.StepFence: "no proof"} },
		"the agent is stopping": func(s *standing) { s.Standing.Stopped = true },
	} {
		if got := why(change); !strings.Contains(got, want) {
			t.Errorf("%q is told as %q", want, got)
		}
	}
	// Nothing is made up about a peer that is heard and does not tell.
	s.private.err, s.lan.err = errors.New("reset"), errors.New("reset")
	if w := s.rehearse(t, api.WhatIfQuery{What: api.WhatIfKill, Node: "server1"}); !strings.Contains(w.Problem, "server2 is heard but did not tell") {
		t.Errorf("%+v", w)
	}
	if _, err := s.agent.whatIf(t.Context(), api.WhatIfQuery{What: "rain"}); err == nil {
		t.Error("rain was rehearsed")
	}
}
