package reign

import (
	"time"

	"gemel/node/arbiter"
)

// Lease is the holder's side of the lease: it turns grants into a deadline. The
// holder counts from before it sent the request, the grantor from its receipt,
// so the holder's deadline comes first without any agreement on the time. Times
// are CLOCK_BOOTTIME of the holder's box.
type Lease struct {
	Epoch  arbiter.Epoch
	Term   time.Duration
	Voters uint8            // 2 or 3
	sent   [3]time.Duration // of the newest granted request; zero: none
}

// NewLease returns a lease without grants for a reign. voters is 2 or 3.
func NewLease(epoch arbiter.Epoch, term time.Duration, voters uint8) Lease {
	return Lease{Epoch: epoch, Term: term, Voters: voters}
}

// Granted notes that voter granted the request of epoch that left at sent
// (taken just before sending). Grants of another epoch are ignored.
func (l *Lease) Granted(voter arbiter.NodeID, epoch arbiter.Epoch, sent time.Duration) {
	if epoch == l.Epoch && epoch != 0 && voter < arbiter.NodeID(l.Voters) {
		l.sent[voter] = max(l.sent[voter], sent)
	}
}

// Until is the deadline: from then on the holder must not act as Primary. It is
// zero while fewer than 2 voters granted. Two percent of the term are given to
// the drift between the boxes' clocks.
func (l *Lease) Until() time.Duration {
	newest, second := time.Duration(0), time.Duration(0)
	for _, sent := range l.sent[:l.Voters] {
		switch {
		case sent > newest:
			newest, second = sent, newest
		case sent > second:
			second = sent
		}
	}
	if second == 0 {
		return 0
	}
	return second + l.Term - l.Term/50
}

// Held reports whether the lease is held at now.
func (l *Lease) Held(now time.Duration) bool { return now < l.Until() }
