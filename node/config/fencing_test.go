package config

import (
	"strings"
	"testing"
	"time"
)

// withFence returns the example with devices of both nodes and more at its end.
func withFence(t *testing.T, devices, more string) (*Config, error) {
	t.Helper()
	return Parse("t.yaml", []byte(strings.Replace(Example, "  - name: server2", "    fence: ["+devices+"]\n  - name: server2\n    fence: ["+
		devices+"]", 1)+more))
}

func TestAWatchdogIsNoProof(t *testing.T) {
	c, err := withFence(t, "{driver: watchdog}", "")
	if err != nil {
		t.Fatal(err)
	}
	w := c.Nodes[1].Watchdog()
	if c.Fenced() || len(c.Nodes[0].Proofs()) != 0 || w == nil || w.Device != "/dev/watchdog" || w.Timeout != 0 {
		t.Errorf("fenced %v, watchdog %+v", c.Fenced(), w)
	}
	if _, err = withFence(t, "{driver: watchdog}", "\nfencing: {required: true}\n"); err == nil || !strings.Contains(err.Error(), "proves anything") {
		t.Errorf("required without a proof: %v", err)
	}
	c, err = withFence(t, "{driver: watchdog}, {driver: command, command: [/bin/outlet]}", "\nfencing: {required: true}\n")
	if err != nil || !c.Fenced() || len(c.Nodes[0].Proofs()) != 1 {
		t.Errorf("with a device beside it: %v", err)
	}
}

func TestTheLeaseBoundsTheWatchdog(t *testing.T) {
	for _, c := range []struct{ lease, renew, longest time.Duration }{
		{3 * time.Second, 500 * time.Millisecond, 2 * time.Second},
		{8 * time.Second, 1500 * time.Millisecond, 6 * time.Second},
		{1500 * time.Millisecond, 500 * time.Millisecond, 0},
		{time.Minute, time.Second, 57 * time.Second},
	} {
		timing := Timing{Lease: c.lease, Renew: c.renew}
		if got := timing.WatchdogLongest(); got != c.longest {
			t.Errorf("lease %v, renewed every %v: %v, want %v", c.lease, c.renew, got, c.longest)
		}
		for timeout := time.Second; timeout < time.Minute; timeout += time.Second {
			if long := (&Timing{Lease: timing.leaseFor(timeout), Renew: c.renew}); long.WatchdogLongest() < timeout {
				t.Errorf("a lease of %v does not allow %v", long.Lease, timeout)
			}
		}
	}
	if _, err := withFence(t, "{driver: watchdog}", "\ntiming: {lease: 1500ms}\n"); err == nil ||
		!strings.Contains(err.Error(), "is too short for a watchdog, whose shortest timeout is 1s") || !strings.Contains(err.Error(), "make the lease 1.8s or longer") {
		t.Error(err)
	}
}
