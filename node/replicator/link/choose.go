package link

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/replicator/wire"
)

// Times in units of the path timeout.
const (
	beatsPerTimeout = 4 // pulses on the path in use
	stuckAfter      = 2 // nothing comes through although the path lives
	lostAfter       = 4 // a silent lane that stands by is given up and dialed anew
)

// errSilent is why a path is left that does not answer.
var errSilent = errors.New("no answer")

// errReturn is why a path is left that works.
var errReturn = errors.New("a better path is well again")

// keep asks the lanes for signs of life, moves the session when it must, and has
// missing lanes opened, until the session ends.
func (c *Conn) keep() {
	defer c.running.Done()
	beat := time.NewTimer(0)
	defer beat.Stop()
	for {
		select {
		case <-c.closed:
			return
		case <-c.kick:
		case <-beat.C:
		}
		beat.Reset(c.look())
	}
}

// pause is the time until the next look; c.mu is held.
func (c *Conn) pause() time.Duration {
	if c.rest.resting && !c.leads {
		return c.pathTimeout
	}
	return c.pathTimeout / beatsPerTimeout
}

// look does what is due now and returns when to look again.
func (c *Conn) look() time.Duration {
	c.mu.Lock()
	now := c.now()
	if err := c.over(now); err != nil {
		c.end(err)
		c.mu.Unlock()
		return c.timeout
	}
	c.excuse(now)
	c.settle(now)
	c.weed(now)
	var over *lane
	if c.dialer != nil {
		over = c.plan(now)
		c.dialMissing(now)
	}
	ask, mine := c.due(now), c.pulse()
	resume := wire.Resume{Turn: c.turn, Received: c.received, Reason: fmt.Sprint(c.lostWhy)}
	again := c.pause()
	c.allowed = again + c.pathTimeout
	c.mu.Unlock()
	if over != nil {
		c.check(over, over.handOver(wire.Header{Type: wire.TypeResume}, wire.AppendResume(nil, &resume)))
	}
	for _, l := range ask {
		h := wire.Header{Type: wire.TypePulse, ID: uint64(now)} //nolint:gosec // not negative
		c.check(l, l.talk(h, wire.AppendPulse(nil, &mine)))
	}
	c.tell()
	return again
}

// check gives a lane up that could not send.
func (c *Conn) check(l *lane, err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose(l, named(l, err))
}

// over returns why the session has ended; c.mu is held.
func (c *Conn) over(now time.Duration) error {
	switch {
	case c.reason != nil:
		return c.reason
	case now-time.Duration(c.heard.Load()) > c.timeout:
		return fmt.Errorf("%w for %v on every link", ErrPeerTimeout, c.timeout)
	case c.lane != nil:
		return nil
	case now-c.since > c.timeout:
		return fmt.Errorf("%w: no path works since %v; the last was given up because of: %w", ErrPeerTimeout, c.timeout, c.lostWhy)
	case len(c.standby) > 0:
		return nil
	case c.peer.Features&wire.FeaturePaths == 0:
		return c.lostWhy
	case c.dialer != nil:
		return c.refused()
	case closedByPeer(c.lostWhy) && now-c.since > max(c.pathTimeout, c.timeout/3):
		return c.lostWhy // it would have come back by now; its box lives, its program does not
	}
	return nil
}

// refused returns why there is no use in dialing again: no path has a lane, and
// on at least one the peer's box says that nobody listens there any more.
func (c *Conn) refused() (why error) {
	for _, r := range c.roads {
		if r.failed <= c.since {
			return nil
		}
		if errors.Is(r.err, unix.ECONNREFUSED) {
			why = fmt.Errorf("%w: its replicator does not run: %w", ErrPeerClosed, r.err)
		}
	}
	return why
}

// excuse forgets for how long the lanes were silent when this side has not run
// for so long itself: it may have missed the answers. c.mu is held.
func (c *Conn) excuse(now time.Duration) {
	late := now-c.looked > max(c.pathTimeout, c.allowed)
	c.looked = now
	if !late {
		return
	}
	c.here, c.there = progress{}, progress{}
	for _, l := range c.standby {
		l.asked = 0
	}
}

// weed gives lanes up that stand by and are silent; c.mu is held.
func (c *Conn) weed(now time.Duration) {
	for i := len(c.standby) - 1; i >= 0; i-- {
		l := c.standby[i]
		silent := c.silence(l, now)
		if silent > c.pathTimeout {
			c.road(l.name).well = 0
		}
		if silent > lostAfter*c.pathTimeout {
			c.lose(l, fmt.Errorf("%w for %v on link %s", errSilent, silent.Round(time.Millisecond), l.name))
		}
	}
}

// plan returns the lane over which to move now, if any; c.mu is held.
func (c *Conn) plan(now time.Duration) *lane {
	if c.moving != nil {
		if now-c.tried < max(c.pathTimeout/2, 4*c.road(c.moving.name).rtt) {
			return nil
		}
		c.lose(c.moving, fmt.Errorf("%w to a move on link %s", errSilent, c.moving.name))
	}
	to, why := c.better(now)
	if to == nil {
		return nil
	}
	if c.lane != nil {
		c.lose(c.lane, why)
	}
	c.turn++
	c.moving, c.tried = to, now
	return to
}

// better returns the lane that should be in use instead of what is, and why.
func (c *Conn) better(now time.Duration) (*lane, error) {
	switch {
	case c.lane == nil:
		if l := c.best(now, "", c.pathTimeout/2); l != nil {
			return l, nil
		}
		return c.best(now, "", noLimit), nil
	case c.silentPath(now):
		return c.best(now, c.lane.name, c.pathTimeout/2), fmt.Errorf("%w for %v", errSilent, c.pathTimeout)
	case c.here.stuck(now, stuckAfter*c.pathTimeout), c.there.stuck(now, stuckAfter*c.pathTimeout):
		return c.best(now, "", c.pathTimeout/2), errors.New("nothing came through, although the path lives")
	}
	for _, r := range c.roads {
		if r.name == c.lane.name {
			break
		}
		if r.well != 0 && now-r.well > r.hold {
			for _, l := range c.standby {
				if l.name == r.name && c.silence(l, now) < c.pathTimeout/2 {
					return l, errReturn
				}
			}
		}
	}
	return nil, nil
}

