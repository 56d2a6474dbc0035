package sim

import (
	"errors"
	"time"

	"gemel/node/arbiter"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/volume"
	"gemel/node/replicator/volume/core"
	"gemel/node/replicator/wire"
)

// stage is how far a side of a connection has come.
type stage uint8

const (
	greeting stage = iota // waits for the peer's hello
	deciding              // waits for the own register, then for the peer's verdict
	upAndRunning
)

// end is one side of a connection, with what package volume does around it: the
// hellos, the verdicts, then messages for the core.
type end struct {
	c     *conn
	r     *replicator
	side  arbiter.NodeID
	stage stage
	open  bool
	busy  bool     // a message is being worked on
	inbox [][]byte // waits for that

	sent, received uint64 // messages
	heard          time.Duration
	mine           handshake.State
	hello          wire.Hello
	decision       handshake.Verdict
	session        uint64
}

// tryAfter connects once wait has passed; node 0 dials.
func (r *replicator) tryAfter(wait time.Duration) {
	r.nextTry++
	try := r.nextTry
	r.after(wait, func() {
		switch {
		case r.nextTry != try || r.end != nil || r.alone && r.b.id == 0:
		case r.ending > 0: // the core learns of the last connection's end first
			r.tryAfter(time.Millisecond)
		default:
			r.try()
		}
	})
}

func (r *replicator) hurry() {
	if r.end == nil {
		r.tryAfter(0)
	}
}

func (r *replicator) try() {
	if r.b.id != 0 {
		r.accept()
		return
	}
	link, ok := r.w.net.linkFor()
	peer := r.w.boxes[1].repl
	if !ok || peer == nil || !r.w.boxes[1].alive() {
		r.tryAfter(connectWait)
		return
	}
	e := r.w.net.open(link, r, peer)
	r.end = e
	r.introduce(e, wire.TypeHello)
}

// accept takes the offer that waits, if there is one.
func (r *replicator) accept() {
	e := r.offered
	if e == nil || r.end != nil {
		return
	}
	r.offered = nil
	if !e.open {
		return
	}
	r.end = e
	e.work()
}

// offer is a connection that the peer dialed; it is refused when this side does
// not come around to it.
func (r *replicator) offer(e *end) {
	if old := r.offered; old != nil {
		old.close(errors.New("not ready"))
	}
	r.offered = e
	if r.end == nil {
		r.tryAfter(0)
	}
	r.after(time.Second, func() {
		if r.offered == e {
			r.offered = nil
			e.close(errors.New("not ready"))
		}
	})
}

// introduce sends the hello once nothing of an earlier connection is under way.
func (r *replicator) introduce(e *end, t wire.Type) {
	e.busy = true
	r.when(10*time.Second, r.quiet, func(ok bool) {
		e.busy = false
		if !e.open {
			return
		}
		if !ok || r.core.Problem() != nil {
			e.close(errors.New("the last connection's writes have not ended"))
			return
		}
		e.mine = r.core.Hello()
		e.mine.Claims = volume.Claims(r.store, r.core, r.register.Record.Accepted)
		e.mine.Policy = r.w.plan.Policy
		if e.mine.Bits { // as the peer will read it
			e.mine.Changed = max(e.mine.Changed, 1)
		}
		h := volume.Introduce(e.mine)
		h.VersionMin, h.VersionMax = wire.VersionMin, wire.VersionMax
		h.Cluster, h.Volume, h.Link = "sim", "data", "private"
		e.send(wire.Header{Type: t}, wire.AppendHello(nil, &h))
		if t == wire.TypeHelloReply {
			e.agree()
		}
		e.work()
	})
	r.run()
}

// work takes what waits in the inbox.
func (e *end) work() {
	for len(e.inbox) > 0 && e.open && !e.busy && e.r.end == e {
		raw := e.inbox[0]
		e.inbox = e.inbox[1:]
		e.take(raw)
	}
}

