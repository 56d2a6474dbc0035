package failover

import (
	"testing"
	"time"
)

// hearing returns a detector that has heard the peer for some seconds, and the time.
func hearing() (*detector, time.Duration) {
	d := newDetector(Config{Links: []string{"private", "lan"}, Heartbeat: 250 * time.Millisecond, MinorBeats: 3, Major: 2 * time.Second})
	now := time.Hour
	for range 20 {
		now += 250 * time.Millisecond
		d.beat(now, "private", "server2")
		d.beat(now, "lan", "server2")
		d.tick(now, "server2")
	}
	return &d, now
}

// silence ticks as the agent does, without a beat, until the peer counts as dead or
// limit is over; it returns how long that took.
func silence(d *detector, now, limit time.Duration) (took time.Duration, died bool) {
	for took = 0; took < limit && d.alive; took += 25 * time.Millisecond {
		d.tick(now+took, "server2")
	}
	return took, !d.alive
}

// TestOwnStallIsNoSilence: a node that did not run has heard nothing, and knows nothing.
func TestOwnStallIsNoSilence(t *testing.T) {
	d, now := hearing()
	now += time.Minute // suspended
	if notes := d.tick(now, "server2"); len(notes) != 0 || !d.alive {
		t.Errorf("the first thing after a stall was %+v", notes)
	}
	if v := d.view(now); v.Links[0].Missed != 0 || v.LastSeen > now {
		t.Errorf("%+v", v)
	}
	if took, died := silence(d, now, 10*time.Second); !died || took < 1500*time.Millisecond || took > 3*time.Second {
		t.Errorf("a peer that stays silent after it: dead %v after %v, want its 2 s", died, took)
	}
}

// TestStallsDoNotHideADeath: a box that stands still again and again comes to the word, too.
func TestStallsDoNotHideADeath(t *testing.T) {
	d, now := hearing()
	stalls := 0
	for ; d.alive && stalls < 20; stalls++ {
		now += 1500 * time.Millisecond
		d.tick(now, "server2")
	}
	if d.alive || stalls > stallsForgiven+2 {
		t.Errorf("alive %v after %d stalls", d.alive, stalls)
	}
}

// TestBeatsDuringAStallCount: what waited in the mailbox is taken before the tick.
func TestBeatsDuringAStallCount(t *testing.T) {
	d, now := hearing()
	now += 5 * time.Second
	d.beat(now, "lan", "server2")
	d.tick(now, "server2")
	if v := d.view(now); !v.Alive || v.LastSeen != now || v.Links[1].Missed != 0 {
		t.Errorf("%+v", v)
	}
}
