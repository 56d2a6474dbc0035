package volume

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/block"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/link"
	"gemel/node/replicator/volume/core"
	"gemel/node/replicator/wire"
)

// errStandAlone ends a try after which a human is needed.
var errStandAlone = errors.New("stands alone")

// keepConnected connects, serves the connection, and connects again.
func (v *Volume) keepConnected() {
	defer v.running.Done()
	for v.ctx.Err() == nil {
		served, err := v.connectOnce()
		v.mu.Lock()
		if err != nil && v.ctx.Err() == nil {
			v.standAlone = errors.Is(err, errStandAlone) && v.clash != nil // nil: somebody decided meanwhile
			if v.reason != err.Error() && (v.clash == nil || v.reason == "") {
				v.reason = err.Error()
				v.touched()
				v.o.Log("volume "+v.o.Name+": not connected", err)
			}
		}
		wait := v.o.ConnectInterval
		if served || errors.Is(err, core.ErrStaleHello) {
			wait = min(wait, 50*time.Millisecond)
		}
		v.unlock()
		v.pause(wait)
	}
}

// rests reports whether this side is not to try before a human has decided.
// Node 1 goes on listening: a peer that still tries is told once more, and one
// whose data was given up must be heard.
func (v *Volume) rests() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.standAlone && v.o.Node == 0
}

// pause waits before the next try; forever when a human is needed.
func (v *Volume) pause(wait time.Duration) {
	alone := v.rests()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-v.ctx.Done():
			return
		case <-timer.C:
			if !alone {
				return
			}
		case <-v.kick:
			if alone = v.rests(); !alone {
				return
			}
		}
	}
}

// connectOnce makes one connection and serves it to its end.
func (v *Volume) connectOnce() (served bool, err error) {
	var mine handshake.State
	conn, err := v.o.Connect(v.ctx, func() (wire.Hello, error) {
		var h wire.Hello
		h, mine, err = v.hello()
		return h, err
	})
	if err != nil {
		return false, err
	}
	defer conn.Wait()
	if err := v.agree(conn, &mine); err != nil {
		conn.Close(err)
		return false, err
	}
	session, err := v.up(conn, mine)
	if err != nil {
		conn.Close(err)
		return false, err
	}
	return true, v.serve(conn, session)
}

// hello says what this replica is, once nothing of an earlier connection is
// under way.
func (v *Volume) hello() (wire.Hello, handshake.State, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.waitUntil(quietLimit, func() bool { return v.core.Quiet() || v.core.Problem() != nil }) {
		return wire.Hello{}, handshake.State{}, errors.New("the last connection's writes have not ended")
	}
	if err := v.core.Problem(); err != nil {
		return wire.Hello{}, handshake.State{}, fmt.Errorf("this replica is out of service: %w", err)
	}
	s := v.core.Hello()
	s.Claims = v.claims()
	if s.Bits { // as the peer will read it
		s.Changed = max(s.Changed, 1)
	}
	h := helloOf(s)
	h.Cluster, h.Volume = v.o.Cluster, v.o.Name
	return h, s, nil
}

// agree raises the promise to the peer's reign, decides who is source, and sees
// that the peer came to the mirrored decision.
func (v *Volume) agree(conn *link.Conn, mine *handshake.State) error {
	hello := conn.Peer()
	peer := stateOf(&hello)
	v.mu.Lock()
	if v.promise != peer.Promised {
		v.promise = peer.Promised
		v.touched()
	}
	v.unlock()
	if err := v.raise(mine, peer); err != nil {
		return err
	}
	d := handshake.Decide(*mine, peer)
	size, _ := handshake.AgreeSize(*mine, peer)
	body := wire.AppendVerdict(nil, &wire.Verdict{Decision: uint16(d.Kind), Size: size, Reason: d.String()})
	if err := conn.Send(wire.Header{Type: wire.TypeVerdict}, body); err != nil {
		return err
	}
	theirs, err := peersVerdict(conn)
	switch {
	case d.Kind == handshake.Refuse:
		return v.refused(d, mine, &peer, err == nil)
	case err != nil:
		return err
	case handshake.Kind(theirs.Decision) != d.Kind.Mirror():
		return fmt.Errorf("handshake: this node decided %v, the peer %s; %w", d.Kind, theirs.Reason, core.ErrStaleHello)
	}
	return nil
}

