package leftovers

import (
	"slices"
	"testing"
)

func TestSince(t *testing.T) {
	before := Snapshot{"disks": {"/dev/loop1 on a"}, "mounts": {"/x"}}
	after := Snapshot{"disks": {"/dev/loop1 on a", "/dev/loop2 on b"}, "mounts": {}, "veths": {"v"}}
	want := []string{"disks: /dev/loop2 on b", "veths: v"}
	if got := after.Since(before); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := before.Since(before); len(got) != 0 {
		t.Errorf("nothing changed, yet %q", got)
	}
}

func TestOfKeepsOneLab(t *testing.T) {
	all := Snapshot{
		"containers": {"gemel-a-server1", "gemel-ab-server1"},
		"disks":      {"/dev/loop1 on /var/lib/gemel-lab/a/x", "/dev/loop2 on /var/lib/gemel-lab/ab/x"},
		"frontends":  {"gemel.a.server1:data is /dev/loop3", "gemel.ab.server1:data is /dev/loop4"},
	}
	if got := all.Of("a").Count(); got != 3 {
		t.Errorf("lab a owns %d things, want 3: %v", got, all.Of("a"))
	}
}
