package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/event"
	"gemel/node/replicator/control"
)

var update = flag.Bool("update", false, "write golden files anew")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// wellStatus is a pair in best order, seen from its Primary.
func wellStatus() api.Status {
	chosen := arbiter.Accepted{Epoch: 2, Version: 3, Set: arbiter.Both}
	return api.Status{
		Version: "v0.1.0", Cluster: "lab", Node: "server1", Time: noon, Uptime: 3*time.Hour + 12*time.Minute,
		Peer:    api.PeerStatus{Name: "server2", Alive: true, LastSeen: noon, Minor: 1, LastMinor: noon},
		Witness: api.VoterStatus{Name: "witness", Reachable: true, LastSeen: noon},
		Links: []api.LinkStatus{
			{Name: "private", Local: "198.18.1.1", Remote: "198.18.1.2", Up: true, Carrier: true, RTT: 312 * time.Microsecond},
			{Name: "lan", Local: "198.18.0.1", Remote: "198.18.0.2", Up: true, Carrier: true, RTT: 480 * time.Microsecond},
		},
		Volumes: []api.Volume{{
			VolumeState: control.VolumeState{Name: "data", Role: control.Primary, Disk: control.UpToDate, PeerDisk: control.UpToDate,
				Connection: control.Connected, PeerPath: "private", Backing: "/dev/loop5", Device: "/dev/gemel/data", Size: 10 << 30,
				Epoch: 2, Chosen: chosen, Record: arbiter.Record{Promised: 2, Accepted: chosen}},
			PeerRole: control.Secondary, Phase: "serving", Lease: 2400 * time.Millisecond, InSync: arbiter.Both,
			InSyncBy: []string{"server1", "server2"}, Mount: "/srv/data",
			Addresses: []api.Held{{Address: "198.18.0.250", Held: true, Holder: "server1"}},
			Services:  []api.Running{{Name: "nfs", State: "running", PID: 812}},
		}},
		LastEvent: &event.Event{Time: noon.Add(-time.Minute), Kind: "set.grown", Text: "Both nodes hold every write of data again.",
			Reason: "server2 finished its resync"},
	}
}

// alone is server1 serving with its peer gone.
func alone(s *api.Status) *api.Volume {
	s.Peer.Alive, s.Peer.LastSeen, s.Peer.Major = false, noon.Add(-42*time.Second), 1
	for i := range s.Links {
		s.Links[i].Up, s.Links[i].Missed, s.Links[i].RTT = false, 168, 0
	}
	v := &s.Volumes[0]
	v.PeerRole, v.PeerDisk, v.Connection, v.PeerPath = control.Unknown, control.Unknown, control.Connecting, ""
	v.ConnectionReason = "no answer on private"
	v.Chosen.Version, v.Chosen.Set, v.InSync, v.InSyncBy = 4, 1, 1, []string{"server1"}
	v.OutOfSync = 3 << 20
	s.LastEvent = &event.Event{Time: noon.Add(-40 * time.Second), Kind: "failure.major", Text: "server2 is taken for dead.",
		Reason: "silent on all links (private, lan) for 2 s"}
	return v
}

// idle is server1 as a Secondary that nobody serves.
func idle(s *api.Status) *api.Volume {
	v := &s.Volumes[0]
	v.Role, v.PeerRole, v.Device, v.Mount, v.Lease, v.Epoch = control.Secondary, control.Unknown, "", "", 0, 0
	v.Addresses[0] = api.Held{Address: "198.18.0.250"}
	v.Services[0] = api.Running{Name: "nfs", State: "stopped"}
	return v
}

