package resync

import "time"

// Limits of a Pace. The zero value means: as fast as link and disks go.
type Limits struct {
	// MaxRate in bytes per second; 0: no limit.
	MaxRate int64
	// MinRate in bytes per second: below it the application's writes are not
	// made way for. 0: they always are, but some always goes on.
	MinRate int64
	// Window is the most that may be under way, in bytes; 0, or more than 64 MiB: 64 MiB.
	Window int64
}

// most is how far the window may grow.
func (l Limits) most() int64 {
	if l.Window == 0 {
		return maxWindow
	}
	return min(max(l.Window, minWindow), maxWindow)
}

// The window is how many bytes may be under way. It follows what was delivered
// within delayTarget, between the two bounds; while the application writes, and
// for busySpan after, it shrinks to busyWindow, which keeps the wait in front of
// an application write below ten milliseconds on a gigabit and still makes
// progress under any load. Without the span a client that writes one record
// after the other would find the whole window queued before each of them.
// At the start the window doubles as long as more under way is delivered as
// fast, so that the rate of the link is reached within a few steps even when
// the target's disk answers late.
const (
	minWindow   = 2 << 20
	startWindow = 8 << 20
	maxWindow   = 64 << 20
	busyWindow  = 1 << 20
	busySpan    = 100 * time.Millisecond
	delayTarget = 100 * time.Millisecond
	adjustEvery = 50 * time.Millisecond
	crumb       = 128 << 10 // less room than this is none
	rateSpan    = 3 * time.Second
	rateMarks   = 12
)

// Pace says how much a resynchronisation may have under way and how fast it
// goes. Times are any steady clock, the same in every call.
type Pace struct {
	limits   Limits
	window   int64
	adjusted time.Duration
	acked    int64 // since adjusted
	busyTill time.Duration
	full     bool // the window was used up since adjusted
	rising   bool // at the start: more under way was delivered as fast so far
	missed   bool // the last step of the rise did not show it

	budget   int64 // bytes that MaxRate allows now
	budgeted time.Duration
	owed     int64 // bytes by which MinRate was missed
	counted  time.Duration

	total, done int64
	marks       [rateMarks]mark
	marked      int
}

type mark struct {
	at   time.Duration
	done int64
}

// NewPace starts the account of a resynchronisation of total bytes.
func NewPace(now time.Duration, total int64, limits Limits) *Pace {
	p := &Pace{limits: limits, window: min(startWindow, limits.most()), rising: true, adjusted: now, budgeted: now, counted: now, total: total}
	for i := range p.marks {
		p.marks[i].at = now
	}
	return p
}

// SetLimits changes the limits from now on.
func (p *Pace) SetLimits(limits Limits) {
	p.limits, p.budget, p.owed = limits, min(p.budget, 0), 0
	p.window = min(p.window, limits.most())
}

// Allow returns how many more bytes may be started with inFlight under way.
// busy: application writes wait for the same disks and link.
func (p *Pace) Allow(now time.Duration, inFlight int64, busy bool) int64 {
	room := p.window
	if busy {
		p.busyTill = now + busySpan
	}
	if busy = now < p.busyTill && !p.behind(now); busy {
		room = min(room, busyWindow)
	}
	room -= inFlight
	p.full = p.full || !busy && room < crumb
	if room <= 0 {
		return 0
	}
	if p.limits.MaxRate == 0 {
		return room
	}
	p.refill(now)
	return min(room, p.budget)
}

// behind reports whether less than MinRate was delivered. At most a second's
// worth is made up for.
func (p *Pace) behind(now time.Duration) bool {
	if p.limits.MinRate == 0 {
		return false
	}
	p.owed = min(p.owed+int64(float64(p.limits.MinRate)*(now-p.counted).Seconds()), p.limits.MinRate)
	p.counted = now
	return p.owed > 0
}

// refill lets MaxRate run on; at most 100 ms worth of it is saved up, but never
// less than one block.
func (p *Pace) refill(now time.Duration) {
	p.budget += int64(float64(p.limits.MaxRate) * (now - p.budgeted).Seconds())
	p.budgeted = now
	p.budget = min(p.budget, max(p.limits.MaxRate/10, 64<<10))
}

// Started counts bytes that were started.
func (p *Pace) Started(n int64) { p.budget -= n }

// Delivered counts bytes that the target wrote.
func (p *Pace) Delivered(now time.Duration, n int64) {
	if p.done == 0 {
		p.adjusted = now // until now there was nothing to learn
	}
	p.acked += n
	p.done += n
	p.owed = max(p.owed-n, -p.limits.MinRate)
	if span := now - p.adjusted; span >= adjustEvery {
		p.adjust(now, span)
	}
}

// adjust moves the window to what was delivered in delayTarget: a longer queue
// adds wait and no speed. A window that was used up may have been the limit
// itself, so it grows once per step: doubled at the start, by an eighth later.
func (p *Pace) adjust(now, span time.Duration) {
	fits := int64(float64(p.acked) / span.Seconds() * delayTarget.Seconds())
	want := max(fits, minWindow)
	grow := p.full && fits >= p.window/2
	if p.rising && !p.full {
		want = max(want, p.window) // the application had its turn: nothing to learn
	} else if p.rising && !grow {
		// What the last doubling sent may not have arrived yet: look once more.
		p.rising, p.missed = !p.missed, true
		want = max(want, p.window)
	} else if p.rising {
		p.missed = false
		want = max(want, 3*p.window)
	} else if grow {
		want = max(want, p.window+p.window/4)
	}
	p.window = min(max((p.window+want)/2, minWindow), p.limits.most())
	p.adjusted, p.acked, p.full = now, 0, false
}

// Added counts bytes that got out of sync again while the resync runs.
func (p *Pace) Added(n int64) { p.total += n }

// Tick keeps the marks that Progress measures the rate with; call it a few
// times per second.
func (p *Pace) Tick(now time.Duration) {
	last := p.marks[p.marked%rateMarks]
	if now-last.at >= rateSpan/rateMarks {
		p.marked++
		p.marks[p.marked%rateMarks] = mark{now, p.done}
	}
}

// Progress returns total and done bytes, the rate in bytes per second over the
// last seconds, and the time left at that rate (0: unknown).
func (p *Pace) Progress(now time.Duration) (total, done, rate int64, eta time.Duration) {
	oldest := p.marks[(p.marked+1)%rateMarks]
	if span := (now - oldest.at).Seconds(); span > 0 {
		rate = int64(float64(p.done-oldest.done) / span)
	}
	total = max(p.total, p.done)
	if rate > 0 {
		eta = time.Duration(float64(total-p.done) / float64(rate) * float64(time.Second))
	}
	return total, p.done, rate, eta
}
