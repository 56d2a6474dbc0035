package agent

import (
	"net"
	"slices"
	"strings"
	"testing"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/identity"
	"gemel/node/replicator/control"
)

// The peer and the witness are gone for good. Only an operator's word makes the
// last box Primary; its own register must have recorded the reign first.
func TestGrabOfTheLastBox(t *testing.T) {
	keys := t.TempDir()
	if _, err := identity.Init(keys, identity.Plan{Cluster: "lab", Nodes: []string{"server1", "server2"}, Witness: "witness"}); err != nil {
		t.Fatal(err)
	}
	at := map[string]net.Listener{}
	for _, name := range []string{"server1", "server2", "witness"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if at[name] = l; name != "server1" {
			l.Close() // nobody answers there
		}
	}
	both := arbiter.Accepted{Epoch: 3, Version: 2, Set: arbiter.Both}
	one := startBox(t, keys, "server1", at)
	one.replicator.set(func(s *control.VolumeState) {
		one.replicator.reg.Record = arbiter.Record{Promised: 3, Accepted: both}
		s.Disk, s.Created, s.Connection = control.Consistent, false, control.Connecting
	})
	one.wait(t, "refusing by itself", func(v api.Volume) bool { return strings.Contains(v.Refusal, "gemel grab") })
	if slices.Contains(one.steps.calls.all(), "claim") {
		t.Fatal("claimed the addresses with one vote of three")
	}
	if err := one.local.Grab(t.Context(), api.Order{Volume: "data"}); err != nil {
		t.Fatalf("grab: %v", err)
	}
	one.waitServing(t, "grab")
	states, _ := one.replicator.State()
	if s := states[0]; s.Chosen.Epoch < 1000 || s.Record.Accepted != s.Chosen || s.Chosen.Set != arbiter.Only(0) {
		t.Fatalf("serves %+v on the register %+v", s.Chosen, s.Record)
	}
}