var situations = map[string]func(*api.Status){
	"healthy":   func(*api.Status) {},
	"peer-lost": func(s *api.Status) { alone(s) },
	"secondary": func(s *api.Status) {
		v := idle(s)
		v.PeerRole, v.Phase, v.Addresses[0].Holder, v.Epoch = control.Primary, "following server2", "server2", 3
	},
	"resyncing": func(s *api.Status) {
		v := &s.Volumes[0]
		v.PeerDisk, v.OutOfSync, v.InSyncBy, v.InSync = control.Inconsistent, 5<<30, []string{"server1"}, 1
		v.Resync = &control.Resync{Direction: "source", Full: true, Total: 10 << 30, Done: 5 << 30, Rate: 110 << 20, ETA: 46 * time.Second}
	},
	"resync-unreadable": func(s *api.Status) {
		v := &s.Volumes[0]
		v.PeerDisk, v.OutOfSync, v.InSyncBy, v.InSync = control.Inconsistent, 8<<10, []string{"server1"}, 1
		v.Resync = &control.Resync{Direction: "source", Full: true, Total: 10 << 30, Done: 10<<30 - 8<<10, Unreadable: 8 << 10, Stuck: true,
			UnreadableRanges: []control.Range{{Offset: 1 << 20, Length: 4096}, {Offset: 5 << 20, Length: 4096}},
			Waiting:          "everything else is copied; a write over the blocks that are left makes both sides good, if the disks take it"}
	},
	"etcd-lost": func(s *api.Status) {
		s.Witness = api.VoterStatus{Name: "etcd", Kind: api.ThirdEtcd, LastSeen: noon.Add(-41 * time.Second),
			Means: "the pair goes on, but the next failure of a node stops the service until etcd is back"}
	},
	"witness-lost": func(s *api.Status) {
		s.Witness.Reachable, s.Witness.LastSeen = false, noon.Add(-5*time.Minute)
		s.Witness.Means = "if one node dies now, the other will not take over until the witness is back or an operator grabs"
	},
	"refused": func(s *api.Status) {
		alone(s)
		v := idle(s)
		v.Disk, v.Phase, v.InSyncBy, v.InSync, v.Chosen.Set = control.Consistent, "waiting", []string{"server2"}, 2, 2
		v.Refusal = "server1 does not hold the newest writes: the voters recorded server2 alone (epoch 3 version 4). " +
			"Start server2; if it is lost for good, `gemel grab data --stale` gives its writes up."
		s.LastEvent = &event.Event{Time: noon.Add(-3 * time.Second), Kind: "campaign.refused", Text: "server1 will not become Primary of data.",
			Reason: "not in the newest in-sync set"}
	},
	"frozen": func(s *api.Status) {
		v := alone(s)
		s.Witness.Reachable, s.Witness.LastSeen = false, noon.Add(-41*time.Second)
		v.InSyncBy, v.InSync, v.Lease = []string{"server1", "server2"}, arbiter.Both, 0
		v.Frozen = "server2 is lost, and no second voter has recorded that server1 goes on alone; waiting for the witness"
	},
	"replicator-down": func(s *api.Status) {
		s.ReplicatorProblem = "the replicator does not answer on /run/gemel/replicator.sock; start it with `gemel replicator`"
		v := idle(s)
		v.VolumeState = control.VolumeState{Name: "data", Role: control.Unknown, Disk: control.Unknown, PeerDisk: control.Unknown,
			Connection: control.Unknown, Problem: "the replicator does not answer"}
		v.PeerRole, v.Phase, v.Addresses[0].Holder = control.Primary, "following server2", "server2"
		v.Chosen = arbiter.Accepted{Epoch: 3, Version: 2, Set: 2}
		v.InSyncBy = []string{"server2"}
	},
	"split-brain": func(s *api.Status) {
		v := &s.Volumes[0]
		v.Connection, v.PeerDisk, v.PeerPath = control.StandAlone, control.Unknown, ""
		v.ConnectionReason = "split brain: both sides acknowledged writes alone; decide which side to keep"
		v.InSyncBy, v.InSync = []string{"server1"}, 1
	},
	"cable-pulled": func(s *api.Status) {
		s.Links[0].Carrier, s.Links[0].Up, s.Links[0].Missed = false, false, 9
		s.Volumes[0].PeerPath = "lan"
	},
	"witness": func(s *api.Status) {
		*s = api.Status{Version: "v0.1.0", Cluster: "lab", Node: "witness", Role: "witness", Time: noon, Uptime: 26 * time.Hour,
			Records: []api.VoterRecord{
				{Volume: "data", Record: arbiter.Record{Promised: 2, Accepted: arbiter.Accepted{Epoch: 2, Version: 3, Set: 3}},
					InSyncBy: []string{"server1", "server2"}},
				{Volume: "new", Record: arbiter.Record{Fresh: true}},
			}}
	},
}

func TestStatusScreens(t *testing.T) {
	for name, change := range situations {
		t.Run(name, func(t *testing.T) {
			s := wellStatus()
			change(&s)
			got := renderStatus(&s, false)
			golden(t, filepath.Join("testdata", name+".golden"), got)
			lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
			if len(lines) > 24 {
				t.Errorf("%d lines; a screen has 24", len(lines))
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l) > 100 {
					t.Errorf("line of %d columns: %s", utf8.RuneCountInString(l), l)
				}
			}
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file) //nolint:gosec // named by the test
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if the change is meant: go test ./node/cli -update\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

func TestColourOnlyOnATerminal(t *testing.T) {
	s := wellStatus()
	if strings.Contains(renderStatus(&s, false), "\x1b") || !strings.Contains(renderStatus(&s, true), "\x1b[32mHEALTHY") {
		t.Error("colour")
	}
}

func TestStakes(t *testing.T) {
	s := wellStatus()
	v := alone(&s)
	idle(&s)
	golden(t, "testdata/stakes.golden", stakes(&s, v, true))
}

func TestList(t *testing.T) {
	s := wellStatus()
	golden(t, "testdata/list.golden", renderList(&s))
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{-1: "0 s", 300 * time.Microsecond: "0.30 ms", 2400 * time.Millisecond: "2.4 s",
		42 * time.Second: "42 s", 61 * time.Second: "1 min 1 s", 3*time.Hour + time.Minute: "3 h 1 min", 50 * time.Hour: "2 d 2 h"} {
		if got := span(d); got != want {
			t.Errorf("span(%d) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 10 << 30: "10.0 GiB", 5 << 50: "5120.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	for _, b := range []string{bar(0, 0, 4), bar(5, 0, 4), bar(-1, 2, 4)} {
		if b != "[....]   0.0 %" {
			t.Errorf("empty bar %q", b)
		}
	}
	if got := bar(9, 2, 4); got != "[####] 100.0 %" {
		t.Errorf("overfull bar %q", got)
	}
	if got := strings.Join(wrap("one two three", 7), "|"); got != "one two|three" {
		t.Errorf("wrap: %s", got)
	}
}
