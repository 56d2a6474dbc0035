package cli

import (
	"context"
	"strings"
	"testing"

	"gemel/node/api"
	"gemel/node/replicator/control"
)

// Fence notes the order and answers with one fit device.
func (g *agent) Fence(_ context.Context, _ api.Caller, o api.FenceOrder) (api.Fencing, error) {
	err := g.order(api.Order{Volume: o.Do + " " + o.Node, Stale: o.Stay})
	g.mu.Lock()
	defer g.mu.Unlock()
	f := api.Fencing{Node: o.Node, Proof: "redfish https://192.0.2.7: two looks", Devices: []api.FenceDevice{
		{Name: "redfish https://192.0.2.7", Power: "on", Problem: g.unfit}}}
	return f, err
}

func TestFenceCommands(t *testing.T) {
	secondary := wellStatus()
	if v := &secondary.Volumes[0]; v.Role != control.Primary {
		t.Fatalf("server1 is %s in this test's status", v.Role)
	}
	silent := wellStatus()
	silent.Peer.Alive = false
	primary := wellStatus()
	primary.Volumes[0].Role, primary.Volumes[0].PeerRole = control.Secondary, control.Primary
	refused := &api.Error{Code: api.CodeRefused, Message: "no fencing device is configured for server2"}
	for name, c := range map[string]struct {
		args   []string
		input  string
		status []api.Status
		unfit  string
		answer error
		code   int
		says   string
		orders []string
	}{
		"status":       {[]string{"status"}, "", nil, "", nil, 0, "power on, fit", []string{"probe server2"}},
		"status, JSON": {[]string{"status", "server2", "--json"}, "", nil, "", nil, 0, `"devices"`, []string{"probe server2"}},
		"unfit":        {[]string{"status", "server2"}, "", nil, "no route", nil, 1, "would FAIL: no route", []string{"probe server2"}},
		"none":         {[]string{"status"}, "", nil, "", refused, 3, "no fencing device", []string{"probe server2"}},
		"no such node": {[]string{"off", "server9"}, "", nil, "", nil, 2, "server1 and server2", nil},
		"off":          {[]string{"off", "server2"}, "server2\n", nil, "", nil, 0, "server2 is off, by redfish", []string{"off server2 stay"}},
		"off, no word": {[]string{"off", "server2"}, "yes\n", nil, "", nil, 3, "nothing was done", nil},
		"off a Primary": {[]string{"off", "server2"}, "server2\n", []api.Status{primary}, "", nil, 0, "server2 SERVES data",
			[]string{"off server2 stay"}},
		"reboot":  {[]string{"reboot", "server2"}, "server2\n", nil, "", nil, 0, "That proves nothing", []string{"reboot server2"}},
		"reboots": {[]string{"reboot", "server2"}, "server1\n", nil, "", nil, 3, "This reboots server2 at once", nil},
		"on":      {[]string{"on", "server2"}, "", nil, "", nil, 0, "was switched on", []string{"on server2"}},
		"test": {[]string{"test", "server2", "--yes-i-know"}, "", []api.Status{secondary, silent, secondary}, "", nil, 0,
			"server2 can be fenced", []string{"off server2 stay", "on server2"}},
		"test of a Primary": {[]string{"test", "server2", "--yes-i-know"}, "", []api.Status{primary}, "", nil, 3,
			"gemel switchover data", nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, true)
			if c.status != nil {
				// The first answer is for whoever looks whether the agent is there.
				b.agent.status = c.status
			}
			b.agent.unfit, b.agent.answer = c.unfit, c.answer
			code, out, errs := b.run(t, c.input, append([]string{"fence"}, c.args...)...)
			if code != c.code || !strings.Contains(out+errs, c.says) {
				t.Errorf("exit %d, want %d and %q in\n%s%s", code, c.code, c.says, out, errs)
			}
			var got []string
			for _, o := range b.agent.orders {
				if o.Stale {
					o.Volume += " stay"
				}
				got = append(got, o.Volume)
			}
			if strings.Join(got, ", ") != strings.Join(c.orders, ", ") {
				t.Errorf("orders %q, want %q", got, c.orders)
			}
		})
	}
}

func TestStatusTellsOfABrokenFencingDevice(t *testing.T) {
	s := wellStatus()
	s.Fencing = &api.Fencing{Node: "server2", LeftOff: "it had to be switched off 4 times within 1h",
		Devices: []api.FenceDevice{{Name: "ipmi 192.0.2.7:623", Power: "unknown", Problem: "does not answer"}}}
	text := strings.Join(strings.Fields(renderStatus(&s, false)), " ")
	for _, want := range []string{"DEGRADED", "1 of 1 fencing devices of server2 would fail", "would FAIL: does not answer",
		"server2 stays off", "gemel fence on server2"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