// take takes one message of the stream.
func (e *end) take(raw []byte) {
	h, err := wire.ParseHeader(raw)
	payload := raw[min(wire.HeaderSize, len(raw)):]
	if err == nil {
		err = h.CheckPayload(payload)
	}
	if err != nil {
		e.r.w.broken("what one side sends the other understands", "%v", err)
	}
	if h.Seq != e.received {
		e.r.w.broken("the simulated stream keeps its order", "message %d after %d", h.Seq, e.received)
	}
	e.received++
	switch e.stage {
	case greeting:
		e.greeted(h, payload)
	case deciding:
		e.judged(h, payload)
	default:
		e.deliver(h, raw)
	}
}

func (e *end) greeted(h wire.Header, payload []byte) {
	hello, err := wire.ParseHello(payload)
	if err != nil {
		e.r.w.broken("what one side sends the other understands", "%v: %v", h.Type, err)
	}
	e.hello = hello
	switch h.Type {
	case wire.TypeHello:
		e.r.introduce(e, wire.TypeHelloReply)
	case wire.TypeHelloReply:
		e.agree()
	}
}

// agree raises the promise to the peer's reign, decides who is source, and
// tells the peer.
func (e *end) agree() {
	r, peer := e.r, volume.Introduced(&e.hello)
	if r.promise != peer.Promised {
		r.promise = peer.Promised
		r.touched()
	}
	e.stage, e.busy = deciding, true
	if peer.Primary && !r.core.View(0).Primary && r.register.Raise(peer.Reign) {
		r.stableRecord(true, func() {
			e.mine.Promised = r.register.Record.Promised
			e.decide(peer)
		})
		return
	}
	e.decide(peer)
}

func (e *end) decide(peer handshake.State) {
	e.busy = false
	if !e.open {
		return
	}
	e.decision = handshake.Decide(e.mine, peer)
	size, _ := handshake.AgreeSize(e.mine, peer)
	e.send(wire.Header{Type: wire.TypeVerdict}, wire.AppendVerdict(nil,
		&wire.Verdict{Decision: uint16(e.decision.Kind), Size: size, Reason: e.decision.String()}))
	e.work()
}

// judged compares the peer's verdict with the own one.
func (e *end) judged(h wire.Header, payload []byte) {
	theirs, err := wire.ParseVerdict(payload)
	d := e.decision
	switch {
	case h.Type != wire.TypeVerdict || err != nil:
		e.r.w.broken("what one side sends the other understands", "%v instead of a verdict: %v", h.Type, err)
	case d.Kind == handshake.Refuse && d.Discards:
		e.refused(d)
		e.close(core.ErrStaleHello)
	case d.Kind == handshake.Refuse && (d.Retry || e.older(d) || e.refused(d)):
		e.close(errors.New(d.String()))
	case d.Kind == handshake.Refuse:
		e.r.w.broken("a pair that nobody forced never stands alone", "%s refuses: %s\n%s\n%s", names[e.side], d,
			helloWords(e.mine), helloWords(volume.Introduced(&e.hello)))
	case handshake.Kind(theirs.Decision) != d.Kind.Mirror():
		e.close(core.ErrStaleHello)
	default:
		e.remember()
	}
}

// remember writes the peer down before anything is taken from it.
func (e *end) remember() {
	r := e.r
	r.met = volume.Meeting{Replica: e.hello.Replica, Sequence: e.hello.Sequence}
	r.saying = e.mine.Sequence
	r.recordWanted++
	e.busy = true
	r.stableRecord(false, func() {
		if e.busy = false; e.open {
			e.up()
			e.work()
		}
	})
}

// heard: the peer spoke, so it has written down what was said in the hello.
func (r *replicator) heard() {
	if r.saying != 0 {
		r.met.Said, r.saying = r.saying, 0
		r.recordWanted++
	}
}

// up tells the core about the connection.
func (e *end) up() {
	r := e.r
	r.session++
	e.session = r.session
	peer := volume.Introduced(&e.hello)
	if err := r.core.ConnUp(r.b.clock(), e.session, e.mine, peer); err != nil {
		e.close(err)
		r.run() // it may have taken a larger size
		return
	}
	e.stage, r.clash, r.alone = upAndRunning, nil, false
	if e.decision.Kind == handshake.NoSync {
		r.w.meet(e.mine, peer)
	}
	r.renewal.Start(r.b.clock())
	r.w.tell("%s is connected, session %d: %v", names[e.side], e.session, e.decision.Kind)
	if r.b.replayArmed {
		r.after(r.w.chance.net.span(0, 200*time.Millisecond), r.b.replayOld)
	}
	r.run()
}

