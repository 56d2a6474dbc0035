package health

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func check(c Check) *Check {
	c = c.WithDefaults()
	return &c
}

func TestLook(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := free.Addr().String()
	_ = free.Close()
	for name, c := range map[string]struct {
		check Check
		want  string // in the error; empty: none
	}{
		"port answers":       {check: Check{TCP: l.Addr().String()}},
		"port is closed":     {check: Check{TCP: dead}, want: "nothing answers on " + dead},
		"command succeeds":   {check: Check{Command: []string{"true"}}},
		"command fails":      {check: Check{Command: []string{"sh", "-c", "echo no disk; exit 3"}}, want: "exit status 3, saying: no disk"},
		"no such command":    {check: Check{Command: []string{"/nowhere/at/all"}}, want: "no such file"},
		"environment":        {check: Check{Command: []string{"sh", "-c", `[ "$WORD" = yes ]`}, Environment: []string{"WORD=yes"}}},
		"both, port is dead": {check: Check{TCP: dead, Command: []string{"true"}}, want: "nothing answers"},
	} {
		t.Run(name, func(t *testing.T) {
			err := check(c.check).Look(t.Context())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("look: %v, want %q", err, c.want)
			}
		})
	}
}

// TestHangingCommandIsEnded: also what it started, which holds its output open.
func TestHangingCommandIsEnded(t *testing.T) {
	c := check(Check{Command: []string{"sh", "-c", "echo waiting; sleep 1000 & sleep 1000"}, Timeout: 300 * time.Millisecond})
	err := c.Look(t.Context())
	if err == nil || !strings.Contains(err.Error(), "did not end within 300ms, saying: waiting") {
		t.Errorf("look: %v", err)
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	// Fails on the 1st, 3rd, 4th and 5th look.
	script := `echo x >>"$DIR/looks"; n=$(wc -l <"$DIR/looks"); [ $n = 2 ]`
	c := check(Check{Command: []string{"sh", "-c", script}, Environment: []string{"DIR=" + dir},
		Interval: time.Millisecond, Timeout: 10 * time.Second})
	err := c.Watch(t.Context())
	if err == nil || !strings.Contains(err.Error(), "failed 3 times in a row") {
		t.Errorf("watch: %v", err)
	}
	looks, err := os.ReadFile(filepath.Join(dir, "looks"))
	if err != nil || len(looks) != len("x\n")*5 {
		t.Errorf("it looked %d times (%v), want 5", len(looks)/2, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := check(Check{Command: []string{"false"}, Interval: time.Millisecond}).Watch(ctx); err != nil {
		t.Errorf("a watch that was ended: %v", err)
	}
}
