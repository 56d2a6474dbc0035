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
	self   arbiter.NodeID
	voters uint8 // 2 or 3
	term   time.Duration
	sent   [3]time.Duration // when the newest granted request left, by voter; zero: none
}

// NewLease returns a lease without grants for one reign of node self. Grants
// of another reign must not be fed to it.
func NewLease(self arbiter.NodeID, witness bool, term time.Duration) Lease {
	l := Lease{self: self, voters: 2, term: term}
	if witness {
		l.voters = 3
	}
	return l
}

// Count says whether the third voter's grants count from now on.
func (l *Lease) Count(third bool) {
	l.voters = 3
	if !third {
		l.voters, l.sent[arbiter.Witness] = 2, 0
	}
}

// Granted notes that voter granted a request of this reign that left at sent,
// a time taken before sending.
func (l *Lease) Granted(voter arbiter.NodeID, sent time.Duration) {
	if voter < arbiter.NodeID(l.voters) {
		l.sent[voter] = max(l.sent[voter], sent)
	}
}

// Assume sets the deadline as if two voters had granted requests that left at
// sent. It is for an agent that restarted under a replica which holds the true
// deadline and stops I/O at it; the assumed one only gives the agent time to
// renew, and must not be told to the replica.
func (l *Lease) Assume(sent time.Duration) {
	l.Granted(l.self, sent)
	l.Granted(1-l.self, sent)
}

// Until is the deadline: from then on the holder must not act as Primary. It is
// zero while fewer than 2 voters granted. Two percent of the term are given to
// the drift between the boxes' clocks.
func (l *Lease) Until() time.Duration {
	newest, second := time.Duration(0), time.Duration(0)
	for _, sent := range l.sent[:l.voters] {
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
	return second + l.term - l.term/50
}

// Held reports whether the lease is held at now.
func (l *Lease) Held(now time.Duration) bool { return now < l.Until() }
