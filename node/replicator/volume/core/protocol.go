package core

import (
	"time"

	"gemel/node/block"
)

// Under protocol C a write completes when the peer has written it. Under B and A
// it completes earlier, and three things keep that in bounds:
//
//   - The peer notes the protocol on stable storage (Terms) before a write
//     completes under it, so that it knows, whatever happens, what it may lack.
//   - The application may issue a write that depends on one that completed. So
//     the first message after such a completion says After, and the peer applies
//     it only when everything before it is written: at every moment it lacks a
//     write only if it lacks all that were issued after its completion.
//   - Under A the writes that are under way to the peer are bounded: what
//     completes without it is at most Config.Fill bytes (congestion.go).
//
// A flush and a write with FUA wait for the peer's disk under every protocol.

// terms are what both sides know of the protocol.
type terms struct {
	want    block.Protocol // of this node, once it is Primary
	inUse   block.Protocol // Primary: what a write of this connection waits for
	asked   block.Protocol // Primary: newest that the peer was told
	told    bool           // Primary: asked counts
	asking  bool           // Primary: the peer has not answered
	leaving bool           // Primary: a hand-over: C, until the role ends
	version uint64         // Secondary: metadata version to answer after, 0: none
}

// forget begins a connection: what the peer noted on an earlier one may have
// changed since.
func (t *terms) forget() {
	t.inUse, t.told, t.asking, t.version = block.ProtocolC, false, false, 0
}

// wanted is C as well once the disk here failed: the peer shall take over soon,
// and note that it lacks nothing.
func (c *Core) wanted() block.Protocol {
	if c.terms.leaving || c.problem != nil {
		return block.ProtocolC
	}
	return c.terms.want
}

// SetProtocol changes the protocol. A stronger one counts for every write that
// has not completed; a weaker one as soon as the peer has noted it.
func (c *Core) SetProtocol(p block.Protocol) {
	if p == c.terms.want {
		return
	}
	c.terms.want = p
	c.agreeTerms()
	c.changed()
}

// Leave makes the peer note, before a clean demotion, that it lacks nothing;
// call it when everything is flushed. Left tells when that is done, or cannot
// be; the demotion ends it.
func (c *Core) Leave() {
	c.terms.leaving = true
	c.agreeTerms()
}

// Left reports whether Leave has nothing to wait for.
func (c *Core) Left() bool {
	t := &c.terms
	return c.phase != inSync || t.told && !t.asking && t.asked == block.ProtocolC
}

// agreeTerms tells the peer the protocol, on every connection and after every
// change.
func (c *Core) agreeTerms() {
	t := &c.terms
	if !c.primary || c.phase != inSync {
		return
	}
	want := c.wanted()
	t.inUse = min(t.inUse, want)
	if t.asking || t.told && t.asked == want {
		return
	}
	t.asking, t.told, t.asked = true, true, want
	c.send(Msg{Kind: Terms, ID: uint64(want)})
}

// termsNoted: from here on the peer knows what it may lack.
func (c *Core) termsNoted(now time.Duration, p block.Protocol) {
	t := &c.terms
	if !t.asking || p != t.asked {
		return
	}
	t.asking = false
	t.inUse = min(p, c.wanted())
	c.agreeTerms()
	c.changed()
	c.review(now)
}

// peerDone reports whether the peer's part in q is done under the protocol in
// use.
func (c *Core) peerDone(q *request) bool {
	if q.acked || q.fua || !q.pending {
		return q.acked
	}
	switch c.terms.inUse {
	case block.ProtocolB:
		return q.received
	case block.ProtocolA:
		return !c.congested()
	}
	return false
}

// received: the peer has q in its memory.
func (c *Core) received(now time.Duration, id ID) {
	if q := c.find(id); q != nil && q.pending {
		q.received = true
		c.tryComplete(now, q)
	}
}

// noteTerms records, at the Secondary, what the Primary will wait for. A weaker
// protocol is noted at once; a stronger one only when everything that came
// under the weaker one is written.
func (c *Core) noteTerms(m Msg) {
	p := block.Protocol(m.ID)
	switch {
	case p == c.meta.MayLack:
		c.send(Msg{Kind: TermsAck, ID: m.ID})
	case p > c.meta.MayLack:
		c.setMayLack(p)
	default:
		c.tasks = append(c.tasks, task{kind: Terms, id: m.ID, order: c.seq})
		c.runTasks()
	}
}

func (c *Core) setMayLack(p block.Protocol) {
	c.meta.MayLack = p
	c.terms.version = c.persist()
	c.changed()
}

// termsDurable answers once the note is on stable storage.
func (c *Core) termsDurable() {
	if c.terms.version != 0 && c.metaDurable >= c.terms.version {
		c.terms.version = 0
		c.send(Msg{Kind: TermsAck, ID: uint64(c.meta.MayLack)})
	}
}

// order applies a write of the Primary, or holds it until what came before it
// is written.
func (c *Core) order(now time.Duration, q *request) {
	if q.after && c.unwritten > 0 || len(c.behind) > 0 {
		c.behind = append(c.behind, q)
		return
	}
	c.apply(now, q)
}

func (c *Core) apply(now time.Duration, q *request) {
	q.inLocal, q.since = true, now
	if q.ordered {
		c.unwritten++
	}
	c.emit(Action{Kind: Write, ID: q.id, Range: q.r, Op: q.op, FUA: q.fua})
}

// applied lets go what had to wait for q. It goes on after the connection ended:
// what arrived counts, in its order.
func (c *Core) applied(now time.Duration, q *request) {
	if !q.ordered {
		return
	}
	c.unwritten--
	n := 0
	for n < len(c.behind) && (c.unwritten == 0 || !c.behind[n].after) {
		c.apply(now, c.behind[n])
		n++
	}
	c.behind = c.behind[:copy(c.behind, c.behind[n:])]
}
