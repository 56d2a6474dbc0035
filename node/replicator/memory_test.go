package replicator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/block"
	"gemel/node/replicator/buffer"
)

// boundedMark makes this test the one that runs within the limit.
const boundedMark = "GEMEL_TEST_BOUNDED"

// memoryRoots are where control groups that limit memory are made, and their file.
var memoryRoots = []struct{ dir, limit, peak string }{
	{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"},
	{"/sys/fs/cgroup", "memory.max", "memory.peak"},
}

// limited makes a control group with that much memory; a test without one is skipped.
func limited(t *testing.T, most int64) (procs, peak string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes a control group")
	}
	for _, root := range memoryRoots {
		dir := filepath.Join(root.dir, "gemel-test-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if os.WriteFile(filepath.Join(dir, root.limit), []byte(strconv.FormatInt(most, 10)), 0o600) != nil {
			_ = os.Remove(dir)
			continue
		}
		t.Cleanup(func() {
			for end := time.Now().Add(10 * time.Second); os.Remove(dir) != nil && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond) // the kernel lets go of the child a little later
			}
		})
		return filepath.Join(dir, "cgroup.procs"), filepath.Join(dir, root.peak)
	}
	t.Skip("needs a control group that limits memory, and there is none to be made here")
	return "", ""
}

// TestMemoryIsBounded: both nodes of a pair with many volumes, all of them synced
// and written at the same time, stay within twice what docs/performance.md says of one.
func TestMemoryIsBounded(t *testing.T) {
	if os.Getenv(boundedMark) != "" {
		crowdUnderLoad(t)
		return
	}
	bound := 2 * memoryBound(manyVolumes, manyVolumes*16<<20)
	procs, peak := limited(t, bound)
	child := exec.CommandContext(t.Context(), "sh", "-c", `echo $$ >"$0" && exec "$@"`, procs, "/proc/self/exe",
		"-test.run", "^TestMemoryIsBounded$", "-test.v", "-test.timeout", "8m")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child.Args[4] = self
	child.Env = append(os.Environ(), boundedMark+"=1")
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	used, _ := os.ReadFile(peak)
	t.Logf("the group's limit is %d MiB, its highest use %s bytes; %s", bound>>20, strings.TrimSpace(string(used)), resident(out))
}

// resident picks the child's own words out of its output.
func resident(out []byte) string {
	for line := range strings.Lines(string(out)) {
		if _, text, ok := strings.Cut(line, "resident at most"); ok {
			return "resident at most" + strings.TrimSpace(text)
		}
	}
	return ""
}

// crowdUnderLoad lets every volume sync while four of its users write at once.
func crowdUnderLoad(t *testing.T) {
	both := manyBoxes(t)
	for _, b := range both {
		b.start(t)
	}
	var users sync.WaitGroup
	for v := range manyVolumes {
		b := both[v%2]
		b.reign(t, volumeName(v))
		dev, ok := b.devices.Load(volumeName(v))
		if !ok {
			t.Fatalf("%s is not shown", volumeName(v))
		}
		for range 4 {
			users.Go(func() {
				if err := scribble(dev.(block.Device), 24); err != nil {
					t.Error(err)
				}
			})
		}
	}
	users.Wait()
	for _, b := range both {
		b.untilAll(t)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM:") {
			t.Logf("resident at most %s", strings.TrimSpace(strings.TrimPrefix(line, "VmHWM:")))
		}
	}
}

// scribble writes n times a MiB somewhere.
func scribble(dev block.Device, n int) error {
	page := buffer.Get(1 << 20)
	defer buffer.Put(page)
	for i := range n {
		page[0] = byte(i)
		at := rand.Int64N((dev.SizeBytes()-int64(len(page)))/block.Size) * block.Size //nolint:gosec // a test
		if err := dev.WriteAt(page, at, false); err != nil {
			return fmt.Errorf("write at %d: %w", at, err)
		}
	}
	return errors.Join(dev.Flush())
}
