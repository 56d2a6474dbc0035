package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// examineElsewhere runs the real probes in a process of this test's program that lacks
// something, and returns what it found.
func examineElsewhere(t *testing.T, environment []string, lacking *unix.SysProcAttr) map[string]Finding {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Where everybody may read it: the process may be nobody's.
	copied := filepath.Join(publicDir(t), "examine")
	data, err := os.ReadFile(own)
	if err == nil {
		err = os.WriteFile(copied, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), copied)
	command.Env = append(os.Environ(), append(environment, "DOCTOR_EXAMINE=1")...)
	command.Dir = "/"
	command.SysProcAttr = lacking
	var out bytes.Buffer
	command.Stdout = &out
	if err := command.Run(); err != nil {
		t.Fatalf("examine: %v: %s", err, out.String())
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	var findings []Finding
	if err := json.Unmarshal([]byte(line), &findings); err != nil {
		t.Fatalf("findings: %v: %s", err, out.String())
	}
	named := map[string]Finding{}
	for _, f := range findings {
		named[f.What] = f
	}
	return named
}

// publicDir is a directory that every user can reach.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "doctor")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestMain makes an examination of the test program when it is told so.
func TestMain(m *testing.M) {
	if os.Getenv("DOCTOR_EXAMINE") == "" {
		os.Exit(m.Run())
	}
	if err := examineHere(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// examineHere is what the process does that lacks something.
func examineHere() error {
	if root := os.Getenv("DOCTOR_ROOT"); root != "" {
		if err := unix.Chroot(root); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(Examine(context.Background(), HostProbes()))
}

// useful holds that a probe failed and said why, what to do, and what is left.
func useful(t *testing.T, findings map[string]Finding, what, detail string) {
	t.Helper()
	f, ok := findings[what]
	if !ok || f.OK {
		t.Errorf("%s: found %+v, want a failure", what, f)
		return
	}
	if f.Why == "" || f.Fix == "" || !strings.Contains(f.Detail, detail) {
		t.Errorf("%s: not a useful answer: %+v", what, f)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: takes privileges away from a process")
	}
}

func TestWithoutPrivileges(t *testing.T) {
	needRoot(t)
	nobody := &unix.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	findings := examineElsewhere(t, nil, nobody)
	useful(t, findings, "root", "user id 65534")
	useful(t, findings, "loop devices", "permission denied")
	useful(t, findings, "veth, bridge, namespaces", "operation not permitted")
	useful(t, findings, "packet sockets", "operation not permitted")
	useful(t, findings, "wall clock", "CAP_SYS_TIME")
}

func TestWithoutDocker(t *testing.T) {
	findings := examineElsewhere(t, []string{"DOCKER_HOST=unix:///nonexistent/docker.sock", "PATH=/nonexistent"}, nil)
	useful(t, findings, "container engine", "none answers")
	useful(t, findings, "engine API", "no engine answers")
	useful(t, findings, "node image", "not built")
	useful(t, findings, "tools", "docker")
	if findings["tools"].Fallback == "" || findings["container engine"].Fallback != "" {
		t.Errorf("fallbacks: %+v, %+v", findings["tools"], findings["container engine"])
	}
}

func TestWithoutFUSE(t *testing.T) {
	needRoot(t)
	empty := publicDir(t) // no /dev/fuse, no /dev at all
	findings := examineElsewhere(t, []string{"DOCTOR_ROOT=" + empty}, nil)
	useful(t, findings, "FUSE", "no such file")
	if !strings.Contains(findings["FUSE"].Fix, "modprobe fuse") {
		t.Errorf("fix: %+v", findings["FUSE"])
	}
	var all []Finding
	for _, f := range findings {
		all = append(all, f)
	}
	if Ready(all) {
		t.Error("a host without FUSE is ready")
	}
}

func TestOlder(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"1.9", "1.41"}: true, {"1.41", "1.41"}: false, {"1.50", "1.41"}: false, {"2.0", "1.41"}: false, {"0.99", "1.41"}: true,
	} {
		if got := older(pair[0], pair[1]); got != want {
			t.Errorf("%s older than %s: %v", pair[0], pair[1], got)
		}
	}
}
