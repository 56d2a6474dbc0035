package main

import (
	"testing"

	"gemel/lab/cluster"
	"gemel/lab/drive"
	"gemel/lab/drive/faults"
	"gemel/lab/drive/model"
	"gemel/lab/drive/server"
)

func TestDiskColumn(t *testing.T) {
	disk := &cluster.Disk{Loop: "/dev/loop5"}
	report := func(r drive.Report) *server.Status {
		r.Model = model.Params{Name: "nvme"}
		return &server.Status{Report: r}
	}
	for want, node := range map[string]cluster.NodeStatus{
		"-":                           {},
		"/dev/loop5":                  {Disk: disk},
		"/dev/loop5 nvme":             {Disk: disk, Drive: report(drive.Report{On: true})},
		"/dev/loop5 nvme, no power":   {Disk: disk, Drive: report(drive.Report{})},
		"/dev/loop5 nvme, it is dead": {Disk: disk, Drive: report(drive.Report{Broken: "it is dead"})},
		"/dev/loop5 nvme, stuck, gone": {Disk: disk, Drive: report(drive.Report{
			On: true, Faults: []faults.Fault{{Kind: faults.Stuck}, {Kind: faults.Gone}},
		})},
	} {
		if got := driveWords(node); got != want {
			t.Errorf("%+v is %q, want %q", node.Drive, got, want)
		}
	}
}

func TestDriveNames(t *testing.T) {
	for name, want := range map[string]string{
		"d1": cluster.DrivesRoot + "/d1", "a.server1": cluster.DriveDir("a", "server1"),
		"": "", "../x": "", "A": "", "a-b.server1": "",
	} {
		dir, err := driveDir(name)
		if (err == nil) != (want != "") || (err == nil && dir != want) {
			t.Errorf("drive %q is in %q (%v), want %q", name, dir, err, want)
		}
	}
}

func TestPlaceFlags(t *testing.T) {
	place := placeFlags{at: "1MiB", length: "8KiB", by: "4KiB"}
	for kind, want := range map[faults.Kind]faults.Fault{
		faults.BadSector:   {Kind: faults.BadSector, Off: 1 << 20, Len: 8192},
		faults.Misdirected: {Kind: faults.Misdirected, Off: 1 << 20, Len: 8192, By: 4096},
		faults.Stuck:       {Kind: faults.Stuck},
	} {
		got := faults.Fault{Kind: kind}
		if err := place.fill(&got); err != nil || got != want {
			t.Errorf("%s: %+v (%v), want %+v", kind, got, err, want)
		}
	}
	if err := (&placeFlags{at: "there"}).fill(&faults.Fault{Kind: faults.BadSector}); err == nil {
		t.Error("a place that is no number was accepted")
	}
}
