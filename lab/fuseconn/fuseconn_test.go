package fuseconn

import (
	"os"
	"testing"
)

func TestParseMount(t *testing.T) {
	for _, test := range []struct {
		line string
		want uint32
		ok   bool
	}{
		{"90 80 0:52 / /run/gemel/fuse rw,nosuid - fuse.gemel gemel rw,user_id=0", 52, true},
		{"90 80 0:52 / /mnt rw shared:1 - fuse x rw", 52, true},
		{"24 1 0:21 / /sys/fs/fuse/connections rw - fusectl fusectl rw", 0, false},
		{"24 1 8:1 / / rw - ext4 /dev/root rw", 0, false},
		{"garbage", 0, false},
		{"1 2 - fuse x", 0, false},
	} {
		got, ok := parseMount(test.line)
		if ok != test.ok || (ok && got != test.want) {
			t.Errorf("parseMount(%q) = %d, %v; want %d, %v", test.line, got, ok, test.want, test.ok)
		}
	}
}

func TestListLeavesNoMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root on the host: mounts the FUSE control file system")
	}
	if _, err := os.Stat(controlDir); err != nil {
		t.Skip("the host's kernel has no FUSE (" + controlDir + " is missing)")
	}
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := List(); err != nil {
		t.Fatal(err)
	}
	if aborted, err := Abort(4294967295); err != nil || len(aborted) != 0 {
		t.Fatalf("abort of nothing: %v, %v", aborted, err)
	}
	after, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || string(after) != string(before) {
		t.Fatalf("the host's mounts changed (%v)", err)
	}
}

func TestOfBoxWithoutProcess(t *testing.T) {
	if _, err := OfBox(1 << 30); err == nil {
		t.Fatal("a process that cannot exist has connections")
	}
}
