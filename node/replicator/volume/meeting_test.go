package volume

import (
	"os"
	"testing"
	"time"

	"gemel/node/replicator/control"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/volume/core"
)

// renewed waits until data that is written now has the meeting renewed on both
// sides.
func (p *pair) renewed(seed int64) {
	p.t.Helper()
	var before [2]uint64
	for i, v := range p.v {
		before[i] = v.o.Store.Super().Past.Said
		v.mu.Lock()
		v.renewal.Every, v.renewal.due = time.Millisecond, 0
		v.mu.Unlock()
	}
	write(p.t, p.v[0], seed, 10, 32<<10)
	p.until(0, "renewed meeting", func(control.VolumeState) bool {
		return p.v[0].o.Store.Super().Past.Said > before[0] && p.v[1].o.Store.Super().Past.Said > before[1]
	})
}

// An image of the Secondary's disk from the middle of a connection lacks what was
// written after it, and no bit tells.
func TestAnImageOfAConnectedTimeIsNoticed(t *testing.T) {
	p := whole(t)
	p.renewed(7)
	image, err := os.ReadFile(p.paths[1])
	if err != nil {
		t.Fatal(err)
	}
	p.renewed(8)
	p.restart(1, func() {
		if err := os.WriteFile(p.paths[1], image, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	for i := range p.v {
		p.until(i, "restored image", apart(handshake.OlderRestored))
	}
}

func TestWithoutWritesNoMeetingIsRenewed(t *testing.T) {
	var n Renewal
	n.Every = time.Minute
	n.Start(time.Second)
	if n.Due(time.Hour) {
		t.Error("nothing was written")
	}
	if n.Moved = true; n.Due(time.Minute) || !n.Due(61*time.Second) || n.Due(time.Hour) {
		t.Error("once a minute, and once for what was written")
	}
}

// TestRenewal plays the three messages, and one that comes from nowhere.
func TestRenewal(t *testing.T) {
	var n [2]Renewal
	met := [2]Meeting{{Sequence: 3, Said: 4}, {Sequence: 5, Said: 2}}
	m := n[0].Say(core.Met, 10)
	kind := n[1].Take(&m, &met[1])
	m = n[1].Say(kind, 20)
	kind = n[0].Take(&m, &met[0])
	m = n[0].Say(kind, 11)
	if kind = n[1].Take(&m, &met[1]); kind != 0 {
		t.Errorf("it is over, and %v is answered", kind)
	}
	if want := [2]Meeting{{Sequence: 20, Said: 10}, {Sequence: 10, Said: 20}}; met != want {
		t.Errorf("they wrote down %+v", met)
	}
	m = core.Msg{Kind: core.MetAck, ID: 99}
	if kind = n[0].Take(&m, &met[0]); kind != 0 || met[0].Sequence != 20 {
		t.Errorf("an answer to nothing was taken: %+v", met[0])
	}
}
