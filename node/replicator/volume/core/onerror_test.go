package core

import (
	"errors"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/handshake"
)

// What an error of the disk leads to under each policy, in sync and alone.

// withPolicy is withPeer, or alone, under a policy.
func withPolicy(t *testing.T, p OnError, inSync bool) *rig {
	r := newRig(t)
	if inSync {
		r = withPeer(t)
	}
	r.c.cfg.OnError = p
	return r
}

func TestAReadThatFailsAtThePrimary(t *testing.T) {
	for _, c := range []struct {
		policy         OnError
		inSync         bool
		asks, detaches bool
	}{
		{Mend, true, true, false},
		{Mend, false, false, false},
		{Detach, true, false, true}, // held until somebody else serves
		{Detach, false, false, false},
		{PassOn, true, false, false},
		{PassOn, false, false, false},
	} {
		r := withPolicy(t, c.policy, c.inSync)
		id, err := r.c.ReadFailed(r.now, blocks(4, 1), errSimDisk)
		if err != nil {
			t.Fatal(err)
		}
		r.run()
		asked := len(r.sent) > 0 && r.sent[len(r.sent)-1].Kind == ReadRequest
		if asked != c.asks || (r.c.Problem() != nil) != c.detaches {
			t.Errorf("policy %d, in sync %v: asked %v, problem %v", c.policy, c.inSync, asked, r.c.Problem())
		}
		if end, ended := r.done[id]; ended != (!c.asks && !c.detaches) || ended && !errors.Is(end, errSimDisk) {
			t.Errorf("policy %d, in sync %v: ended %v with %v", c.policy, c.inSync, ended, end)
		}
	}
}

func TestAWriteThatFailsAtThePrimary(t *testing.T) {
	for _, c := range []struct {
		policy         OnError
		inSync         bool
		told, detaches bool
	}{
		{Mend, true, false, true},
		{Mend, false, true, true},
		{Detach, true, false, true},
		{Detach, false, true, true},
		{PassOn, true, true, false},
		{PassOn, false, true, false},
	} {
		r := withPolicy(t, c.policy, c.inSync)
		w := r.write(4, 1)
		r.c.LocalDone(r.now, w, errSimDisk)
		r.run()
		if end, told := r.done[w]; told != c.told || told && !errors.Is(end, errSimDisk) || (r.c.Problem() != nil) != c.detaches {
			t.Errorf("policy %d, in sync %v: told %v (%v), problem %v", c.policy, c.inSync, told, end, r.c.Problem())
		}
	}
}

func TestAPassedOnWriteIsCopiedToThePeerAgain(t *testing.T) {
	r := withPolicy(t, PassOn, true)
	w := r.write(4, 2)
	r.c.LocalDone(r.now, w, errSimDisk)
	r.c.Receive(r.now, 1, Msg{Kind: Ack, Epoch: 2, ID: uint64(w)})
	copied := r.copyAll(func(int64) bool { return false })
	if !copied[4] || !copied[5] || r.c.phase != inSync || r.c.dirty.Bytes() != 0 || len(r.c.active) != 0 {
		t.Errorf("copied %v, phase %d, %d bytes marked", copied, r.c.phase, r.c.dirty.Bytes())
	}
	idle := 0
	r.c.hot.log.EachIdle(func(int, uint32) bool { idle++; return true })
	if idle != 1 {
		t.Errorf("%d extents of the log may leave, want the one that was written", idle)
	}
}

// secondary is a replica in sync with a Primary.
func secondary(t *testing.T, p OnError, lack block.Protocol) *Core {
	c := New(Config{Self: 1, Usable: 64 * block.Size, Seed: 2, OnError: p}, Meta{Gen: block.Generations{Current: 7}, Size: 64 * block.Size,
		BitmapValid: true, MayLack: lack}, nil, arbiter.Record{Promised: 2})
	mine := c.Hello()
	peer := handshake.State{Node: 0, Primary: true, Reign: 2, Promised: 2, Generations: mine.Generations, Size: mine.Size, Usable: mine.Usable}
	if err := c.ConnUp(0, 1, mine, peer); err != nil {
		t.Fatal(err)
	}
	c.Take()
	return c
}

func TestAWriteThatFailsAtTheSecondary(t *testing.T) {
	for _, c := range []struct {
		policy OnError
		lack   block.Protocol
		stays  bool
	}{
		{Mend, block.ProtocolC, false},
		{Detach, block.ProtocolC, false},
		{PassOn, block.ProtocolC, true},
		{PassOn, block.ProtocolB, false}, // the Primary may have completed it
		{PassOn, block.ProtocolA, false},
	} {
		s := secondary(t, c.policy, c.lack)
		s.LocalDone(0, s.Receive(0, 1, Msg{Kind: Data, Epoch: 2, ID: 5, Range: blocks(3, 1)}), errSimDisk)
		var said Msg
		for _, a := range s.Take() {
			if a.Kind == Send {
				said = a.Msg
			}
		}
		want := Msg{Kind: Failed, Epoch: 2}
		if c.stays {
			want = Msg{Kind: Ack, Epoch: 2, ID: 5, Bad: true}
		}
		if said.Kind != want.Kind || said.Bad != want.Bad || said.ID != want.ID || (s.Problem() == nil) != c.stays || s.meta.Inconsistent == c.stays {
			t.Errorf("policy %d, protocol %v: says %+v, problem %v, %+v", c.policy, c.lack, said, s.Problem(), s.meta)
		}
	}
}

func TestAReadThatFailsAtTheSecondary(t *testing.T) {
	for policy, detaches := range map[OnError]bool{Mend: false, Detach: true, PassOn: false} {
		s := secondary(t, policy, block.ProtocolC)
		s.Receive(0, 1, Msg{Kind: ReadRequest, Epoch: 2, ID: 5, Range: blocks(3, 1)})
		for _, a := range append([]Action(nil), s.Take()...) {
			if a.Kind == Read {
				s.LocalDone(0, a.ID, errSimDisk)
			}
		}
		if (s.Problem() != nil) != detaches || s.meta.Inconsistent {
			t.Errorf("policy %d: problem %v, %+v", policy, s.Problem(), s.meta)
		}
	}
}

func TestARefusedWriteInSyncEndsTheConnection(t *testing.T) {
	r := withPeer(t)
	w := r.write(4, 1)
	r.localDone(w)
	r.c.Receive(r.now, 1, Msg{Kind: Ack, Epoch: 2, ID: uint64(w), Bad: true})
	r.run()
	if r.completed(w) || r.c.phase != off || !r.c.dirty.All(blocks(4, 1)) || !r.c.View(0).WantShrink {
		t.Errorf("completed %v, phase %d, %+v", r.completed(w), r.c.phase, r.c.View(0))
	}
}
