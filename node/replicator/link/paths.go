package link

import (
	"errors"
	"time"

	"gemel/node/replicator/wire"
)

// States of a path.
const (
	InUse   = "in use"
	Standby = "standby"
	Down    = "down"
)

// PathState is what is known of one path.
type PathState struct {
	Name   string
	State  string
	Reason string        // why it is down; empty otherwise
	RTT    time.Duration // of the last pulse; 0 when there is none
	Moves  int           // how often the session moved here
}

// Move is a change of the path in use.
type Move struct {
	From, To string
	Reason   string        // in words
	Pause    time.Duration // nothing could be sent for so long
}

// paths is the part of a Conn that knows its lanes. Guarded by Conn.mu.
type paths struct {
	roads   []*road
	lane    *lane   // in use; nil while the session moves
	standby []*lane // the others
	turn    uint64  // of the lane in use, and of the last try to move
	using   uint64  // turn of the lane in use
	moving  *lane   // a Resume is on its way over it
	tried   time.Duration
	looked  time.Duration // last look of the keeper,
	allowed time.Duration // and how late the next may be
	leads   bool          // the session asks for all on some path
	since   time.Duration // the lane in use is in use, or missing, since
	lostAt  string        // link of the last lane in use,
	lostWhy error         // and why it was given up
	here    progress      // towards this side,
	there   progress      // and towards the peer
	last    *Move
	moved   func(Move) // told of every move
	touched func()     // told of every change of a path
	news    bool       // touched is due
}

// road is one path and what is remembered of it.
type road struct {
	name    string
	path    int           // of Dialer.Paths
	dialing bool          // somebody opens a lane
	next    time.Duration // not before
	well    time.Duration // its lane answers since; 0 when it does not
	hold    time.Duration // how long it must be well to be moved back to
	err     error         // why there is no lane
	failed  time.Duration // last failure to open one
	rtt     time.Duration
	moves   int
	told    string // state as it was told
}

// progress tells whether messages come through in one direction of the lane in use.
type progress struct {
	since time.Duration // nothing came since; 0 when nothing is due
	came  uint64        // bytes that came in
}

// Path returns the name of the link in use, such as "private"; while the session
// moves, of the last one.
func (c *Conn) Path() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lane == nil {
		return c.lostAt
	}
	return c.lane.name
}

// Paths returns the state of every path in order of preference.
func (c *Conn) Paths() []PathState {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]PathState, 0, len(c.roads))
	for _, r := range c.roads {
		all = append(all, c.pathState(r))
	}
	return all
}

func (c *Conn) pathState(r *road) PathState {
	s := PathState{Name: r.name, State: Down, RTT: r.rtt, Moves: r.moves}
	for _, l := range c.standby {
		if l.name == r.name && c.silence(l, c.now()) < c.pathTimeout {
			s.State = Standby
		}
	}
	switch {
	case c.lane != nil && c.lane.name == r.name:
		s.State = InUse
	case s.State == Standby:
	case r.err != nil:
		s.Reason = r.err.Error()
	case r.dialing:
		s.Reason = "being connected"
	default:
		s.Reason = "no answer"
	}
	return s
}

// Watch has changed called after every change of a path, and moved after the
// session moved. They must not block for long.
func (c *Conn) Watch(changed func(), moved func(Move)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.touched, c.moved = changed, moved
}

// tell calls the watchers if there is news. c.mu is not held.
func (c *Conn) tell() {
	c.mu.Lock()
	for _, r := range c.roads {
		if s := c.pathState(r).State; s != r.told {
			r.told, c.news = s, true
		}
	}
	news, touched, move, moved := c.news, c.touched, c.last, c.moved
	c.news = news && touched == nil
	if moved != nil {
		c.last = nil
	}
	c.mu.Unlock()
	if move != nil && moved != nil {
		moved(*move)
	}
	if news && touched != nil {
		touched()
	}
}

// road returns what is known of the link called name; it makes it if needed.
func (c *Conn) road(name string) *road {
	for _, r := range c.roads {
		if r.name == name {
			return r
		}
	}
	r := &road{name: name, path: -1, hold: c.holdDown}
	c.roads = append(c.roads, r)
	return r
}

// lose gives a lane up; c.mu is held. At the end of the session goodbye does it.
func (c *Conn) lose(l *lane, why error) {
	if l.gone != nil || c.reason != nil {
		return
	}
	l.gone = why
	_ = l.raw.Close()
	r := c.road(l.name)
	r.err = why
	if c.moving == l {
		c.moving = nil
	}
	if c.lane == l {
		c.fell(r, why)
	}
	for i, s := range c.standby {
		if s == l {
			c.standby = append(c.standby[:i:i], c.standby[i+1:]...)
			r.well = 0
			break
		}
	}
	c.kickKeeper()
}

// fell notes that the session has no lane in use any more.
func (c *Conn) fell(r *road, why error) {
	now := c.now()
	switch {
	case errors.Is(why, errReturn):
	case now-c.since < 4*r.hold: // it failed soon: trust it later
		r.hold = min(2*r.hold, 16*c.holdDown)
	default:
		r.hold = c.holdDown
	}
	c.lane, c.since, c.lostAt, c.lostWhy = nil, now, r.name, why
	c.here, c.there = progress{}, progress{}
	c.change.Broadcast()
}

