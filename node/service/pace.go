package service

import "time"

const (
	paceFirst = 20 * time.Millisecond
	paceMost  = 500 * time.Millisecond
)

// Pace returns the pause before the next look at something that has been awaited for
// so long, where the last look took so much of it: short at first, then a tenth of the
// wait, so that what comes late is noticed late by no more than that; and never so
// short that more time goes into looking than into waiting.
func Pace(waited, look time.Duration) time.Duration {
	return min(max(paceFirst, waited/10, look), paceMost)
}