const noLimit = time.Duration(1<<63 - 1)

// best returns the lane of the first path that has answered within the last
// limit, the path called but left aside.
func (c *Conn) best(now time.Duration, but string, limit time.Duration) *lane {
	for _, r := range c.roads {
		for _, l := range c.standby {
			if l.name == r.name && l.name != but && c.silence(l, now) <= limit {
				return l
			}
		}
	}
	return nil
}

// silentPath reports whether the path in use is silent: its lane that stands by
// does not answer, and nothing came on the one in use since it was asked.
func (c *Conn) silentPath(now time.Duration) bool {
	for _, l := range c.standby {
		if silent := c.silence(l, now); l.name == c.lane.name && silent > c.pathTimeout {
			return c.lane.heard < now-silent+c.pathTimeout/2
		}
	}
	return false
}

// due returns the lanes to send a pulse on; c.mu is held.
func (c *Conn) due(now time.Duration) (ask []*lane) {
	c.leads = false
	for _, l := range c.standby {
		every := c.pathTimeout
		if c.dialer != nil && (c.lane == nil || c.lane.name == l.name) {
			every = 0
		}
		p := c.prober()
		leads := p != nil && p.lead(l.name, c, 2*c.pathTimeout)
		c.leads = c.leads || leads || c.dialer != nil && p == nil
		if c.rest.resting && !leads && (p != nil || c.dialer == nil) {
			every = restPulses * c.pathTimeout
		}
		if l == c.moving || now-l.pulsed < every {
			continue
		}
		l.pulsed = now
		if leads {
			p.pulsed(l.name, c, c.pathTimeout)
		}
		if l.asked == 0 {
			l.asked = now
		}
		ask = append(ask, l)
	}
	return ask
}

// dialMissing has a lane opened on every path where none stands by; c.mu is held.
func (c *Conn) dialMissing(now time.Duration) {
	if c.peer.Features&wire.FeaturePaths == 0 {
		return
	}
	for _, r := range c.roads {
		if r.dialing || now < r.next || c.standsBy(r.name) {
			continue
		}
		r.dialing = true
		c.running.Add(1)
		go c.open(r)
	}
}

func (c *Conn) standsBy(name string) bool {
	for _, l := range c.standby {
		if l.name == name {
			return true
		}
	}
	return false
}

// open dials a path and joins the session over it.
func (c *Conn) open(r *road) {
	defer c.running.Done()
	l, err := c.dialer.another(c.ctx, r.path, &c.key)
	c.mu.Lock()
	now := c.now()
	r.dialing, r.next = false, now+redial
	if err != nil {
		r.err, r.failed, r.well = err, now, 0
		if errors.Is(err, errUnknownSession) {
			c.end(fmt.Errorf("%w: %w", ErrPeerClosed, err))
		}
	}
	c.mu.Unlock()
	if err == nil {
		c.add(l)
	}
	c.kickKeeper()
}

// redial is how long to wait between two tries to open a lane on a path.
const redial = 250 * time.Millisecond

// resumed answers the peer's move to lane l; the accepting side's half.
func (c *Conn) resumed(l *lane, r wire.Resume) (used bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Turn <= c.turn || c.reason != nil || l.gone != nil {
		c.lose(l, errors.New("a later move has overtaken this one"))
		return true, nil
	}
	c.turn = r.Turn
	why := errors.New("the peer says: " + r.Reason)
	if c.lane != nil {
		c.lose(c.lane, why)
	}
	reply := wire.Resume{Turn: r.Turn, Received: c.received}
	c.mu.Unlock()
	err = l.handOver(wire.Header{Type: wire.TypeResumeReply}, wire.AppendResume(nil, &reply))
	c.mu.Lock()
	if err != nil {
		return false, err
	}
	return true, c.attach(l, r, why)
}

// agreed ends the move to lane l; the dialing side's half.
func (c *Conn) agreed(l *lane, r wire.Resume) (used bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moving != l || r.Turn != c.turn {
		c.lose(l, errors.New("a later move has overtaken this one"))
		return true, nil
	}
	return true, c.attach(l, r, c.lostWhy)
}

// attach brings a lane into use: what the peer has not received goes out again
// over it. c.mu is held.
func (c *Conn) attach(l *lane, r wire.Resume, why error) error {
	for c.sending && c.reason == nil && c.turn == r.Turn && l.gone == nil {
		c.change.Wait()
	}
	if c.reason != nil || c.turn != r.Turn || l.gone != nil {
		c.lose(l, errors.New("a later move has overtaken this one"))
		return nil
	}
	if err := c.out.confirm(r.Received); err != nil {
		c.end(err)
		return nil
	}
	c.out.sent = r.Received
	for i, s := range c.standby {
		if s == l {
			c.standby = append(c.standby[:i:i], c.standby[i+1:]...)
			break
		}
	}
	l.widen()
	now := c.now()
	to := c.road(l.name)
	to.moves++
	c.last = &Move{From: c.lostAt, To: l.name, Reason: fmt.Sprint(why), Pause: now - c.since}
	c.lane, c.using, c.moving, c.since, c.news = l, r.Turn, nil, now, true
	c.change.Broadcast()
	c.space.Broadcast()
	c.wakeWriter()
	c.kickKeeper()
	return nil
}
