package resync

import (
	"testing"
	"time"
)

// busyRun has an application that always writes, and a link of 100 MB/s whose
// answers take 40 ms, and returns what was delivered per second.
func busyRun(limits Limits) int64 {
	p := NewPace(0, 1<<40, limits)
	const step, late = 10 * time.Millisecond, 4
	var answers [late]int64
	inFlight, done := int64(0), int64(0)
	now := time.Duration(0)
	for i := range 1000 {
		now += step
		n := answers[i%late]
		inFlight -= n
		done += n
		p.Delivered(now, n)
		room := min(p.Allow(now, inFlight, true), 1<<20)
		p.Started(room)
		inFlight += room
		answers[i%late] = room
	}
	return done / 10
}

func TestMinRateIsKeptUnderLoad(t *testing.T) {
	free, bound := busyRun(Limits{}), busyRun(Limits{MinRate: 60 << 20})
	if free > 30<<20 || free < 1<<20 {
		t.Errorf("without a lowest rate %d bytes/s under load: it should make way, and go on", free)
	}
	if bound < 50<<20 || bound > 75<<20 {
		t.Errorf("%d bytes/s under load, at least 60 MiB/s were asked for", bound)
	}
}

func TestLimitsChangeWhileItRuns(t *testing.T) {
	p := NewPace(0, 1<<40, Limits{MaxRate: 1 << 20})
	run := func(from, to time.Duration) (sent int64) {
		for now := from; now < to; now += 10 * time.Millisecond {
			n := p.Allow(now, 0, false)
			p.Started(n)
			p.Delivered(now, n)
			sent += n
		}
		return sent
	}
	if n := run(0, 2*time.Second); n > 3<<20 {
		t.Errorf("%d bytes in 2 s at 1 MiB/s", n)
	}
	p.SetLimits(Limits{MaxRate: 20 << 20})
	if n := run(2*time.Second, 4*time.Second); n > 45<<20 || n < 35<<20 {
		t.Errorf("%d bytes in 2 s at 20 MiB/s", n)
	}
	p.SetLimits(Limits{})
	if n := run(4*time.Second, 5*time.Second); n < 500<<20 {
		t.Errorf("%d bytes in 1 s without a limit", n)
	}
}
