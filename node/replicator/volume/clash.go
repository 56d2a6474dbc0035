package volume

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/replicator/control"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/link"
	"gemel/node/replicator/volume/core"
	"gemel/node/replicator/wire"
)

// Clash is a refused handshake that does not go away by itself: both sides stand
// alone until somebody decides.
type Clash struct {
	Verdict handshake.Verdict
	Peer    handshake.State
	At      time.Time
}

// refused takes a handshake's refusal. A side stands alone only once it knows
// that the other has come to the same: until then it keeps trying, so that both
// sides always know.
func (v *Volume) refused(d handshake.Verdict, mine, peer *handshake.State, told bool) error {
	v.mu.Lock()
	defer v.unlock()
	switch {
	case v.core.Hello().Discard != mine.Discard: // somebody decided meanwhile
		return fmt.Errorf("%s; %w", d, core.ErrStaleHello)
	case d.Discards && told && d.Loser == v.o.Node:
		return v.loseByPolicy(d)
	case d.Discards:
		return fmt.Errorf("%s; %w", d, core.ErrStaleHello)
	case d.Retry:
		return errors.New(d.String())
	}
	if v.clash == nil || v.clash.Verdict.Name != d.Name {
		v.clash = &Clash{Verdict: d, Peer: *peer, At: time.Now()}
		v.reason = "" // told anew
		v.touched()
	}
	v.clash.Verdict, v.clash.Peer = d, *peer
	if !told {
		return errors.New(d.String())
	}
	return fmt.Errorf("%w: %s", errStandAlone, d)
}

// loseByPolicy gives this side's data up, as after-sb-0pri or after-sb-1pri say;
// v.mu is held.
func (v *Volume) loseByPolicy(d handshake.Verdict) error {
	if err := v.giveUp(true, false); err != nil {
		return fmt.Errorf("%s; but it cannot: %w", d, err)
	}
	return fmt.Errorf("%s; %w", d, core.ErrStaleHello)
}

// giveUp makes it stable that this replica's data is to be overwritten; v.mu is
// held.
func (v *Volume) giveUp(undo, all bool) error {
	version, err := v.core.Discard(Now(), undo, all)
	v.run()
	if err != nil {
		return err
	}
	if !v.waitUntil(quietLimit, func() bool { return v.core.Durable(version) || v.core.Problem() != nil }) {
		return fmt.Errorf("the metadata is not on stable storage after %v", quietLimit)
	}
	return v.core.Problem()
}

// peersVerdict waits for what the peer made of both hellos.
func peersVerdict(conn *link.Conn) (wire.Verdict, error) {
	m, err := conn.Receive()
	if err != nil {
		return wire.Verdict{}, err
	}
	defer m.Release()
	if m.Type != wire.TypeVerdict {
		return wire.Verdict{}, fmt.Errorf("handshake: a verdict was expected, %v came", m.Type)
	}
	return wire.ParseVerdict(m.Payload)
}

// ErrOnlyCopy refuses to give up what may be the only good copy.
var ErrOnlyCopy = errors.New("this may be the only good copy")

// GiveUp gives this replica's data up; see control.GiveUpRequest.
func (v *Volume) GiveUp(req control.GiveUpRequest) error {
	v.mu.Lock()
	defer v.unlock()
	if err := v.mayGiveUp(); err != nil {
		return fmt.Errorf("volume %s: %w", v.o.Name, err)
	}
	if err := v.giveUp(req.Undo, req.All); err != nil {
		return fmt.Errorf("volume %s: %w", v.o.Name, err)
	}
	v.standAlone, v.reason, v.clash = false, "", nil
	v.touched()
	v.hurry()
	return nil
}

// mayGiveUp refuses what would leave nobody with the data.
func (v *Volume) mayGiveUp() error {
	w := v.core.View(Now())
	if w.Primary {
		return fmt.Errorf("%w: it is Primary; let the other node take the volume over first", core.ErrNotPrimary)
	}
	var peer handshake.State
	switch {
	case w.Connected:
		peer = w.PeerState
	case v.clash != nil:
		peer = v.clash.Peer
	default:
		return fmt.Errorf("%w: the peer was not met since it was lost; connect it first, see `gemel status`", ErrOnlyCopy)
	}
	switch set := v.register.Record.Accepted.Set; {
	case peer.Inconsistent || peer.Created || peer.Discard:
		return fmt.Errorf("%w: the peer's is not whole", ErrOnlyCopy)
	case w.Connected && !w.PeerState.Primary && !w.Inconsistent && set != 0 && set.Has(v.o.Node) && !set.Has(1-v.o.Node):
		return fmt.Errorf("%w: only this node is recorded to hold every write", ErrOnlyCopy)
	}
	return nil
}

// resolvable clashes end when one side gives its data up.
var resolvable = map[string]bool{handshake.SplitBrain: true, handshake.Unrelated: true, handshake.PrimaryStale: true,
	handshake.OlderRestored: true, NotKept: true}

// apart is both sides of a clash for people; v.mu is held.
func (v *Volume) apart() *control.Apart {
	if v.clash == nil {
		return nil
	}
	mine, w := v.claims(), v.core.View(Now())
	return &control.Apart{
		Name: v.clash.Verdict.Name, Text: v.clash.Verdict.Text, Next: v.clash.Verdict.Next, Seen: v.clash.At.UTC(),
		Resolvable: resolvable[v.clash.Verdict.Name],
		Here:       side(&mine, w.Primary, w.Crashed),
		There:      side(&v.clash.Peer.Claims, v.clash.Peer.Primary, v.clash.Peer.Crashed),
	}
}

func side(c *handshake.Claims, primary, crashed bool) control.Side {
	return control.Side{Primary: primary, Crashed: crashed, Changed: c.Changed,
		ReignStart: wall(c.ReignStart), ReignEnd: wall(c.ReignEnd), Since: wall(c.Apart)}
}

// wall makes a time of nanoseconds since 1970; zero stays the zero time.
func wall(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
