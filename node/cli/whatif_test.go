package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"gemel/node/api"
)

func (g *agent) WhatIf(_ context.Context, _ api.Caller, q api.WhatIfQuery) ([]api.WhatIf, error) {
	w := api.WhatIf{Volume: "data", Before: "server1", After: "server2", Pause: 2200 * time.Millisecond, PauseOpen: true,
		Lines: []api.WhatIfLine{
			{At: 2 * time.Second, Node: "server2", Text: "MAJOR failure: server1 is silent on every link.", Reason: "no heartbeat for 2s"},
			{At: 2100 * time.Millisecond, Node: "server2", Text: "mount the file system", Step: true, Took: 21 * time.Millisecond, AtMost: 30 * time.Second},
			{At: 2100 * time.Millisecond, Node: "server2", Text: "start the services", Step: true, AtMost: 30 * time.Second}}}
	switch q.What {
	case api.WhatIfCutAll:
		w.After, w.Not = "", []api.WhatIfNot{{Text: "server2 would not serve data", Why: "it is on standby"}}
	case api.WhatIfCutPrivate:
		w.After, w.Pause, w.Lines = "server1", 0, nil
	case api.WhatIfLoseWitness:
		w = api.WhatIf{Volume: "data", Problem: "server1 is in the middle of something"}
	case api.WhatIfStopService:
		w.Lines[0].Text = "service " + q.Service
	}
	return []api.WhatIf{w}, nil
}

func TestWhatIf(t *testing.T) {
	b := newBox(t, true)
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"whatif kill server1", ExitOK, "server2 would serve it after 2.2 s, and the steps whose time is not known"},
		{"whatif kill server1", ExitOK, "+2.1 s    server2: mount the file system: 21.0 ms as last time, at most 30 s"},
		{"whatif kill server1", ExitOK, "server2: MAJOR failure: server1 is silent on every link. (no heartbeat for 2s)"},
		{"whatif kill server1 --json", ExitOK, `"after": "server2"`},
		{"whatif cut-all server1", ExitFailed, "NOT       server2 would not serve data: it is on standby"},
		{"whatif cut-all server1 --json", ExitFailed, `"why": "it is on standby"`},
		{"whatif cut-private", ExitOK, "server1 would serve on, without a pause"},
		{"whatif lose-witness", ExitFailed, "cannot be told: server1 is in the middle"},
		{"whatif stop-service nfs", ExitOK, "service nfs"},
		{"whatif kill", ExitUsage, "say which node"},
		{"whatif kill server9", ExitUsage, `no data node "server9"`},
		{"whatif cut-private server1", ExitUsage, "takes nothing"},
		{"whatif rain", ExitUsage, "what can be asked"},
		{"whatif", ExitUsage, "arg"},
	} {
		code, out, errs := b.run(t, "", strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(out+errs, tt.says) {
			t.Errorf("%s: exit %d, want %d with %q; it said:\n%s%s", tt.args, code, tt.code, tt.says, out, errs)
		}
	}
}
