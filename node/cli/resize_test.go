package cli

import (
	"context"
	"strings"
	"testing"

	"gemel/node/api"
	"gemel/node/replicator/control"
)

func (g *agent) Resize(_ context.Context, _ api.Caller, r control.GrowRequest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.resized = append(g.resized, r)
	return g.answer
}

func (g *agent) Outdate(_ context.Context, _ api.Caller, r control.OutdateRequest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.outdated = append(g.outdated, r)
	return g.answer
}

func TestOutdateAsksWhatTheFlagsSay(t *testing.T) {
	b := newBox(t, true)
	for _, undo := range []bool{false, true} {
		args := []string{"volume", "outdate", "data"}
		if undo {
			args = append(args, "--undo")
		}
		code, out, _ := b.run(t, "", args...)
		if n := len(b.agent.outdated); code != 0 || n == 0 || b.agent.outdated[n-1] != (control.OutdateRequest{Volume: "data", Undo: undo}) {
			t.Errorf("exit %d, asked %+v\n%s", code, b.agent.outdated, out)
		}
	}
	b.agent.answer = &api.Error{Code: api.CodeRefused, Message: "this replica is Primary"}
	if code, _, _ := b.run(t, "", "volume", "outdate", "data"); code != 3 {
		t.Errorf("refused: exit %d", code)
	}
}

func TestResizeWaitsForItsEnd(t *testing.T) {
	with := func(bytes int64, growth *control.Growth) api.Status {
		s := wellStatus()
		s.Volumes[0].Size, s.Volumes[0].Growth = bytes, growth
		return s
	}
	running := with(1<<30, &control.Growth{Running: true, To: 4 << 30, Blanked: 2 << 30, Shown: 1 << 30})
	for _, c := range []struct {
		name, say string
		end       api.Status
		code      int
	}{
		{"larger", "has 4.0 GiB now, 1.0 GiB before", with(4<<30, &control.Growth{Shown: 4 << 30}), 0},
		{"its device not", "such as by a switchover", with(4<<30, &control.Growth{Shown: 1 << 30, Unfit: "attached anew, such as by a switchover"}), 0},
		{"no room at the peer", "", with(1<<30, &control.Growth{Problem: "no room at the peer", Shown: 1 << 30}), 1},
	} {
		b := newBox(t, true)
		first := with(1<<30, nil)
		// Asked to reach the agent, who is Primary, for the size before, then while it runs.
		b.agent.status = []api.Status{first, first, first, running, c.end}
		code, out, _ := b.run(t, "", "volume", "resize", "data")
		if code != c.code || !strings.Contains(out, c.say) || !strings.Contains(out, "made zero") {
			t.Errorf("%s: exit %d\n%s", c.name, code, out)
		}
	}
}

func TestResizeAsksWhatTheFlagsSay(t *testing.T) {
	b := newBox(t, true)
	b.agent.answer = &api.Error{Code: api.CodeRefused, Message: "a volume in use cannot become smaller"}
	code, out, _ := b.run(t, "", "volume", "resize", "data", "--size", "2GiB")
	if code != 3 || len(b.agent.resized) != 1 || b.agent.resized[0] != (control.GrowRequest{Volume: "data", Size: 2 << 30}) {
		t.Errorf("exit %d, asked %+v\n%s", code, b.agent.resized, out)
	}
	if code, _, _ := b.run(t, "", "volume", "resize", "data", "--size", "large"); code != 2 {
		t.Errorf("a size that is none: exit %d", code)
	}
}
