// Package badcable is what a bad cable does to the frames in it: it is slow, long,
// uneven, lossy, repeats itself, mixes the order up, or is broken for one direction.
//
// Line decides, without clock or network, when a frame arrives; Relay carries frames
// between two links and asks it. It is not the chassis: who puts a relay between which
// links is decided there.
package badcable

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Quality is how bad one direction of a cable is. The zero value is a good cable.
type Quality struct {
	Rate      uint64        `json:"rate,omitempty"`      // bits per second; 0: as fast as the links
	Delay     time.Duration `json:"delay,omitempty"`     // added to every frame
	Jitter    time.Duration `json:"jitter,omitempty"`    // a frame's delay varies by this much, up or down
	Loss      float64       `json:"loss,omitempty"`      // part of the frames that vanish, 0 to 1
	Duplicate float64       `json:"duplicate,omitempty"` // part of the frames that arrive twice
	Reorder   float64       `json:"reorder,omitempty"`   // part of the frames that later ones overtake
	Cut       bool          `json:"cut,omitempty"`       // nothing arrives, though both ends see a carrier
}

// Both is a cable's quality for each direction, as seen from its box.
type Both struct {
	In  Quality `json:"in"`  // to the box
	Out Quality `json:"out"` // from the box
}

// Good says whether nothing is wrong.
func (b Both) Good() bool { return b == Both{} }

// String tells what is wrong, such as "out: delay 20ms, loss 1%".
func (b Both) String() string {
	switch {
	case b.Good():
		return "good"
	case b.In == b.Out:
		return b.In.String()
	case b.In == Quality{}:
		return "out: " + b.Out.String()
	case b.Out == Quality{}:
		return "in: " + b.In.String()
	}
	return "in: " + b.In.String() + "; out: " + b.Out.String()
}

// String tells what is wrong with one direction.
func (q Quality) String() string {
	if q.Cut {
		return "cut"
	}
	var words []string
	say := func(wrong bool, format string, args ...any) {
		if wrong {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	say(q.Rate > 0, "%g Mbit/s", float64(q.Rate)/1e6)
	say(q.Delay > 0, "delay %v", q.Delay)
	say(q.Jitter > 0, "jitter %v", q.Jitter)
	say(q.Loss > 0, "loss %g%%", 100*q.Loss)
	say(q.Duplicate > 0, "duplicates %g%%", 100*q.Duplicate)
	say(q.Reorder > 0, "reorders %g%%", 100*q.Reorder)
	if len(words) == 0 {
		return "good"
	}
	return strings.Join(words, ", ")
}

// Check says what is impossible in a quality.
func (q Quality) Check() error {
	for name, part := range map[string]float64{"loss": q.Loss, "duplicate": q.Duplicate, "reorder": q.Reorder} {
		if part < 0 || part > 1 {
			return fmt.Errorf("%s of %g%%: it must be between 0%% and 100%%", name, 100*part)
		}
	}
	if q.Delay < 0 || q.Delay > longest || q.Jitter < 0 || q.Jitter > longest {
		return fmt.Errorf("delay %v, jitter %v: each must be between 0 and %v", q.Delay, q.Jitter, longest)
	}
	if q.Rate > 0 && q.Rate < slowest {
		return fmt.Errorf("rate of %d bit/s: it must be at least %d bit/s", q.Rate, slowest)
	}
	return nil
}

const (
	longest = 10 * time.Second // of a delay
	slowest = 8000             // bits per second
	// patience is how long a frame may wait in front of a slow line before it is dropped:
	// about what the buffer of a cheap switch holds.
	patience = 200 * time.Millisecond
	// heldBack is the least that an overtaken frame is late.
	heldBack = time.Millisecond
)

// Line is one direction of a cable. It is for one goroutine.
type Line struct {
	quality Quality
	chance  *rand.Rand
	free    time.Duration // when the line has sent all that was put on it
	newest  time.Duration // latest arrival of a frame that keeps the order
}

// NewLine returns a line; the same seed and the same frames have the same fate.
func NewLine(quality Quality, seed uint64) *Line {
	return &Line{quality: quality, chance: rand.New(rand.NewPCG(seed, 0x6361626c65))}
}

// Offer tells when a frame of size bytes that is offered at now arrives at the other
// end. count is 0 when it never does, and 2 when it does twice.
func (l *Line) Offer(now time.Duration, size int) (at [2]time.Duration, count int) {
	q := l.quality
	if q.Cut || l.happens(q.Loss) {
		return at, 0
	}
	sent, ok := l.send(now, size)
	if !ok {
		return at, 0
	}
	arrival := sent + q.Delay
	if q.Jitter > 0 {
		arrival += time.Duration(l.chance.Int64N(2*int64(q.Jitter)+1)) - q.Jitter
	}
	if l.happens(q.Reorder) {
		arrival = max(arrival, l.newest) + max(q.Delay/2, heldBack)
	} else {
		// A cable that only delays keeps the order.
		arrival = max(arrival, l.newest, now)
		l.newest = arrival
	}
	at[0], at[1], count = arrival, arrival, 1
	if l.happens(q.Duplicate) {
		count = 2
	}
	return at, count
}

// send puts a frame on the line behind those before it; false: the queue is full.
func (l *Line) send(now time.Duration, size int) (time.Duration, bool) {
	if l.quality.Rate == 0 {
		return now, true
	}
	start := max(now, l.free)
	if start-now > patience {
		return 0, false
	}
	l.free = start + time.Duration(uint64(size)*8*uint64(time.Second)/l.quality.Rate)
	return l.free, true
}

func (l *Line) happens(part float64) bool { return part > 0 && l.chance.Float64() < part }
