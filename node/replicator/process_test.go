package replicator

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gemel/node/config"
	"gemel/node/frontend/keeper"
)

// childMark makes the test binary act as a replicator that only prepares itself.
const childMark = "GEMEL_TEST_NAMESPACE"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "keeper" {
		if err := keeper.Serve(context.Background(), os.Args[2]); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if path := os.Getenv(keptMark); path != "" {
		os.Exit(actAsReplicator(path))
	}
	if os.Getenv(childMark) == "" {
		os.Exit(m.Run())
	}
	before, _ := os.Readlink(ownNamespace)
	err := enterNamespace(&config.Config{}, slog.New(slog.DiscardHandler))
	after, _ := os.Readlink(ownNamespace)
	fmt.Println(os.Getpid(), before, after, os.Getenv(marker) == "", err)
	os.Exit(0)
}

// TestOwnNamespace starts a process that must end up in a mount namespace that
// is not this test's, under the number it was started with.
func TestOwnNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: a mount namespace takes CAP_SYS_ADMIN")
	}
	own, err := os.Readlink(ownNamespace)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.Readlink(initNamespace)
	if err == nil && first != own {
		t.Skip("this test runs in a namespace apart from process 1 already; a replicator would stay in it")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	child := exec.CommandContext(t.Context(), self) //nolint:gosec // this test
	child.Env, child.Stdout, child.Stderr = append(os.Environ(), childMark+"=1"), &out, &out
	if err := child.Run(); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	f := strings.Fields(out.String())
	if len(f) != 5 || f[0] != fmt.Sprint(child.Process.Pid) || f[2] == own || f[3] != "true" || f[4] != "<nil>" {
		t.Errorf("the child of %s, process %d, says %q", own, child.Process.Pid, out.String())
	}
}

func TestMountedFrom(t *testing.T) {
	const table = `36 35 98:0 /mnt1 /srv/a\040b rw,noatime master:1 - ext4 /dev/root rw
37 35 259:4 / /srv/data rw - ext4 /dev/ublkb0 rw
38 35 98:0 / /mnt rw - ext4 /dev/root rw
`
	for number, want := range map[string]string{"98:0": "[/srv/a b /mnt]", "259:4": "[/srv/data]", "8:0": "[]"} {
		if got := fmt.Sprint(mountedFrom(table, number)); got != want {
			t.Errorf("%s is mounted at %s, want %s", number, got, want)
		}
	}
}

func TestMountsOfOthersAreLeftOut(t *testing.T) {
	const table = `22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw - ext4 /dev/vda rw
30 27 254:1 / /usr rw - ext4 /dev/vdb rw
31 30 254:2 / /usr/local rw - ext4 /dev/vdc rw
32 27 8:1 / /media/stick rw - vfat /dev/sda1 rw
33 32 8:17 / /media/stick/a\040b rw - vfat /dev/sdb1 rw
34 27 0:40 / /srv/tmp rw - tmpfs tmpfs rw
35 27 8:33 / /srv/state rw - ext4 /dev/sdc1 rw
37 27 8:33 / /etc/hosts rw - ext4 /dev/sdc1 rw
36 27 8:34 / /srv/state2 rw - ext4 /dev/sdc2 rw
`
	needed := []string{"/usr", "/srv/state/gemel", "/not/there"}
	want := []string{"/srv/state2", "/media/stick/a b", "/media/stick", "/usr/local"}
	if got := spareMounts(table, needed); !slices.Equal(got, want) {
		t.Errorf("left out are %q, want %q", got, want)
	}
}

// TestPathsBehindLinksAreNeeded: a state directory may be a link to another disk.
func TestPathsBehindLinksAreNeeded(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir), link); err != nil {
		t.Fatal(err)
	}
	got := withTargets([]string{link, "", "/not/there/../at/all"})
	if want := []string{link, dir, "/not/at/all"}; !slices.Equal(got, want) {
		t.Errorf("needed are %q, want %q", got, want)
	}
}
