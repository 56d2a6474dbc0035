package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"gemel/node/api"
)

func (g *agent) Maintenance(_ context.Context, _ api.Caller, o api.MaintenanceOrder) (api.MaintenanceReply, error) {
	r := api.MaintenanceReply{Maintenance: api.Maintenance{Serial: 1, On: o.On}, PeerTold: o.For != time.Minute}
	if o.For > 0 {
		r.Until = noon
	}
	return r, nil
}

func (g *agent) Standby(_ context.Context, _ api.Caller, o api.StandbyOrder) (api.StandbyReply, error) {
	return api.StandbyReply{Moved: []string{"data"}}, g.order(api.Order{Volume: "standby", Stale: o.Undo})
}

func TestModes(t *testing.T) {
	b := newBox(t, true)
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"maintenance on", ExitOK, "MAINTENANCE is on: nothing is taken over"},
		{"maintenance on --for 2h", ExitOK, "on until 2026-"},
		{"maintenance on --for 1m", ExitFailed, "the other node was not reached"},
		{"maintenance off", ExitOK, "takes over by itself"},
		{"maintenance off --json", ExitOK, `"peer_told": true`},
		{"maintenance off --for 2h", ExitUsage, "goes with `on`"},
		{"maintenance maybe", ExitUsage, "on or off"},
		{"standby server1", ExitOK, "Given to the other node: data"},
		{"standby server1 --undo", ExitOK, "Nothing was moved back"},
		{"standby witness", ExitUsage, "no data node"},
		{"standby", ExitUsage, "accepts 1 arg"},
	} {
		code, out, errs := b.run(t, "", strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(out+errs, tt.says) {
			t.Errorf("%s: exit %d, want %d with %q; it said:\n%s%s", tt.args, code, tt.code, tt.says, out, errs)
		}
	}
	b.agent.answer = &api.Error{Code: api.CodeRefused, Message: "server1 stays as it is"}
	if code, _, errs := b.run(t, "", "standby", "server1"); code != ExitRefused || !strings.Contains(errs, "stays as it is") {
		t.Errorf("refused: exit %d, %s", code, errs)
	}
}

func TestModesAreLoud(t *testing.T) {
	s := wellStatus()
	s.Maintenance, s.PeerStandby = api.Maintenance{Serial: 1, On: true}, true
	text := renderStatus(&s, false)
	for _, want := range []string{"DEGRADED: MAINTENANCE is on", "gemel maintenance off", "server2 is on STANDBY", "gemel standby server2 --undo"} {
		if !strings.Contains(text, want) {
			t.Errorf("status lacks %q:\n%s", want, text)
		}
	}
}
