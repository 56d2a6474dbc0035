package link

import (
	"testing"

	"gemel/node/replicator/wire"
)

// Sessions that rest leave the asking to one of them on each path, and move as one
// when its path falls silent.
func TestRestingSessionsAskTogether(t *testing.T) {
	bench := newBench(t, timeout)
	bench.dialer.Prober = NewProber()
	cables := bench.cabled(t, "private", "lan")
	const sessions = 12
	var dialed, accepted []*Conn
	for range sessions {
		a, b := bench.pair(t)
		go swallow(a)
		go swallow(b)
		dialed, accepted = append(dialed, a), append(accepted, b)
	}
	await(t, "every session to rest", func() bool { return count(append(accepted, dialed...), resting) == 2*sessions })
	await(t, "one or two leaders", func() bool {
		n := count(dialed, func(c *Conn) bool { return c.leads })
		return n == 1 || n == 2
	})
	cables[0].set(pulled)
	await(t, "every session to move", func() bool {
		return count(dialed, func(c *Conn) bool { return c.lane != nil && c.lane.name == "lan" }) == sessions
	})
	for i, a := range dialed {
		if err := a.Send(wire.Header{Type: wire.TypeWriteAck}, nil); err != nil || a.Err() != nil {
			t.Errorf("session %d after the move: %v, %v", i, err, a.Err())
		}
	}
}

// The place of a leader whose session ended is taken by another.
func TestLeaderOfAPathIsReplaced(t *testing.T) {
	bench := newBench(t, timeout)
	bench.dialer.Prober = NewProber()
	bench.cabled(t, "private")
	var dialed []*Conn
	for range 3 {
		a, b := bench.pair(t)
		go swallow(a)
		go swallow(b)
		dialed = append(dialed, a)
	}
	for len(dialed) > 1 {
		var first int
		await(t, "a leader", func() bool {
			for i, c := range dialed {
				if count([]*Conn{c}, func(c *Conn) bool { return c.leads }) == 1 {
					first = i
					return true
				}
			}
			return false
		})
		dialed[first].Close(nil)
		dialed = append(dialed[:first:first], dialed[first+1:]...)
	}
	await(t, "the last session to lead", func() bool {
		return count(dialed, func(c *Conn) bool { return c.leads }) == 1
	})
}

func resting(c *Conn) bool { return c.rest.resting }

// count returns how many of the sessions are as asked.
func count(sessions []*Conn, as func(*Conn) bool) (n int) {
	for _, c := range sessions {
		c.mu.Lock()
		if as(c) {
			n++
		}
		c.mu.Unlock()
	}
	return n
}

// swallow receives until the session ends.
func swallow(c *Conn) {
	for {
		m, err := c.Receive()
		if err != nil {
			return
		}
		m.Release()
	}
}
