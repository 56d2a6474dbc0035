package failover

import (
	"math"
	"testing"
	"time"
)

func TestPhiGrowsWithSilence(t *testing.T) {
	var g gaps
	if g.phi(time.Hour, time.Second) != 0 {
		t.Error("a link that was never heard has a phi")
	}
	for range 500 {
		g.add(250 * time.Millisecond)
	}
	last := -1.0
	for silent := time.Duration(0); silent < 3*time.Second; silent += 10 * time.Millisecond {
		now := g.phi(silent, 125*time.Millisecond)
		if math.IsNaN(now) || now < last || now > phiMax {
			t.Fatalf("phi %v after %v, %v before", now, silent, last)
		}
		last = now
	}
	if at := g.phi(250*time.Millisecond, 125*time.Millisecond); at > 0.4 {
		t.Errorf("phi is %v when the next heartbeat is due", at)
	}
	if last < 8 {
		t.Errorf("phi is %v after 3 s", last)
	}
	// A link that is irregular is given more time.
	rough := g
	for i := range 500 {
		rough.add(time.Duration(i%10) * 100 * time.Millisecond)
	}
	if rough.phi(time.Second, 125*time.Millisecond) >= g.phi(time.Second, 125*time.Millisecond) {
		t.Error("an irregular link is judged like a regular one")
	}
}

func TestLinksAreCountedApart(t *testing.T) {
	d := newDetector(Config{Links: []string{"private", "lan"}, Heartbeat: 250 * time.Millisecond, MinorBeats: 3, Major: 2 * time.Second})
	now := time.Hour
	for range 20 {
		now += 250 * time.Millisecond
		d.beat(now, "private", "server2")
		d.beat(now, "lan", "server2")
	}
	for range 8 {
		now += 250 * time.Millisecond
		d.beat(now, "lan", "server2")
		d.tick(now, "server2")
	}
	v := d.view(now)
	if v.Links[0].Minor != 1 || v.Links[1].Minor != 0 || v.Links[0].LastMinor == 0 || v.Links[0].LastMinor != v.LastMinor || v.LastMajor != 0 {
		t.Errorf("%+v", v)
	}
	if v.Links[0].Phi < 5 || v.Links[1].Phi > 1 {
		t.Errorf("phi %.1f and %.1f", v.Links[0].Phi, v.Links[1].Phi)
	}
	dead := now + 2*time.Second
	for now < dead {
		now += 250 * time.Millisecond
		d.tick(now, "server2")
	}
	if v = d.view(now); v.Major != 1 || v.LastMajor != now || v.Minor != 2 {
		t.Errorf("%+v", v)
	}
}
