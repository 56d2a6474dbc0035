package core

import (
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
)

// failing is a Primary in sync with its peer whose disk failed at a write that
// both were asked for.
func failing(t *testing.T) (r *rig, held ID) {
	r = withPeer(t)
	held = r.write(4, 1)
	r.c.LocalDone(r.now, held, errSimDisk)
	r.ack(held)
	if v := r.c.View(r.now); r.completed(held) || !v.MayYield || v.Remote {
		t.Fatalf("completed %v, %+v", r.completed(held), v)
	}
	return r, held
}

// yield records the peer alone and, with entrusted, lets the peer answer.
func (r *rig) yield(entrusted bool) {
	r.t.Helper()
	alone := arbiter.Accepted{Epoch: 2, Version: 3, Set: arbiter.Only(1)}
	if !r.c.MayAccept(alone) {
		r.t.Fatal("the set may not be left to the peer")
	}
	r.c.Accepted(r.now, arbiter.Record{Promised: 2, Accepted: alone})
	if err := r.c.Chosen(r.now, alone); err != nil {
		r.t.Fatal(err)
	}
	r.run()
	if entrusted {
		r.c.Receive(r.now, 1, Msg{Kind: EntrustAck, Epoch: 2})
		r.run()
	}
}

func TestAPrimaryGoesOnThroughItsPeer(t *testing.T) {
	r, w := failing(t)
	later := r.write(9, 1)
	flush, _ := r.c.Flush(r.now)
	r.yield(false)
	if r.completed(w) || len(r.sent) == 0 || r.sent[len(r.sent)-1].Kind != Entrust {
		t.Fatalf("completed before the peer carries a new generation: %v, %+v", r.completed(w), r.sent)
	}
	r.c.Receive(r.now, 1, Msg{Kind: EntrustAck, Epoch: 2})
	r.run()
	if !r.completed(w) || r.done[w] != nil || r.completed(later) || r.completed(flush) || !r.c.Remote() {
		t.Fatalf("completed %v with %v, later %v, flush %v", r.completed(w), r.done[w], r.completed(later), r.completed(flush))
	}
	local := len(r.local)
	r.ack(later)
	r.c.Receive(r.now, 1, Msg{Kind: BarrierAck, Epoch: 2, ID: r.c.barrierSeq})
	if r.c.barrierOut {
		r.c.Receive(r.now, 1, Msg{Kind: BarrierAck, Epoch: 2, ID: r.c.barrierSeq})
	}
	r.run()
	if r.done[later] != nil || !r.completed(later) || !r.completed(flush) || len(r.local) != local {
		t.Errorf("later %v, flush %v, %d local writes", r.done[later], r.completed(flush), len(r.local)-local)
	}
}

func TestWithoutADiskReadsAreThePeers(t *testing.T) {
	r, _ := failing(t)
	r.yield(true)
	if r.c.MayRead(r.now) {
		t.Error("read here")
	}
	id, err := r.c.ReadFailed(r.now, blocks(4, 2), errSimDisk)
	if err != nil {
		t.Fatal(err)
	}
	r.run()
	if got := r.c.Receive(r.now, 1, Msg{Kind: ReadReply, Epoch: 2, ID: uint64(id), Range: blocks(4, 2)}); got != id {
		t.Fatalf("the data is wanted for %x, not %x", got, id)
	}
	local := len(r.local)
	if r.run(); r.done[id] != nil || !r.completed(id) || len(r.local) != local {
		t.Errorf("read ended %v with %v, %d local writes", r.completed(id), r.done[id], len(r.local)-local)
	}
	id, _ = r.c.ReadFailed(r.now, blocks(8, 1), errSimDisk)
	r.run()
	r.c.Receive(r.now, 1, Msg{Kind: ReadFailed, Epoch: 2, ID: uint64(id), Range: blocks(8, 1)})
	if r.run(); r.done[id] == nil {
		t.Error("a read that neither disk could answer ended well")
	}
}

func TestWithoutADiskTheLostPeerHoldsEverything(t *testing.T) {
	r, _ := failing(t)
	r.yield(true)
	w := r.write(20, 1)
	r.c.ConnDown(r.now, 1)
	r.run()
	v := r.c.View(r.now)
	if r.completed(w) || v.Remote || v.MayYield || v.WantShrink || v.Frozen == "" {
		t.Errorf("completed %v, %+v", r.completed(w), v)
	}
	if r.c.MayAccept(arbiter.Accepted{Epoch: 2, Version: 4, Set: arbiter.Both}) {
		t.Error("it may come back into the set")
	}
}

func TestAStuckDiskIsNotLeftThatWay(t *testing.T) {
	r := withPeer(t)
	r.c.cfg.DiskTimeout = 1
	r.write(4, 1)
	r.now = 10
	r.c.Tick(r.now)
	if v := r.c.View(r.now); v.Problem == nil || v.MayYield {
		t.Errorf("%+v", v)
	}
}

func TestTheOnlyCopyIsNotGivenUp(t *testing.T) {
	s := secondary(t, Mend, block.ProtocolC)
	before := s.meta.Gen.Current
	s.Accepted(0, arbiter.Record{Promised: 2, Accepted: arbiter.Accepted{Epoch: 2, Version: 3, Set: arbiter.Only(1)}})
	s.Receive(0, 1, Msg{Kind: Entrust, Epoch: 2, Gen: 99})
	m, version := s.Meta()
	if m.Gen.Current != 99 || m.Gen.Bitmap != 0 || !m.Gen.Knows(before) {
		t.Errorf("it carries %+v", m.Gen)
	}
	for _, a := range s.Take() {
		if a.Kind == Send {
			t.Fatal("answered before that is stable")
		}
	}
	s.Persisted(0, version, nil)
	if out := s.Take(); len(out) != 1 || out[0].Msg.Kind != EntrustAck {
		t.Errorf("answered with %+v", out)
	}
	if _, err := s.Discard(0, false, false); err == nil {
		t.Error("the only copy was given up")
	}
}
