package packaging

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// binary is gemel, built for all tests once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gemel-packaging")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "gemel")
	out, err := exec.Command("go", "build", "-o", binary, "../node").CombinedOutput() //nolint:gosec,noctx // our own program
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintf(os.Stderr, "build gemel: %v\n%s", err, out)
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func need(t *testing.T, program, debian string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("needs %s (package %s)", program, debian)
	}
}

// installed returns a root directory with everything in it.
func installed(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	run(t, []string{"DESTDIR=" + root, "PREFIX=/usr", "GEMEL_BINARY=" + binary}, "./install.sh")
	return root
}

// TestUnitsAreUnderstood has systemd read them, with the binary in its place.
func TestUnitsAreUnderstood(t *testing.T) {
	need(t, "systemd-analyze", "systemd")
	root := installed(t)
	units, err := filepath.Glob(root + "/usr/lib/systemd/system/*.service")
	if err != nil || len(units) != 3 {
		t.Fatalf("the units are %v (%v)", units, err)
	}
	for _, unit := range units {
		text, err := os.ReadFile(unit) //nolint:gosec // just installed
		if err != nil {
			t.Fatal(err)
		}
		there := strings.ReplaceAll(string(text), "/usr/bin/gemel", root+"/usr/bin/gemel")
		if err := os.WriteFile(unit, []byte(there), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify", "--man=no"}, units...)...).CombinedOutput() //nolint:gosec // just installed
	if about := regexp.MustCompile(`(?m)^.*gemel-.*$`).FindAllString(string(out), -1); len(about) > 0 {
		t.Errorf("systemd-analyze: %v\n%s", err, strings.Join(about, "\n"))
	}
}

// TestUnitsStartWhatThereIs: every command of a unit is one of the binary.
func TestUnitsStartWhatThereIs(t *testing.T) {
	root := installed(t)
	units, _ := filepath.Glob("units/*.service")
	for _, unit := range units {
		text, err := os.ReadFile(unit) //nolint:gosec // a file of this directory
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/gemel (\w+)$`).FindStringSubmatch(string(text))
		if m == nil {
			t.Errorf("%s starts nothing", unit)
			continue
		}
		if help := run(t, nil, root+"/usr/bin/gemel", m[1], "--help"); !strings.Contains(help, "gemel "+m[1]) {
			t.Errorf("%s: the binary has no %q", unit, m[1])
		}
	}
}

// TestUnitsKeepWhatOutlivesADaemon: what a restart must not take along.
func TestUnitsKeepWhatOutlivesADaemon(t *testing.T) {
	for unit, lines := range map[string][]string{
		"gemel-replicator": {"KillMode=process", "RuntimeDirectoryPreserve=yes", "LimitMEMLOCK=infinity"},
		"gemel-agent":      {"KillMode=process", "RuntimeDirectoryPreserve=yes", "After=gemel-replicator.service network-online.target time-sync.target"},
	} {
		text, err := os.ReadFile("units/" + unit + ".service") //nolint:gosec // a file of this directory
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.Contains(string(text), "\n"+line+"\n") {
				t.Errorf("%s does not say %s", unit, line)
			}
		}
	}
}

// TestDebianPackage builds one and looks what is in it, and who owns it.
func TestDebianPackage(t *testing.T) {
	need(t, "dpkg-deb", "dpkg")
	out := t.TempDir()
	env := []string{"GEMEL_BINARY=" + binary}
	for version, want := range map[string]string{"v1.2.3": "1.2.3", "ab12cd3-dirty": "0~git.ab12cd3.dirty"} {
		deb := strings.TrimSpace(run(t, env, "./deb.sh", version, out))
		if got := strings.TrimSpace(run(t, nil, "dpkg-deb", "--field", deb, "Version")); got != want {
			t.Errorf("version %s of the source is %s of the package, want %s", version, got, want)
		}
		content := run(t, nil, "dpkg-deb", "--contents", deb)
		for _, file := range []string{"-rwxr-xr-x root/root .* ./usr/bin/gemel", "-rw-r--r-- root/root .* ./usr/lib/systemd/system/gemel-agent.service",
			"./usr/lib/systemd/system/gemel-replicator.service", "./usr/lib/systemd/system/gemel-witness.service",
			"./usr/lib/modules-load.d/gemel.conf", "./usr/share/bash-completion/completions/gemel"} {
			if !regexp.MustCompile("(?m)" + file + "$").MatchString(content) {
				t.Errorf("the package lacks %s:\n%s", file, content)
			}
		}
	}
}

// TestInstallSaysWhatIsMissing: nothing is written when there is no binary.
func TestInstallSaysWhatIsMissing(t *testing.T) {
	root := t.TempDir()
	c := exec.CommandContext(t.Context(), "./install.sh")
	c.Env = append(os.Environ(), "DESTDIR="+root, "GEMEL_BINARY="+filepath.Join(root, "none"))
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "next: run make build") {
		t.Errorf("it says %q (%v)", out, err)
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}
