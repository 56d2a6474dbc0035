package selfreboot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// box is a box that notes the kernel's orders.
type box struct {
	Way
	orders []int
}

func newBox(t *testing.T, pids, caps string, marks ...string) *box {
	t.Helper()
	b := &box{Way: Way{root: t.TempDir()}}
	b.Way.reboot = func(cmd int) error { b.orders = append(b.orders, cmd); return nil }
	put := func(path, text string) {
		path = filepath.Join(b.root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("proc/self/status", "Name:\tgemel\nCapEff:\t"+caps+"\n")
	put("proc/self/ns/net", "")
	if err := os.Symlink(pids, filepath.Join(b.root, "proc/self/ns/pid")); err != nil {
		t.Fatal(err)
	}
	for _, mark := range marks {
		put(mark, "")
	}
	return b
}

func TestTheKernelsOrder(t *testing.T) {
	const host, own, all = "pid:[4026531836]", "pid:[4026532271]", "000001ffffffffff"
	for name, c := range map[string]struct {
		box  *box
		euid int
		says string
	}{
		"a box":                              {newBox(t, host, all), 0, ""},
		"a container with its own processes": {newBox(t, own, all, "/.dockerenv"), 0, ""},
		"a container with the host's":        {newBox(t, host, all, "/.dockerenv"), 0, "would restart the host"},
		"another one":                        {newBox(t, host, all, "/run/.containerenv"), 0, "would restart the host"},
		"a unit of systemd in a container":   {newBox(t, host, all, "/run/systemd/container"), 0, "would restart the host"},
		"nobody in particular":               {newBox(t, host, all), 1000, "only root"},
		"root without the right":             {newBox(t, host, "00000000a80425fb"), 0, "CAP_SYS_BOOT"},
		"root of whom nothing is known":      {newBox(t, host, "?"), 0, "CAP_SYS_BOOT"},
	} {
		c.box.euid = c.euid
		able, did := c.box.Able(), c.box.Do(t.Context())
		for _, err := range []error{able, did} {
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", name, err, c.says)
			}
		}
		if want := c.says == ""; want != (len(c.box.orders) == 1) || want && c.box.orders[0] != unix.LINUX_REBOOT_CMD_RESTART {
			t.Errorf("%s: orders %x", name, c.box.orders)
		}
	}
}

func TestACommand(t *testing.T) {
	b := newBox(t, "pid:[4026531836]", "0", "/.dockerenv")
	mark := filepath.Join(t.TempDir(), "rebooted")
	b.argv = []string{"/bin/sh", "-c", ": > " + mark}
	if err := errors.Join(b.Able(), b.Do(t.Context())); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(mark); err != nil || len(b.orders) > 0 {
		t.Errorf("%v, orders %x", err, b.orders)
	}
	b.argv = []string{"/bin/sh", "-c", "echo not today; exit 7"}
	if err := b.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Error(err)
	}
	b.argv = []string{"/nonexistent/reboot"}
	if err := b.Able(); err == nil || b.Do(t.Context()) == nil {
		t.Error("a command that is not there")
	}
}
