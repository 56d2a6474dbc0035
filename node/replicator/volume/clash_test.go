package volume

import (
	"os"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/replicator/control"
	"gemel/node/replicator/handshake"
)

// whole is a pair in sync, node 0 Primary in epoch 2.
func whole(t *testing.T) *pair {
	p := newPair(t, 24<<20)
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	return p
}

// split makes both nodes of a whole pair write alone: node 1 by a human's word.
func split(t *testing.T) *pair {
	p := whole(t)
	p.pull(true)
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	p.choose(0, 2, 3, arbiter.Only(0))
	write(t, p.v[0], 3, 40, 32<<10)
	p.promote(1, 1003, false)
	write(t, p.v[1], 4, 20, 32<<10)
	return p
}

func apart(name string) func(control.VolumeState) bool {
	return func(s control.VolumeState) bool {
		return s.Connection == control.StandAlone && s.Apart != nil && s.Apart.Name == name
	}
}

func TestSplitBrainIsSeenByBoth(t *testing.T) {
	p := split(t)
	p.pull(false)
	// The old reign learns of the newer one and lets go; node 1 serves on.
	if err := p.v[0].Demote(t.Context(), control.DemoteRequest{}); err != nil {
		t.Fatal(err)
	}
	for i := range p.v {
		s := p.until(i, "split brain", apart(handshake.SplitBrain))
		if s.Apart.Here.Changed == 0 || s.Apart.There.Changed == 0 || s.Apart.Here.Since.IsZero() || s.Apart.There.ReignStart.IsZero() {
			t.Errorf("node %d does not know what both did: %+v", i, s.Apart)
		}
		if s.Apart.Here.Primary != (i == 1) {
			t.Errorf("node %d: %+v", i, s.Apart)
		}
	}
	write(t, p.v[1], 5, 20, 32<<10) // the reign is not disturbed
}

func (p *pair) restart(i int, between func()) {
	p.t.Helper()
	p.v[i].Close()
	p.disks[i].Close()
	between()
	p.open(i, false)
}

func TestABackupPutBackIsRefused(t *testing.T) {
	p := whole(t)
	noted := p.v[1].o.Store.Super().Past.PeerSequence
	var old []byte
	p.restart(1, func() {
		var err error
		if old, err = os.ReadFile(p.paths[1]); err != nil {
			t.Fatal(err)
		}
	})
	p.until(0, "connect again", connected)
	p.until(0, "the peer to speak", func(control.VolumeState) bool { return p.v[0].o.Store.Super().Past.Said > noted })
	p.restart(1, func() {
		if err := os.WriteFile(p.paths[1], old, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	for i := range p.v {
		p.until(i, "restored backup", apart(handshake.OlderRestored))
	}
	// Given up, it is filled anew.
	if err := p.v[1].GiveUp(control.GiveUpRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	p.choose(0, 2, 3, arbiter.Only(0))
	p.until(0, "fill", func(s control.VolumeState) bool {
		if s.Connection == control.StandAlone { // also after a last try that knew nothing of it yet
			p.v[0].Reconnect()
		}
		return ready(s)
	})
	p.identical()
}
