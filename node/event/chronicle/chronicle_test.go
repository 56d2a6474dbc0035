package chronicle

import (
	"testing"
	"time"

	"gemel/node/event"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(ms int, volume, kind, text, reason string, fields ...string) event.Event {
	e := event.Event{Time: noon.Add(time.Duration(ms) * time.Millisecond), Node: "server2", Volume: volume, Kind: kind, Text: text, Reason: reason}
	for i := 0; i+1 < len(fields); i += 2 {
		if e.Fields == nil {
			e.Fields = map[string]string{}
		}
		e.Fields[fields[i]] = fields[i+1]
	}
	return e
}

func takeOver() []event.Event {
	return []event.Event{
		at(0, "", "failure.major", "MAJOR failure: server1 is silent on every link.", "no heartbeat for 2s", "silent", "2s"),
		at(10, "data", "campaign", "server2 asks the voters for epoch 3.", "server1 is silent", "peer", "silent for 2s"),
		at(100, "data", "campaign.waiting", "", "a lease", "vote witness", "honours a lease for another 600ms"),
		at(700, "data", "elected", "server2 reigns in epoch 3.", "2 of 3", "vote witness", "promised epoch 3"),
		at(720, "", "fence.off", "server1 is off.", "redfish: PowerState Off"),
		at(750, "data", "step.done", "Done.", "", "step", "make sure that the peer is out of the way", "took_ms", "50.0"),
		at(800, "data", "step.done", "Done.", "", "step", "make the replica Primary", "took_ms", "40.0"),
	}
}

func TestTakeOver(t *testing.T) {
	list := Decisions(append(takeOver(), at(810, "data", "serving", "server2 serves data.", "")))
	if len(list) != 3 {
		t.Fatalf("%d decisions: %+v", len(list), list)
	}
	d := list[1]
	if d.Kind != TakeOver || d.Outcome != "serves" || d.Failed || d.Total != 2810*time.Millisecond {
		t.Errorf("%+v", d)
	}
	if d.Seen["vote witness"] != "promised epoch 3" || d.Seen["waited for"] != "a lease" || d.Seen["fence"] != "server1 is off. redfish: PowerState Off" ||
		d.Seen["peer"] != "silent for 2s" {
		t.Errorf("seen: %v", d.Seen)
	}
	var took []time.Duration
	for _, s := range d.Steps {
		took = append(took, s.Took/time.Millisecond)
	}
	if len(took) != 4 || took[0] != 2000 || took[1] != 690 || took[2] != 50 || took[3] != 40 || !d.Steps[3].Begin.Equal(noon.Add(760*time.Millisecond)) {
		t.Errorf("steps: %+v", d.Steps)
	}
}

func TestACourseThatFailsAndOneThatIsRefused(t *testing.T) {
	list := Decisions(append(takeOver(),
		at(900, "data", "step.error", "Not done.", "no such device", "step", "mount the file system", "took_ms", "10.0"),
		at(901, "data", "step.failed", "server2 could not mount the file system: no such device.", ""),
		at(950, "data", "leaving", "server2 lets the volume go cleanly.", "could not mount"),
		at(1000, "data", "left", "server2 is Secondary.", ""),
		at(2000, "logs", "campaign", "server2 asks.", "silent"),
		at(2100, "logs", "campaign.refused", "server2 does not become Primary.", "its data is not current", "vote witness", "refuses")))
	if d := list[1]; !d.Failed || d.Outcome != "server2 could not mount the file system: no such device." || !d.Steps[4].Failed {
		t.Errorf("failed: %+v", d)
	}
	if d := list[3]; d.Kind != HandOver || d.Outcome != "left, Secondary" {
		t.Errorf("left: %+v", d)
	}
	if d := list[4]; !d.Failed || d.Outcome != "refused: its data is not current" || d.Seen["vote witness"] != "refuses" {
		t.Errorf("refused: %+v", d)
	}
}

// TestAnythingCanBeRead: an excerpt begins in the middle of a course.
func TestAnythingCanBeRead(t *testing.T) {
	all := append(takeOver(), at(810, "data", "serving", "server2 serves data.", ""))
	for from := range all {
		for to := from; to <= len(all); to++ {
			for _, d := range Decisions(all[from:to]) {
				if d.Total < 0 {
					t.Errorf("events %d to %d: %+v", from, to, d)
				}
			}
		}
	}
}
