package oracle

import (
	"bytes"
	"strings"
	"testing"

	"gemel/node/api"
	"gemel/node/replicator/control"
)

func TestCompareFindsEveryDifferentBlock(t *testing.T) {
	const size = compareChunk + 3*4096
	a := bytes.Repeat([]byte{7}, size+4096)
	b := bytes.Clone(a)
	b[4095], b[compareChunk], b[size-1] = 0, 0, 0
	b[size] = 0 // behind the volume: metadata, which differs by nature
	found, err := Compare(bytes.NewReader(a), bytes.NewReader(b), size)
	if err != nil {
		t.Fatal(err)
	}
	want := []Difference{{0}, {compareChunk}, {size - 4096}}
	if len(found) != len(want) {
		t.Fatalf("found %v, want %v", found, want)
	}
	for i := range want {
		if found[i] != want[i] {
			t.Errorf("difference %d is %v, want %v", i, found[i], want[i])
		}
	}
}

func TestCompareRefusesAShortDisk(t *testing.T) {
	if _, err := Compare(bytes.NewReader(make([]byte, 4096)), bytes.NewReader(make([]byte, 8192)), 8192); err == nil {
		t.Error("a disk shorter than the volume was taken as the same")
	}
}

// healthyPrimary is a Primary that lacks nothing.
func healthyPrimary() Node {
	return Node{
		Status: api.Status{
			Peer:    api.PeerStatus{Name: "server2", Alive: true},
			Witness: api.VoterStatus{Name: "witness", Reachable: true},
			Links:   []api.LinkStatus{{Name: "lan", Up: true, Carrier: true}},
		},
		Vol: api.Volume{
			VolumeState: control.VolumeState{Connection: control.Connected, Disk: control.UpToDate},
			InSyncBy:    []string{"server1", "server2"}, Phase: "serving", Mount: "/srv/data",
			Addresses: []api.Held{{Address: "198.18.0.250", Held: true}},
			Services:  []api.Running{{Name: "nfs", State: "running"}},
		},
	}
}

func TestMissingNamesWhatIsMissing(t *testing.T) {
	whole := healthyPrimary()
	if got := missing(&whole, true); len(got) != 0 {
		t.Fatalf("a healthy node lacks %q", got)
	}
	for word, damage := range map[string]func(*Node){
		"not heard":     func(n *Node) { n.Peer.Alive = false },
		"witness":       func(n *Node) { n.Witness.Reachable = false },
		"third voter":   func(n *Node) { n.Vol.Arbiter.Differs = "it is changed soon" },
		"link lan":      func(n *Node) { n.Links[0].Carrier = false },
		"connection":    func(n *Node) { n.Vol.Connection = control.Connecting },
		"disk is":       func(n *Node) { n.Vol.Disk = control.Inconsistent },
		"resync":        func(n *Node) { n.Vol.Resync = &control.Resync{} },
		"frozen":        func(n *Node) { n.Vol.Frozen = "no lease" },
		"in sync by":    func(n *Node) { n.Vol.InSyncBy = n.Vol.InSyncBy[:1] },
		"phase":         func(n *Node) { n.Vol.Phase = "mounting" },
		"not mounted":   func(n *Node) { n.Vol.Mount = "" },
		"does not hold": func(n *Node) { n.Vol.Addresses[0].Held = false },
		"service nfs":   func(n *Node) { n.Vol.Services[0].State = "failed" },
	} {
		node := healthyPrimary()
		damage(&node)
		if got := strings.Join(missing(&node, true), "; "); !strings.Contains(got, word) {
			t.Errorf("missing is %q, want it to name %q", got, word)
		}
	}
}