// raise promises the epoch of a Primary that this replica meets.
func (v *Volume) raise(mine *handshake.State, peer handshake.State) error {
	if !peer.Primary {
		return nil
	}
	v.mu.Lock()
	defer v.unlock()
	if !v.core.View(0).Primary && v.register.Raise(peer.Reign) {
		if err := v.stableRecord(true); err != nil {
			return err
		}
		mine.Promised = v.register.Record.Promised
	}
	return nil
}

// up tells the core about the connection.
func (v *Volume) up(conn *link.Conn, mine handshake.State) (uint64, error) {
	hello := conn.Peer()
	v.mu.Lock()
	defer v.unlock()
	peer := stateOf(&hello)
	if err := v.remember(&mine, &peer); err != nil {
		return 0, err
	}
	if v.closed {
		return 0, errClosed
	}
	v.session++
	v.conn, v.sumKey = conn, conn.SumKey()
	err := v.core.ConnUp(Now(), v.session, mine, peer)
	if err != nil {
		v.conn = nil
		v.run() // it may have taken a larger size
		return 0, err
	}
	v.reason, v.standAlone, v.clash = "", false, nil
	v.renewal.Start(Now())
	v.run()
	conn.Watch(v.pathChanged, v.pathMoved)
	v.running.Add(1)
	go v.write(conn, v.session)
	return v.session, nil
}

// serve receives until the connection ends.
func (v *Volume) serve(conn *link.Conn, session uint64) error {
	var err error
	for streak := 0; err == nil; streak++ {
		var m link.Message
		if m, err = conn.Receive(); err == nil {
			more := conn.More()
			if more || v.crew.busy() {
				streak = 0
			}
			err = v.receive(session, &m, streak >= aloneAfter, more)
		}
	}
	conn.Close(err)
	v.mu.Lock()
	v.core.ConnDown(Now(), session)
	if v.conn == conn {
		v.conn = nil
	}
	v.forget()
	v.run()
	v.outReady.Broadcast()
	v.unlock()
	return conn.Err()
}

// receive feeds one message to the core. A small write of the peer is written
// and answered here while messages come alone, to an idle disk: nothing else
// waits, and no other goroutine has to be woken. With more, the next message is here.
func (v *Volume) receive(session uint64, m *link.Message, alone, more bool) error {
	msg, err := fromWire(m)
	if err != nil {
		m.Release()
		return err
	}
	msg.Epoch = m.Epoch
	v.mu.Lock()
	if msg.Kind == core.Met || msg.Kind == core.MetAck || msg.Kind == core.MetKnown {
		v.renewed(session, &msg)
		v.unlock()
		m.Release()
		return nil
	}
	if msg.Kind == core.ReadReply {
		v.takeRead(session, msg, m)
		v.unlock()
		m.Release()
		return nil
	}
	for v.received > v.o.ReceiveLimit && !v.closed && v.session == session {
		v.room.Wait()
	}
	v.heard()
	v.gather = true
	id := v.core.Receive(Now(), session, msg)
	if id != 0 {
		v.o.Vigil.Request()
		v.take(id, &msg, m)
	}
	if id == 0 || msg.Kind == core.Sums || !alone || msg.FUA || msg.Range.Len > inlineMost {
		v.run()
		ended := v.gathered()
		v.unlock()
		m.Release()
		ended.tell(more)
		return nil
	}
	v.gathered().tell(true) // there is none: the peer's own message ends nothing here
	buf := v.payloads[id].buf
	mine := v.carry(id)
	v.talk()
	v.unlock()
	if mine != nil {
		v.writeLocal(mine, buf)
	}
	return nil
}

// drop closes the connection; v.mu is held.
func (v *Volume) drop(why error) {
	if v.conn == nil {
		return
	}
	v.conn.Close(why)
	v.conn = nil
	v.forget()
	v.outReady.Broadcast()
}