func (c *Conn) kickKeeper() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// add puts a lane that was joined on standby and tends it.
func (c *Conn) add(l *lane) {
	_ = l.raw.SetDeadline(time.Time{})
	l.opened = true
	c.mu.Lock()
	if c.reason != nil {
		c.mu.Unlock()
		_ = l.raw.Close()
		return
	}
	l.heard = c.now()
	r := c.road(l.name)
	r.err = nil
	if r.well == 0 {
		r.well = l.heard
	}
	c.standby = append(c.standby, l)
	c.heard.Store(int64(l.heard))
	c.running.Add(1)
	c.mu.Unlock()
	go c.tend(l)
	c.kickKeeper()
}

// tend reads a lane that stands by, until it is in use or gone.
func (c *Conn) tend(l *lane) {
	defer c.running.Done()
	defer c.tell()
	for {
		m, err := l.listen()
		if err == nil {
			var used bool
			used, err = c.heardOn(l, &m)
			m.Release()
			if used {
				return
			}
		}
		if err == nil {
			continue
		}
		if errors.Is(err, errSaid) { // the session's last word
			c.Close(err)
			return
		}
		c.mu.Lock()
		c.lose(l, named(l, err))
		c.mu.Unlock()
		return
	}
}

// heardOn handles one message of a lane that stands by.
func (c *Conn) heardOn(l *lane, m *Message) (used bool, err error) {
	switch m.Type {
	case wire.TypePulse:
		return false, c.pulsed(l, m)
	case wire.TypeResume, wire.TypeResumeReply:
		r, err := wire.ParseResume(m.Payload)
		if err != nil {
			return false, err
		}
		if (m.Type == wire.TypeResume) == (c.dialer != nil) {
			return false, wire.Refuse(wire.OutOfPlace, "%v from this side", m.Type)
		}
		if m.Type == wire.TypeResume {
			return c.resumed(l, r)
		}
		return c.agreed(l, r)
	}
	return false, wire.Refuse(wire.OutOfPlace, "%v on a connection that stands by", m.Type)
}

// silent returns for how long a question was not answered; c.mu is held.
func (l *lane) silent(now time.Duration) time.Duration {
	if l.asked == 0 {
		return 0
	}
	return now - l.asked
}

// pulse is this side's progress; c.mu is held.
func (c *Conn) pulse() wire.Pulse {
	p := wire.Pulse{Received: c.received, Sent: c.out.end, Waiting: c.waiting.Load()}
	if c.lane != nil {
		p.Turn, p.Heard = c.using, c.lane.raw.came.Load()
	}
	return p
}

// pulsed answers a pulse, or takes the answer.
func (c *Conn) pulsed(l *lane, m *Message) error {
	p, err := wire.ParsePulse(m.Payload)
	if err != nil {
		return err
	}
	c.mu.Lock()
	now := c.now()
	l.heard = now
	c.heard.Store(int64(now))
	if p.Received > c.out.confirmed { // else it was overtaken
		if err := c.out.confirm(p.Received); err != nil {
			c.mu.Unlock()
			return err
		}
		c.space.Broadcast()
	}
	if m.Flags&wire.FlagReply != 0 {
		if c.answered(l, time.Duration(m.ID), now) { //nolint:gosec // checked there
			c.compare(&p, now)
		}
		c.mu.Unlock()
		return nil
	}
	answer := c.pulse()
	c.mu.Unlock()
	return l.talk(wire.Header{Type: wire.TypePulse, Flags: wire.FlagReply, ID: m.ID}, wire.AppendPulse(nil, &answer))
}

// answered notes an answer to a pulse, and reports whether it is a fresh one;
// c.mu is held.
func (c *Conn) answered(l *lane, sent, now time.Duration) (fresh bool) {
	l.asked = 0
	if p := c.prober(); p != nil {
		p.answered(l.name, c)
	}
	if sent < 0 || sent > now {
		return false
	}
	r := c.road(l.name)
	r.rtt = now - sent
	if r.well == 0 {
		r.well = now
	}
	return now-sent < c.pathTimeout
}

// compare watches whether messages that one side has sent reach the other, which
// waits for them; c.mu is held.
func (c *Conn) compare(p *wire.Pulse, now time.Duration) {
	if c.lane == nil {
		c.there, c.here = progress{}, progress{}
		return
	}
	apart := p.Turn != c.using
	c.there.watch(apart || p.Waiting && p.Received < c.out.end, p.Heard, now)
	c.here.watch(c.waiting.Load() && p.Sent > c.received, c.lane.raw.came.Load(), now)
}

// watch takes a look at one direction: something is due or not, and so many bytes
// came in.
func (g *progress) watch(due bool, came uint64, now time.Duration) {
	switch {
	case !due:
		*g = progress{}
	case g.since == 0 || g.came != came:
		*g = progress{now, came}
	}
}

// stuck reports whether nothing came although something was due, for longer than
// limit.
func (g *progress) stuck(now, limit time.Duration) bool { return g.since != 0 && now-g.since > limit }