// deliver feeds one message to the core.
func (e *end) deliver(h wire.Header, raw []byte) {
	r, payload := e.r, raw[wire.HeaderSize:]
	m, err := volume.Decode(h, payload)
	if err != nil {
		r.w.broken("what one side sends the other understands", "%v: %v", h.Type, err)
	}
	r.w.mark(100, uint64(e.side), uint64(h.Type), h.ID, uint64(h.Offset))
	if m.Kind == core.Met || m.Kind == core.MetAck || m.Kind == core.MetKnown {
		r.renewed(e, &m)
		return
	}
	r.heard()
	id := r.core.Receive(r.b.clock(), e.session, m)
	if id != 0 {
		r.keep(id, &m, payload)
	}
	if id != 0 && (m.Kind == core.Data || m.Kind == core.ResyncData) {
		r.b.truth.taken(r, &m)
	}
	if id != 0 && (m.Kind == core.ResyncData || m.Kind == core.ReadReply) {
		r.b.truth.copied(r, &m, payload)
	}
	switch m.Kind {
	case core.Data:
		r.b.old = append(r.b.old[max(0, len(r.b.old)-11):], raw)
	case core.BeginAck:
		if r.b.blank || r.b.restored {
			r.w.broken("only whole data is a source", "%s copies what is on another disk than before", names[e.side])
		}
		r.w.boxes[1-r.b.id].resynced(e.decision.Kind)
		r.w.joins(r.w.boxes[1-r.b.id], r.b)
		r.w.resyncBegins(r.b)
	case core.EndAck:
		r.w.stats.Resyncs++
	}
	r.run()
}

// send puts a message on the wire.
func (r *replicator) send(m *core.Msg) {
	if r.end == nil {
		return
	}
	if m.Kind == core.Failed {
		r.end.close(errors.New("the backing device failed here"))
		return
	}
	switch m.Kind {
	case core.End:
		r.endSent = r.w.now
	case core.Begin:
		r.end.c.differ = r.w.lostBy(r.w.boxes[1-r.b.id])
	}
	h, body := volume.Encode(m, r.memory(m))
	r.end.send(h, body)
}

// close ends the connection from this side. What the peer sent may have been
// read already: such messages come late.
func (e *end) close(why error) {
	if !e.open {
		return
	}
	e.open = false
	r := e.r
	if r.end == e {
		r.end = nil
	}
	stale := errors.Is(why, core.ErrStaleHello)
	e.c.closed(e)
	if r.b.repl != r {
		return
	}
	wait := connectWait
	if e.stage == upAndRunning || stale {
		wait = 50 * time.Millisecond
	}
	r.ending++
	r.after(r.w.chance.net.span(0, 5*time.Millisecond), func() {
		r.ending--
		r.core.ConnDown(r.b.clock(), e.session)
		r.run()
	})
	r.tryAfter(wait)
}

// abandon is the death of the process: its kernel closes the socket, if there
// still is a kernel.
func (e *end) abandon(closeSockets bool) {
	e.open = false
	if closeSockets {
		e.c.closed(e)
	}
}

// replayOld brings writes of an old reign again, as if their connection had
// survived the election.
func (b *box) replayOld() {
	b.replayArmed = true
	r := b.repl
	for _, raw := range b.old {
		if r == nil || r.end == nil || r.end.stage != upAndRunning {
			return
		}
		h, _ := wire.ParseHeader(raw)
		if h.Epoch == 0 || h.Epoch >= r.core.View(0).Reign {
			continue
		}
		m, err := volume.Decode(h, raw[wire.HeaderSize:])
		if err != nil {
			b.w.broken("what one side sends the other understands", "%v: %v", h.Type, err)
		}
		b.replayArmed = false
		b.w.stats.Late++
		b.w.tell("a write of epoch %d is replayed to %s", m.Epoch, names[b.id])
		if id := r.core.Receive(b.clock(), r.end.session, m); id != 0 {
			b.truth.taken(r, &m)
			r.keep(id, &m, raw[wire.HeaderSize:])
		}
		r.run()
	}
}