// toWire and fromWire are the two sides of one table. Begin travels as State:
// the generation to carry in Bitmap, the source's in Current, all bytes in ID.
func toWire(m *core.Msg) wire.Header {
	h := wire.Header{ID: m.ID, Offset: m.Range.Off, Span: uint32(m.Range.Len)}
	h.Type, h.Flags = words[m.Kind].t, words[m.Kind].f
	switch m.Kind {
	case core.Data:
		putOp(&h, m.Op)
		putWaits(&h, m)
	case core.Bits:
		h.ID, h.Offset, h.Span = 0, int64(m.ID)*64*block.Size, uint32(len(m.Words))*64*block.Size
	case core.End, core.Entrust:
		h.ID = uint64(m.Gen)
	case core.Terms, core.TermsAck:
		h.ID, h.Code = 0, uint32(m.ID)
	case core.Grow:
		h.Code = uint32(m.Step)
	case core.Sums, core.Ack:
		if m.Bad {
			h.Flags = wire.FlagFailed
		}
	}
	return h
}

// words names the type and flags of a message whose header needs no more.
var words = [...]struct {
	t wire.Type
	f wire.Flags
}{
	core.Data:        {},
	core.ResyncData:  {t: wire.TypeResyncWrite},
	core.Ack:         {t: wire.TypeWriteAck},
	core.Barrier:     {t: wire.TypeBarrier},
	core.BarrierAck:  {t: wire.TypeBarrierAck},
	core.Bits:        {t: wire.TypeBitmap},
	core.BitsEnd:     {t: wire.TypeBitmap, f: wire.FlagLast},
	core.Begin:       {t: wire.TypeState},
	core.BeginAck:    {t: wire.TypeState, f: wire.FlagReply},
	core.End:         {t: wire.TypeResyncDone},
	core.EndAck:      {t: wire.TypeResyncDone, f: wire.FlagReply},
	core.ReadRequest: {t: wire.TypeReadRequest},
	core.ReadReply:   {t: wire.TypeReadReply},
	core.ReadFailed:  {t: wire.TypeReadReply, f: wire.FlagFailed},
	core.Received:    {t: wire.TypeReceived},
	core.Terms:       {t: wire.TypeProtocol},
	core.TermsAck:    {t: wire.TypeProtocol, f: wire.FlagReply},
	core.Ask:         {t: wire.TypeAsk},
	core.Sums:        {t: wire.TypeSums},
	core.VerifyNote:  {t: wire.TypeVerify},
	core.Entrust:     {t: wire.TypeEntrust},
	core.EntrustAck:  {t: wire.TypeEntrust, f: wire.FlagReply},
	core.Grow:        {t: wire.TypeGrow},
	core.Met:         {t: wire.TypeMet},
	core.MetAck:      {t: wire.TypeMet, f: wire.FlagReply},
	core.MetKnown:    {t: wire.TypeMet, f: wire.FlagLast},
}

func fromWire(m *link.Message) (core.Msg, error) {
	reply := m.Flags&wire.FlagReply != 0
	out := core.Msg{ID: m.ID, Range: block.Range{Off: m.Offset, Len: int64(m.Span)}}
	switch m.Type {
	case wire.TypeWrite, wire.TypeDiscard, wire.TypeWriteZeroes:
		out.Kind, out.Op = core.Data, opOf(&m.Header)
		out.FUA, out.After, out.Receipt = waitsOf(&m.Header)
	case wire.TypeResyncWrite:
		out.Kind, out.Op = core.ResyncData, opOf(&m.Header)
	case wire.TypeWriteAck, wire.TypeResyncAck:
		out.Kind, out.Bad = core.Ack, m.Flags&wire.FlagFailed != 0
	case wire.TypeBarrier:
		out.Kind = core.Barrier
	case wire.TypeBarrierAck:
		out.Kind = core.BarrierAck
	case wire.TypeBitmap:
		return bitsFrom(m)
	case wire.TypeState:
		if out.Kind = core.BeginAck; !reply {
			return beginFrom(m)
		}
	case wire.TypeReadRequest:
		out.Kind = core.ReadRequest
	case wire.TypeReadReply:
		if out.Kind = core.ReadReply; m.Flags&wire.FlagFailed != 0 {
			out.Kind = core.ReadFailed
		}
	case wire.TypeReceived:
		out.Kind = core.Received
	case wire.TypeProtocol:
		out.ID = uint64(m.Code)
		if out.Kind = core.Terms; reply {
			out.Kind = core.TermsAck
		}
	case wire.TypeResyncDone:
		out.Kind, out.Gen = core.End, block.Generation(m.ID)
		if reply {
			out.Kind = core.EndAck
		}
	default:
		return tendedFrom(m, out)
	}
	return out, nil
}

