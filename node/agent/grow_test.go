package agent

import (
	"context"
	"testing"

	"gemel/node/failover"
	"gemel/node/replicator/control"
)

func TestResizeGoesToThePrimary(t *testing.T) {
	s := newStage(t, nil)
	s.owner.publish()
	order := control.GrowRequest{Volume: "data", Size: 1 << 40}
	if err := s.agent.resize(t.Context(), order, false); err == nil {
		t.Error("without a Primary")
	}
	s.script.setRole(failover.RoleServing)
	s.owner.publish()
	if err := s.agent.resize(t.Context(), order, false); err != nil || len(s.replica.resized) != 1 || s.replica.resized[0] != order {
		t.Errorf("at the Primary: %v, %v", err, s.replica.resized)
	}
	if !s.memory.has("volume.resize") {
		t.Error("the order is not in the history")
	}
}

func TestGrowthIsTold(t *testing.T) {
	state := func(g control.Growth) *control.VolumeState {
		return &control.VolumeState{Role: control.Primary, Size: g.Shown, Growth: &g}
	}
	for _, c := range []struct {
		name, want string
		old, now   *control.VolumeState
		stretches  int
	}{
		{"the agent has just started", "", nil, state(control.Growth{Shown: 2}), 0},
		{"it is under way", "", state(control.Growth{Shown: 1}), state(control.Growth{Running: true, Shown: 1}), 0},
		{"it was promoted", "", state(control.Growth{}), state(control.Growth{Shown: 1}), 0},
		{"it is larger", "volume.resized", state(control.Growth{Running: true, Shown: 1}), state(control.Growth{Shown: 2}), 1},
		{"it is not", "volume.not-resized", state(control.Growth{Running: true}), state(control.Growth{Problem: "no room"}), 0},
		{"its device is not", "volume.unfit", state(control.Growth{Shown: 1}), state(control.Growth{Shown: 1, Unfit: "old kernel"}), 0},
	} {
		s := newStage(t, nil)
		s.owner.noteGrowth(c.old, c.now)
		kinds := ""
		for _, e := range s.memory.events {
			kinds += e.Kind
		}
		if kinds != c.want || len(s.owner.stretches) != c.stretches {
			t.Errorf("%s: told %q, want %q; %d times asked to stretch", c.name, kinds, c.want, len(s.owner.stretches))
		}
	}
}

func TestTheFileSystemFollows(t *testing.T) {
	s := newStage(t, nil)
	s.owner.vol.Mount.Grow = true
	s.steps.mounted = true
	s.owner.course.device = "/dev/loop7"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.owner.keepStretched(ctx)
	}()
	s.owner.stretch()
	waitUntil(t, func() bool { return s.memory.has("mount.grown") })
	cancel()
	<-ended
}
