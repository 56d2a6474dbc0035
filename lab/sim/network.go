package sim

import (
	"errors"
	"time"

	"gemel/node/arbiter"
	"gemel/node/replicator/volume"
	"gemel/node/replicator/wire"
)

// links are the cables between the two boxes: a private one and the LAN.
const links = 2

// network is who reaches whom. A cut has a direction.
type network struct {
	cut   [links][2]bool // from box i to the other
	third [2][2]bool     // between box i and the witness: 0 towards it, 1 back
	slow  time.Duration  // added to every message
	conns []*conn
}

func (n *network) reaches(link int, from arbiter.NodeID) bool { return !n.cut[link][from] }

// linkFor returns the first link that works both ways.
func (n *network) linkFor() (int, bool) {
	for i := range n.cut {
		if !n.cut[i][0] && !n.cut[i][1] {
			return i, true
		}
	}
	return 0, false
}

// anyWay reports whether a request gets from one box or witness to another.
func (n *network) anyWay(from, to arbiter.NodeID) bool {
	switch {
	case from == to:
		return true
	case to == arbiter.Witness:
		return !n.third[from][0]
	case from == arbiter.Witness:
		return !n.third[to][1]
	}
	return n.reaches(0, from) || n.reaches(1, from)
}

func (w *world) delay() time.Duration {
	return w.chance.net.span(50*time.Microsecond, 3*time.Millisecond) + w.net.slow
}

// parcel carries f from one box to another, once, late or not at all.
func (w *world) parcel(from, to arbiter.NodeID, f func()) {
	lost := !w.calm && w.chance.net.one(200)
	if cut := !w.net.anyWay(from, to); cut || lost {
		w.stats.Lost++
		return
	}
	delay := w.delay()
	if w.chance.net.one(50) {
		w.stats.Overtaken++
		delay += w.chance.net.span(0, 600*time.Millisecond)
	}
	if !w.calm && w.chance.net.one(100) {
		w.stats.Doubled++
		w.bring(to, delay+w.chance.net.span(0, 300*time.Millisecond), from, f)
	}
	w.bring(to, delay, from, f)
}

// bring lets f happen on the other box when it arrives.
func (w *world) bring(to arbiter.NodeID, delay time.Duration, from arbiter.NodeID, f func()) {
	w.after(delay, func() {
		if !w.net.anyWay(from, to) {
			return
		}
		if to == arbiter.Witness {
			f()
			return
		}
		if b := w.boxes[to]; b.on {
			b.run(b.power, f)
		}
	})
}

// conn is a connection between the replicators: two pipes that keep their order
// and lose nothing until it breaks.
type conn struct {
	w     *world
	link  int
	ends  [2]*end
	pipes [2]pipe // towards ends[i]
	// differ are the blocks in which the two disks differed when the source began.
	differ []int64
}

type pipe struct {
	queue   []letter
	last    time.Duration // when the newest letter arrives
	pumping bool
}

// letter without raw is the end of the stream.
type letter struct {
	at  time.Duration
	raw []byte
}

// open dials from r to peer; the peer learns of it by the first message.
func (n *network) open(link int, r, peer *replicator) *end {
	c := &conn{w: r.w, link: link}
	for i, owner := range [2]*replicator{r, peer} {
		c.ends[i] = &end{c: c, r: owner, side: arbiter.NodeID(i), open: true, heard: r.w.now}
	}
	n.conns = append(n.conns, c)
	if len(n.conns) > 8 {
		n.conns = n.conns[1:]
	}
	c.keepAlive(0)
	c.keepAlive(1)
	return c.ends[0]
}

func (e *end) send(h wire.Header, body []byte) {
	if !e.open {
		return
	}
	h.Seq = e.sent
	e.sent++
	e.c.post(1-e.side, wire.AppendMessage(make([]byte, 0, wire.HeaderSize+len(body)), h, body))
}