// tendedFrom is the part of fromWire for what tends the volume: verify and growth.
func tendedFrom(m *link.Message, out core.Msg) (core.Msg, error) {
	switch m.Type {
	case wire.TypeMet:
		out.Kind = metKind(m.Flags)
	case wire.TypeEntrust:
		out.Kind, out.Gen = core.Entrust, block.Generation(m.ID)
		if m.Flags&wire.FlagReply != 0 {
			out.Kind = core.EntrustAck
		}
	case wire.TypeAsk:
		out.Kind = core.Ask
	case wire.TypeSums:
		out.Kind, out.Bad = core.Sums, m.Flags&wire.FlagFailed != 0
	case wire.TypeVerify:
		out.Kind, out.Words = core.VerifyNote, make([]uint64, len(m.Payload)/8)
		return out, wire.OrWords(out.Words, m.Payload)
	case wire.TypeGrow:
		out.Kind, out.Step = core.Grow, core.GrowStep(m.Code) //nolint:gosec // wire lets six through
	default:
		return out, fmt.Errorf("message %v is not expected here", m.Type)
	}
	return out, nil
}

// putOp and opOf are the two sides of one table: what a write makes of its range.
func putOp(h *wire.Header, op core.Op) {
	switch op {
	case core.OpBytes:
		h.Type = wire.TypeWrite
	case core.OpDiscard:
		h.Type = wire.TypeDiscard
	case core.OpZeroKeep:
		h.Type, h.Flags = wire.TypeWriteZeroes, wire.FlagKeep
	default:
		h.Type = wire.TypeWriteZeroes
	}
}

func opOf(h *wire.Header) core.Op {
	switch {
	case h.Type == wire.TypeDiscard:
		return core.OpDiscard
	case h.Type == wire.TypeWriteZeroes && h.Flags&wire.FlagKeep != 0:
		return core.OpZeroKeep
	case h.Type == wire.TypeWriteZeroes:
		return core.OpZero
	case h.Flags&wire.FlagZero != 0:
		return core.OpBlank
	}
	return core.OpBytes
}

// putWaits and waitsOf are the two sides of one table: what a write waits for,
// and what waits for it.
func putWaits(h *wire.Header, m *core.Msg) {
	if m.FUA {
		h.Flags |= wire.FlagFUA
	}
	if m.After {
		h.Flags |= wire.FlagAfter
	}
	if m.Receipt {
		h.Flags |= wire.FlagReceipt
	}
}

func waitsOf(h *wire.Header) (fua, after, receipt bool) {
	return h.Flags&wire.FlagFUA != 0, h.Flags&wire.FlagAfter != 0, h.Flags&wire.FlagReceipt != 0
}

func bitsFrom(m *link.Message) (core.Msg, error) {
	out := core.Msg{Kind: core.Bits, ID: uint64(m.Offset / (64 * block.Size))}
	if m.Flags&wire.FlagLast != 0 {
		out.Kind = core.BitsEnd
		return out, nil
	}
	out.Words = make([]uint64, len(m.Payload)/8)
	return out, wire.OrWords(out.Words, m.Payload)
}

func beginBody(m *core.Msg) []byte {
	s := wire.State{Disk: wire.DiskUpToDate, Generation: block.Generations{Current: m.From, Bitmap: m.Gen}}
	if m.Full {
		s.Flags = wire.HelloWhole
	}
	return wire.AppendState(nil, &s)
}

func beginFrom(m *link.Message) (core.Msg, error) {
	s, err := wire.ParseState(m.Payload)
	return core.Msg{Kind: core.Begin, ID: m.ID, Gen: s.Generation.Bitmap, From: s.Generation.Current,
		Full: s.Flags.Has(wire.HelloWhole)}, err
}
