package link

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Prober lets the sessions of many volumes with the same peer ask after the paths
// together. On each path one session, which leads there, asks as often as the
// path's watch needs; one that rests, since nothing was sent or received for a
// while, asks seldom and takes the leader's word for the path. A session that is
// in use asks for itself, whoever leads.
type Prober struct {
	started time.Time

	mu       sync.Mutex
	paths    map[string]*probed
	sessions map[*Conn]bool
	dialing  map[string]chan struct{} // places for connections being opened, by path
}

// probed is what the leader knows of a path.
type probed struct {
	leader  *Conn
	pulsed  time.Duration // last pulse
	asked   time.Duration // first pulse that was not answered; 0: all were
	alarmed bool          // the others were told
}

// Of a session that rests, in units of the path timeout.
const (
	restsAfter = 8 // without a message of the volume
	restPulses = 4 // between two pulses on a lane
)

// NewProber returns a Prober for the sessions of one node with its peer.
func NewProber() *Prober {
	return &Prober{started: time.Now(), paths: map[string]*probed{}, sessions: map[*Conn]bool{},
		dialing: map[string]chan struct{}{}}
}

// dialingMax bounds the connections that are being opened on one path; the peer
// takes twice as many.
const dialingMax = openings / 2

// place waits for a place to open a connection on the path; free gives it back.
func (p *Prober) place(ctx context.Context, path string) (free func(), err error) {
	p.mu.Lock()
	places := p.dialing[path]
	if places == nil {
		places = make(chan struct{}, dialingMax)
		p.dialing[path] = places
	}
	p.mu.Unlock()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
	}
}

func (p *Prober) now() time.Duration { return time.Since(p.started) }

// enter and leave tell of a session's life.
func (p *Prober) enter(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[c] = true
}

func (p *Prober) leave(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, c)
	for _, at := range p.paths {
		if at.leader == c {
			*at = probed{}
		}
	}
}

// lead reports whether c asks for everybody on the path; the place of a leader that
// has not asked for longer than patience is free.
func (p *Prober) lead(path string, c *Conn, patience time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.paths[path]
	if at == nil {
		at = &probed{}
		p.paths[path] = at
	}
	if at.leader != c && (at.leader == nil || p.now()-at.pulsed > patience) {
		*at = probed{leader: c, pulsed: p.now()}
	}
	return at.leader == c
}

// pulsed notes that c asked on the path; when nothing came for limit, all sessions
// look at once.
func (p *Prober) pulsed(path string, c *Conn, limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.paths[path]
	if at == nil || at.leader != c {
		return
	}
	at.pulsed = p.now()
	switch {
	case at.asked == 0:
		at.asked = at.pulsed
	case at.pulsed-at.asked > limit && !at.alarmed:
		at.alarmed = true
		for other := range p.sessions {
			other.kickKeeper()
		}
	}
}

// answered notes that a pulse of c was answered.
func (p *Prober) answered(path string, c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := p.paths[path]; at != nil && at.leader == c {
		at.asked, at.alarmed = 0, false
	}
}

// silent returns for how long the leader's pulses on the path were not answered.
func (p *Prober) silent(path string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.paths[path]
	if at == nil || at.asked == 0 {
		return 0
	}
	return p.now() - at.asked
}

// rest is what a session knows of its own idleness. Guarded by Conn.mu.
type rest struct {
	stirred bool          // a message of the volume went or came since the last look
	since   time.Duration // when one last did
	end     uint64        // the stream ends here with the last one sent
	resting bool
}

// stir notes a message of the volume.
func (c *Conn) stir() {
	c.rest.stirred = true
	if c.rest.resting {
		c.rest.resting = false
		c.kickKeeper()
	}
}

// settle finds out whether the session rests; c.mu is held.
func (c *Conn) settle(now time.Duration) {
	if c.rest.stirred {
		c.rest.stirred, c.rest.since = false, now
	}
	c.rest.resting = c.lane != nil && c.moving == nil && c.out.confirmed >= c.rest.end &&
		now-c.rest.since > restsAfter*c.pathTimeout
}

// silence returns for how long a lane's path did not answer: as this session knows,
// and while it rests as the leader does.
func (c *Conn) silence(l *lane, now time.Duration) time.Duration {
	silent := l.silent(now)
	if p := c.prober(); p != nil && c.rest.resting {
		silent = max(silent, p.silent(l.name))
	}
	return silent
}

// prober returns what the session shares with others; nil when it shares nothing.
func (c *Conn) prober() *Prober {
	if c.dialer == nil {
		return nil
	}
	return c.dialer.Prober
}