// post lines a letter up towards side to.
func (c *conn) post(to arbiter.NodeID, raw []byte) {
	p := &c.pipes[to]
	p.last = max(p.last, c.w.now+c.w.delay()+time.Duration(len(raw))*8) // about a gigabit
	p.queue = append(p.queue, letter{p.last, raw})
	c.pump(to)
}

// pump delivers what is due, in order; a cut holds it up.
func (c *conn) pump(to arbiter.NodeID) {
	p := &c.pipes[to]
	if p.pumping || len(p.queue) == 0 {
		return
	}
	p.pumping = true
	wait := max(p.queue[0].at-c.w.now, 0)
	if !c.w.net.reaches(c.link, 1-to) {
		wait = max(wait, 20*time.Millisecond)
	}
	c.w.after(wait, func() {
		p.pumping = false
		b := c.w.boxes[to]
		if len(p.queue) > 0 && p.queue[0].at <= c.w.now && c.w.net.reaches(c.link, 1-to) && b.alive() {
			l := p.queue[0]
			p.queue = p.queue[1:]
			c.arrive(c.ends[to], l)
		} else if b.paused > c.w.now {
			c.w.after(b.paused-c.w.now, func() { c.pump(to) })
			return
		} else if !b.on {
			p.queue = nil
		}
		c.pump(to)
	})
}

func (c *conn) arrive(e *end, l letter) {
	r := e.r
	switch {
	case r.b.repl != r || !e.open:
		return
	case l.raw == nil:
		e.close(errors.New("the peer closed the connection"))
		return
	}
	e.heard = c.w.now
	e.inbox = append(e.inbox, l.raw)
	if e.side == 1 && r.end != e {
		if r.offered != e {
			r.offer(e)
		}
		return
	}
	e.work()
}

// closed tells the other side, behind everything that was sent before. What was
// still on its way to e may have been read by e's process already.
func (c *conn) closed(e *end) {
	other := 1 - e.side
	c.post(other, nil)
	mine := &c.pipes[e.side]
	if e.stage == upAndRunning {
		for _, l := range mine.queue[:min(len(mine.queue), 3)] {
			if l.raw != nil {
				e.comesLate(l.raw)
			}
		}
	}
	mine.queue = nil
}

// comesLate gives a message of a dead connection to the core, which must not
// take it, and keeps it for a replay.
func (e *end) comesLate(raw []byte) {
	r := e.r
	r.after(r.w.chance.net.span(0, 10*time.Millisecond), func() {
		h, _ := wire.ParseHeader(raw)
		m, err := volume.Decode(h, raw[wire.HeaderSize:])
		if err != nil || r.ending > 0 {
			return // the core has not yet been told of the connection's end
		}
		r.w.stats.Late++
		if id := r.core.Receive(r.b.clock(), e.session, m); id != 0 {
			r.w.broken("a dead connection brings nothing", "%s took message %v of session %d", names[e.side], h.Type, e.session)
		}
		r.run()
	})
}

// keepAlive closes a side that hears nothing; pings are not played one by one.
func (c *conn) keepAlive(side arbiter.NodeID) {
	e := c.ends[side]
	c.w.after(250*time.Millisecond, func() {
		if !e.open || e.r.b.repl != e.r {
			return
		}
		other := c.ends[1-side]
		if c.w.net.reaches(c.link, 1-side) && other.open && other.r.b.repl == other.r && other.r.b.alive() {
			e.heard = c.w.now
		}
		if e.r.b.alive() && c.w.now-e.heard > peerTimeout {
			e.close(errors.New("the peer is silent"))
			return
		}
		c.keepAlive(side)
	})
}

// ownerDied forgets the offers of a process that is gone.
func (n *network) ownerDied(r *replicator) {
	for _, c := range n.conns {
		for _, e := range c.ends {
			if e.r == r {
				e.open = false
			}
		}
	}
}

// breakAll breaks the connection in use, as a reset by something in between.
func (n *network) breakAll() {
	for _, c := range n.conns {
		for _, e := range c.ends {
			if e.open && e.r.end == e {
				e.close(errors.New("connection reset"))
			}
		}
	}
}
