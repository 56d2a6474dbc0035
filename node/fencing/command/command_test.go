package command

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gemel/node/fencing"
)

func script(t *testing.T, text string) *Device {
	t.Helper()
	path := filepath.Join(t.TempDir(), "switch")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	d, err := New("server2", []string{"/bin/sh", path, "outlet-3"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestStatus(t *testing.T) {
	for text, c := range map[string]struct {
		power fencing.Power
		says  string
	}{
		`[ "$1 $2 $GEMEL_NODE" = "outlet-3 status server2" ] && echo on`: {fencing.On, ""},
		"echo off; echo more":                 {fencing.Off, ""},
		"echo unknown":                        {fencing.Unknown, ""},
		"echo OFF":                            {fencing.Unknown, `printed "OFF"; it must print on, off or unknown`},
		"true":                                {fencing.Unknown, `printed ""`},
		"echo off; echo no route >&2; exit 1": {fencing.Unknown, "no route"},
	} {
		power, err := script(t, text).Status(t.Context())
		if power != c.power || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %s, %v; want %s, %q", text, power, err, c.power, c.says)
		}
	}
}

func TestOrders(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	d := script(t, `case $2 in status) cat `+state+`;; off|on) echo $2 > `+state+`;; *) exit 9;; esac`)
	for _, c := range []struct {
		order func(context.Context) error
		want  fencing.Power
	}{{d.PowerOff, fencing.Off}, {d.PowerOn, fencing.On}} {
		if err := c.order(t.Context()); err != nil {
			t.Error(err)
		}
		if power, err := d.Status(t.Context()); power != c.want || err != nil {
			t.Errorf("%s, %v; want %s", power, err, c.want)
		}
	}
}

func TestAProgramThatHangsIsKilledWithItsChildren(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := script(t, "sleep 1000 & sleep 1000").PowerOff(ctx)
	if err == nil || !strings.Contains(err.Error(), "its time was over") {
		t.Error(err)
	}
}

func TestNewWantsAProgram(t *testing.T) {
	for _, argv := range [][]string{nil, {""}} {
		if _, err := New("server2", argv); err == nil {
			t.Errorf("%q is taken", argv)
		}
	}
}
