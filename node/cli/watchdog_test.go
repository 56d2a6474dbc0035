package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gemel/node/api"
)

func TestStatusTellsOfTheWatchdog(t *testing.T) {
	for name, c := range map[string]struct {
		w    api.Watchdog
		says []string
		bad  bool
	}{
		"idle":       {api.Watchdog{State: api.WatchdogIdle, Granted: 2 * time.Second, Asked: 2 * time.Second}, []string{"/dev/watchdog (softdog): ready"}, false},
		"armed":      {api.Watchdog{State: api.WatchdogArmed, Granted: 2 * time.Second, Asked: 2 * time.Second}, []string{"armed, resets this box 2s after the last ping"}, false},
		"other time": {api.Watchdog{State: api.WatchdogArmed, Granted: 3 * time.Second, Asked: 2 * time.Second}, []string{"3s (2s was asked)"}, false},
		"starving":   {api.Watchdog{State: api.WatchdogStarving, Granted: time.Second, Asked: time.Second}, []string{"NOT PINGED", "DEGRADED", "server1 is not pinged and will reset it"}, true},
		"unfit":      {api.Watchdog{State: api.WatchdogUnfit, Problem: "there is no such device"}, []string{"UNFIT: there is no such device", "server1 has no watchdog that works"}, true},
		"kept":       {api.Watchdog{State: api.WatchdogKept, NoWayOut: true, Granted: time.Second, Asked: time.Second}, []string{"cannot be stopped"}, false},
		"no way out": {api.Watchdog{State: api.WatchdogArmed, NoWayOut: true}, []string{"nowayout"}, false},
		"no magic":   {api.Watchdog{State: api.WatchdogArmed, StopsWithAgent: true}, []string{"stops it when the agent dies"}, false},
		"bit":        {api.Watchdog{State: api.WatchdogIdle, ResetBefore: true}, []string{"the last reset of this box came from it"}, false},
	} {
		s := wellStatus()
		c.w.Device, c.w.Driver = "/dev/watchdog", "softdog"
		s.Watchdog = &c.w
		text := strings.Join(strings.Fields(renderStatus(&s, false)), " ")
		for _, want := range c.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, text)
			}
		}
		if bad := strings.Contains(text, "DEGRADED"); bad != c.bad {
			t.Errorf("%s: degraded %v", name, bad)
		}
	}
}

// withWatchdogs gives both nodes of a box's configuration a watchdog at device.
func (b *box) withWatchdogs(t *testing.T, device string) {
	t.Helper()
	raw, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	fence := "    fence: [{driver: watchdog, device: " + device + "}]\n"
	text := strings.Replace(string(raw), "  - name: server2\n", fence+"  - name: server2\n"+fence, 1)
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConfigCheckLooksForTheWatchdog(t *testing.T) {
	b := newBox(t, false)
	missing := filepath.Join(b.dir, "watchdog")
	b.withWatchdogs(t, missing)
	code, out, errs := b.run(t, "", "config", "check")
	if code != ExitOK || !strings.Contains(out, "Warning: there is no "+missing) || !strings.Contains(out, "modprobe softdog") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if err := os.Symlink(os.DevNull, missing); err != nil {
		t.Fatal(err)
	}
	if code, out, errs = b.run(t, "", "config", "check"); code != ExitOK || !strings.Contains(out, "Watchdog "+missing+" is") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func TestFenceStatusTellsOfTheNodesOwnWatchdog(t *testing.T) {
	b := newBox(t, true)
	b.withWatchdogs(t, "/dev/watchdog")
	s := wellStatus()
	s.Watchdog = &api.Watchdog{Device: "/dev/watchdog", State: api.WatchdogUnfit, Problem: "there is no driver"}
	b.agent.status = []api.Status{s}
	b.agent.answer = &api.Error{Code: api.CodeRefused, Message: "no fencing device is configured for server2"}
	code, out, errs := b.run(t, "", "fence", "status", "server2")
	if code != ExitRefused || !strings.Contains(out, "server2's own watchdog: not known") ||
		!strings.Contains(strings.Join(strings.Fields(errs), " "), "neither a watchdog nor") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}
