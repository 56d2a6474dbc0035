package volume

import (
	"bytes"
	"os"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/control"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/undo"
)

// whole is a pair in sync, node 0 Primary in epoch 2.
func whole(t *testing.T) *pair {
	p := newPair(t, 24<<20)
	for _, v := range p.v {
		v.mu.Lock()
		v.o.UndoDir = t.TempDir()
		v.mu.Unlock()
	}
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	return p
}

// split makes both nodes of a whole pair write alone: node 1 by a human's word.
func split(t *testing.T) *pair {
	p := whole(t)
	if err := p.v[0].Flush(); err != nil { // else all of the first sync may be lost with the peer's power
		t.Fatal(err)
	}
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
	var old []byte
	said := p.v[0].o.Store.Super().Past.Said
	p.restart(1, func() {
		var err error
		if old, err = os.ReadFile(p.paths[1]); err != nil {
			t.Fatal(err)
		}
	})
	// Only what the peer spoke after counts: before, it may not have written the meeting down.
	p.until(0, "connect again", func(control.VolumeState) bool { return p.v[0].o.Store.Super().Past.Said > said })
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

// told is a split pair of which node 0 let go and both know it.
func told(t *testing.T) *pair {
	p := split(t)
	p.pull(false)
	if err := p.v[0].Demote(t.Context(), control.DemoteRequest{}); err != nil {
		t.Fatal(err)
	}
	for i := range p.v {
		p.until(i, "split brain", apart(handshake.SplitBrain))
	}
	return p
}

func TestTheLoserIsKeptAndOverwrittenByBits(t *testing.T) {
	p := told(t)
	lost, err := os.ReadFile(p.paths[0])
	if err != nil {
		t.Fatal(err)
	}
	before := p.v[1].State().Counters.Resynced
	if err := p.v[0].GiveUp(control.GiveUpRequest{Undo: true}); err != nil {
		t.Fatal(err)
	}
	p.v[1].Reconnect()
	s := p.until(1, "resync", ready)
	if moved := s.Counters.Resynced - before; moved == 0 || moved > s.Size/2 {
		t.Errorf("%d bytes of %d were copied", moved, s.Size)
	}
	p.identical()
	p.keeps(lost, p.until(0, "undo file", func(s control.VolumeState) bool { return s.UndoFile != "" && !s.GivenUp }).UndoFile)
}

// A kick that was left from before, like that of a demotion, must not make node 1
// deaf once it stands alone: only the peer may have been told of the decision.
func TestNode1ListensWhileItStandsAlone(t *testing.T) {
	p := told(t)
	p.v[1].hurry()
	p.v[0].Reconnect() // so that node 1 is refused once more, and pauses
	for i := range p.v {
		p.until(i, "refused again", apart(handshake.SplitBrain))
	}
	if err := p.v[0].GiveUp(control.GiveUpRequest{}); err != nil {
		t.Fatal(err)
	}
	p.until(1, "resync", ready)
	p.identical()
}

// keeps wants the file to bring the volume back as lost held it.
func (p *pair) keeps(lost []byte, path string) {
	p.t.Helper()
	now, err := os.ReadFile(p.paths[0])
	if err != nil {
		p.t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	h, err := undo.Read(f, func(r block.Range, data []byte) error {
		clear(now[r.Off:r.End()])
		copy(now[r.Off:], data)
		return nil
	})
	if err != nil || h.Marked == 0 {
		p.t.Fatalf("%+v, %v", h, err)
	}
	if !bytes.Equal(now[:h.Size], lost[:h.Size]) {
		p.t.Error("current data and undo file do not make what was lost")
	}
}

func TestWithoutRoomForTheUndoFileNothingIsOverwritten(t *testing.T) {
	p := told(t)
	p.v[0].o.UndoDir = "/proc/gemel" // nothing can be made there
	if err := p.v[0].GiveUp(control.GiveUpRequest{Undo: true}); err != nil {
		t.Fatal(err)
	}
	p.v[1].Reconnect()
	if s := p.until(0, "refusal", apart(NotKept)); !s.GivenUp || s.Disk == control.Inconsistent {
		t.Errorf("%+v", s)
	}
}

func TestAPolicySettlesASplitBrain(t *testing.T) {
	p := split(t)
	for _, v := range p.v {
		v.mu.Lock()
		v.o.AfterSplit = handshake.Policy{One: handshake.DiscardSecondary}
		v.mu.Unlock()
	}
	if err := p.v[0].Demote(t.Context(), control.DemoteRequest{}); err != nil {
		t.Fatal(err)
	}
	p.pull(false)
	p.until(1, "resync", ready)
	p.identical()
}

func TestThePrimaryAndTheOnlyCopyAreNotGivenUp(t *testing.T) {
	p := split(t)
	if err := p.v[0].GiveUp(control.GiveUpRequest{}); err == nil {
		t.Error("a Primary gave its data up")
	}
	if err := p.v[0].Demote(t.Context(), control.DemoteRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := p.v[0].GiveUp(control.GiveUpRequest{}); err == nil {
		t.Error("gave its data up although the peer was not met")
	}
}
