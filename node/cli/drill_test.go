package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"gemel/node/api"
)

func (g *agent) Drill(_ context.Context, _ api.Caller, o api.DrillOrder) ([]api.Drill, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := api.Drill{Volume: "data", From: "server1", To: "server2", Pause: 1400 * time.Millisecond, Skipped: g.skipped}
	if o.Volume != "" {
		d.Failed = "server2 could not mount"
	}
	return []api.Drill{d}, nil
}

func TestDrill(t *testing.T) {
	b := newBox(t, true)
	for _, tt := range []struct {
		args, skipped string
		code          int
		says          string
	}{
		{"drill now", "", ExitOK, "server2 serves now, server1 did before; the service paused for 1.4 s at most"},
		{"drill now --json", "", ExitOK, `"pause_ns": 1400000000`},
		{"drill now", "maintenance is on", ExitRefused, "no drill was made: maintenance is on"},
		{"drill now --json", "maintenance is on", ExitRefused, `"skipped": "maintenance is on"`},
		{"drill now data", "", ExitFailed, "the drill FAILED after 1.4 s: server2 could not mount"},
		{"drill later", "", ExitUsage, "drill.schedule"},
		{"drill", "", ExitUsage, "arg"},
	} {
		b.agent.skipped = tt.skipped
		code, out, errs := b.run(t, "", strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(out+errs, tt.says) {
			t.Errorf("%s: exit %d, want %d with %q; it said:\n%s%s", tt.args, code, tt.code, tt.says, out, errs)
		}
	}
}
