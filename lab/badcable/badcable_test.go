package badcable

import (
	"math"
	"testing"
	"time"
)

const frameSize = 1500

// offer sends n frames a millisecond apart and returns each one's arrivals.
func offer(q Quality, n int) [][]time.Duration {
	line := NewLine(q, 7)
	var fates [][]time.Duration
	for i := range n {
		at, count := line.Offer(time.Duration(i)*time.Millisecond, frameSize)
		fates = append(fates, append([]time.Duration{}, at[:count]...))
	}
	return fates
}

func TestPartsAreWhatWasAsked(t *testing.T) {
	const n = 20000
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.01 {
			t.Errorf("%s: part %.3f, want about %.3f", what, got, want)
		}
	}
	lost, twice, overtaken := 0, 0, 0
	newest := time.Duration(0)
	for _, fate := range offer(Quality{Loss: 0.1, Duplicate: 0.2, Reorder: 0.05, Delay: 10 * time.Millisecond}, n) {
		switch len(fate) {
		case 0:
			lost++
			continue
		case 2:
			twice++
		}
		if fate[0] < newest {
			overtaken++
		}
		newest = max(newest, fate[0])
	}
	near("lost", float64(lost)/n, 0.1)
	near("twice", float64(twice)/float64(n-lost), 0.2)
	// Every frame held back by 5 ms is passed by about five others.
	if overtaken == 0 {
		t.Error("nothing was overtaken")
	}
}

func TestDelayAndJitterKeepTheOrder(t *testing.T) {
	q := Quality{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond}
	var newest time.Duration
	for i, fate := range offer(q, 5000) {
		at := time.Duration(i) * time.Millisecond
		if len(fate) != 1 || fate[0] < newest || fate[0] < at+15*time.Millisecond || fate[0] > at+25*time.Millisecond {
			t.Fatalf("frame %d offered at %v arrives at %v, after one at %v", i, at, fate, newest)
		}
		newest = fate[0]
	}
}

func TestRateAndItsQueue(t *testing.T) {
	line := NewLine(Quality{Rate: 12_000_000}, 1) // a frame of 1500 bytes takes 1 ms
	arrived, last := 0, time.Duration(0)
	for range 1000 { // all at once: what does not fit into the queue is dropped
		if at, count := line.Offer(0, frameSize); count == 1 {
			arrived, last = arrived+1, at[0]
		}
	}
	if want := int(patience/time.Millisecond) + 1; arrived != want || last != time.Duration(want)*time.Millisecond {
		t.Errorf("%d frames arrive, the last after %v; want %d, one per millisecond", arrived, last, want)
	}
}

func TestCutAndGood(t *testing.T) {
	for _, fate := range offer(Quality{Cut: true}, 100) {
		if len(fate) != 0 {
			t.Fatal("a frame passed a cut cable")
		}
	}
	for i, fate := range offer(Quality{}, 100) {
		if len(fate) != 1 || fate[0] != time.Duration(i)*time.Millisecond {
			t.Fatalf("a good cable did %v to frame %d", fate, i)
		}
	}
}

func TestWordsAndChecks(t *testing.T) {
	delayed := Quality{Delay: 20 * time.Millisecond, Loss: 0.01}
	for want, both := range map[string]Both{
		"good":                             {},
		"delay 20ms, loss 1%":              {In: delayed, Out: delayed},
		"out: delay 20ms, loss 1%":         {Out: delayed},
		"in: cut":                          {In: Quality{Cut: true}},
		"in: 10 Mbit/s; out: reorders 50%": {In: Quality{Rate: 1e7}, Out: Quality{Reorder: 0.5}},
	} {
		if got := both.String(); got != want {
			t.Errorf("%+v is %q, want %q", both, got, want)
		}
	}
	for _, bad := range []Quality{{Loss: 1.1}, {Duplicate: -0.1}, {Delay: -1}, {Jitter: time.Minute}, {Rate: 1}} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if err := delayed.Check(); err != nil {
		t.Error(err)
	}
}
