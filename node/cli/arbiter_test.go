package cli

import (
	"strings"
	"testing"

	"gemel/node/api"
)

func TestArbiterCommands(t *testing.T) {
	well := wellStatus()
	well.Volumes[0].Arbiter = api.ArbiterStatus{Recorded: "witness", Configured: "witness"}
	differs := wellStatus()
	differs.Volumes[0].Arbiter = api.ArbiterStatus{Recorded: "witness", Configured: api.NoArbiter, Differs: "server2 is silent; both nodes must agree"}
	changed := wellStatus()
	changed.Volumes[0].Arbiter = api.ArbiterStatus{Recorded: api.NoArbiter, Configured: api.NoArbiter, Change: 1}
	for name, c := range map[string]struct {
		args   []string
		status []api.Status
		code   int
		says   string
	}{
		"in force":     {[]string{"status"}, []api.Status{well}, 0, "recorded: witness (change 0), configured on server1: witness"},
		"differs":      {[]string{"status"}, []api.Status{differs}, 1, "both nodes must agree"},
		"JSON":         {[]string{"status", "--json"}, []api.Status{differs}, 1, `"in_force": false`},
		"change":       {[]string{"change"}, []api.Status{differs, differs, differs, changed}, 0, "recorded: none (change 1)"},
		"change, JSON": {[]string{"change", "--json"}, []api.Status{changed}, 0, `"in_force": true`},
		"no change":    {[]string{"change", "--wait", "700ms"}, []api.Status{differs}, 1, "server2 is silent"},
		"no such word": {[]string{"status", "more"}, nil, 2, "unknown command"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, true)
			if c.status != nil {
				b.agent.status = c.status
			}
			code, out, errs := b.run(t, "", append([]string{"arbiter"}, c.args...)...)
			if code != c.code || !strings.Contains(out+errs, c.says) {
				t.Errorf("exit %d, want %d and %q in\n%s%s", code, c.code, c.says, out, errs)
			}
		})
	}
}

func TestStatusTellsOfAnArbiterThatIsNotTheConfiguredOne(t *testing.T) {
	s := wellStatus()
	s.Volumes[0].Arbiter = api.ArbiterStatus{Recorded: api.AnotherArbiter, Configured: "witness", Differs: "server2 is silent"}
	text := strings.Join(strings.Fields(renderStatus(&s, false)), " ")
	if want := "the arbiter of data is another, not witness as configured"; !strings.Contains(text, want) {
		t.Errorf("%q is not in\n%s", want, text)
	}
}
