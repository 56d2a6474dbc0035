package service

import "time"

// Budget is how often a service may end or hang before it counts as failed.
type Budget struct {
	Restarts int           // allowed within Within
	Within   time.Duration // over which they are counted
	ends     []time.Time
}

// Spend counts one more end and returns how many there were within the time, and
// whether that is more than allowed.
func (b *Budget) Spend(now time.Time) (ends int, over bool) {
	since := now.Add(-b.Within)
	for len(b.ends) > 0 && b.ends[0].Before(since) {
		b.ends = b.ends[1:]
	}
	b.ends = append(b.ends, now)
	return len(b.ends), len(b.ends) > b.Restarts
}
