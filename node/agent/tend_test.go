package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/failover"
	"gemel/node/replicator/control"
	"gemel/node/schedule"
)

func TestVerifyGoesToThePrimary(t *testing.T) {
	order := control.VerifyRequest{Volume: "data", Action: control.ActionStart, Repair: true}
	s := newStage(t, nil)
	s.owner.publish()
	if err := s.agent.verify(t.Context(), order, false); !errors.Is(err, &api.Error{Code: api.CodeRefused}) {
		t.Errorf("without a Primary: %v", err)
	}
	s.owner.heard.Store(&api.BeatVolume{Name: "data", Role: control.Primary})
	s.owner.view.Store(&failover.View{Peer: failover.PeerView{Alive: true}})
	if err := s.agent.verify(t.Context(), order, false); err != nil {
		t.Fatal(err)
	}
	if got := <-s.private.verified; got != order {
		t.Errorf("the Primary was asked for %+v", got)
	}
	if err := s.agent.verify(t.Context(), order, true); err == nil || len(s.private.verified) != 0 {
		t.Errorf("an order from the peer was passed back, %v", err)
	}
	s.script.setRole(failover.RoleServing)
	s.owner.publish()
	if err := s.agent.verify(t.Context(), order, true); err != nil || len(s.replica.verified) != 1 {
		t.Errorf("at the Primary: %v, %d", err, len(s.replica.verified))
	}
	if err := s.agent.verify(t.Context(), control.VerifyRequest{Volume: "nothing"}, false); err == nil {
		t.Error("an unknown volume")
	}
	if !s.memory.has("verify.start") {
		t.Error("the order is not in the history")
	}
}

func TestWhatAVerifyFoundIsTold(t *testing.T) {
	state := func(run int, word string, found int64) *control.VolumeState {
		return &control.VolumeState{Role: control.Primary, Verify: &control.Verify{Run: run, State: word, Found: found,
			Ranges: []control.Range{{Offset: 8192, Length: 4096}}}}
	}
	none := &control.VolumeState{Role: control.Primary}
	for _, c := range []struct {
		name     string
		old, now *control.VolumeState
		want     string
	}{
		{"the agent has just started", nil, state(1, control.VerifyFinished, 0), ""},
		{"it is under way", none, state(1, control.VerifyRunning, 0), ""},
		{"a first difference", state(1, control.VerifyRunning, 0), state(1, control.VerifyRunning, 4096), "verify.difference"},
		{"one more", state(1, control.VerifyRunning, 4096), state(1, control.VerifyRunning, 8192), ""},
		{"the end", state(1, control.VerifyRunning, 0), state(1, control.VerifyFinished, 0), "verify.finished"},
		{"too quick to be seen running", state(1, control.VerifyFinished, 0), state(2, control.VerifyFinished, 4096), "verify.finished"},
		{"old news", state(2, control.VerifyFinished, 0), state(2, control.VerifyFinished, 0), ""},
	} {
		s := newStage(t, nil)
		s.owner.noteVerify(c.old, c.now)
		kinds := ""
		for _, e := range s.memory.events {
			kinds += e.Kind
			if e.Fields["ranges"] != "" && e.Fields["ranges"] != "8192+4096" || strings.Contains(e.Text, "%!") {
				t.Errorf("%s: %+v", c.name, e)
			}
		}
		if kinds != c.want {
			t.Errorf("%s: told %q, want %q", c.name, kinds, c.want)
		}
	}
}

func TestCalendar(t *testing.T) {
	when, err := schedule.Parse("sun 03:00")
	if err != nil {
		t.Fatal(err)
	}
	monday := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	c := calendar{when: when, next: when.Next(monday)}
	for _, at := range []struct {
		after time.Duration
		due   bool
	}{{0, false}, {6*24*time.Hour - 9*time.Hour, true}, {6 * 24 * time.Hour, false}, {30 * 24 * time.Hour, true}, {30*24*time.Hour + time.Hour, false}} {
		if got := c.due(monday.Add(at.after)); got != at.due {
			t.Errorf("after %v: due %v", at.after, got)
		}
	}
}

func TestScheduledVerify(t *testing.T) {
	s := newStage(t, nil)
	s.owner.scheduledVerify(t.Context())
	if len(s.replica.verified) != 1 || s.replica.verified[0].Action != control.ActionStart || !s.memory.has("verify.start") {
		t.Errorf("asked for %+v", s.replica.verified)
	}
	s.replica.kill(errors.New("the nodes are not in sync"))
	s.owner.scheduledVerify(t.Context())
	if !s.memory.has("verify.not-started") {
		t.Error("nobody learns that it did not start")
	}
}
