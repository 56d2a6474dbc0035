package agent

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/failover"
)

// desk is modes with what they told.
type desk struct {
	*modes
	mu    sync.Mutex
	notes []string
	last  failover.Mode
}

func newDesk(t *testing.T, dir, node string) *desk {
	t.Helper()
	d := &desk{}
	d.modes = newModes(dir, node, func(kind, _, _ string) { d.mu.Lock(); defer d.mu.Unlock(); d.notes = append(d.notes, kind) })
	d.apply = func(m failover.Mode) { d.mu.Lock(); defer d.mu.Unlock(); d.last = m }
	return d
}

func (d *desk) told() string { d.mu.Lock(); defer d.mu.Unlock(); return strings.Join(d.notes, " ") }

func TestMaintenanceHoldsOnBothNodesAndThroughRestarts(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	a, b := newDesk(t, dirs[0], "server1"), newDesk(t, dirs[1], "server2")
	a.kick = func() { go func() { b.hear(a.word(), "server1"); a.hear(b.word(), "server2") }() }
	if !a.order(t.Context(), true, time.Time{}) {
		t.Fatal("the peer does not know")
	}
	if !b.mode().Maintenance || b.told() != "maintenance.on" || a.told() != "maintenance.on" {
		t.Errorf("not on both: %s, %s", a.told(), b.told())
	}
	if b = newDesk(t, dirs[1], "server2"); !b.mode().Maintenance || b.held() == nil {
		t.Error("a restart forgot it")
	}
	// A node that was away while it ended learns it.
	a.kick = func() {}
	a.setMaintenance(api.Maintenance{Serial: a.word().Serial + 1}, "test")
	held := b.held()
	b.hear(a.word(), "server1")
	if b.mode().Maintenance || b.told() != "maintenance.off" {
		t.Errorf("server2 goes on: %s", b.told())
	}
	<-held // closed: services go on
	b.hear(api.Maintenance{Serial: 1, On: true}, "server1")
	if b.mode().Maintenance {
		t.Error("an old word was taken")
	}
}

func TestMaintenanceEndsByItself(t *testing.T) {
	d := newDesk(t, t.TempDir(), "server1")
	now := time.Now()
	var mu sync.Mutex
	d.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	d.setMaintenance(api.Maintenance{Serial: 1, On: true, Until: now.Add(time.Hour)}, "test")
	go d.run(t.Context())
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	waitUntil(t, func() bool { return !d.mode().Maintenance && strings.Contains(d.told(), "maintenance.off") })
}

func TestModesOfABrokenFileAreTold(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/"+modesFile, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d := newDesk(t, dir, "server1"); d.told() != "maintenance.forgotten" || d.mode() != (failover.Mode{}) {
		t.Errorf("told %q, mode %+v", d.told(), d.mode())
	}
	d := newDesk(t, dir+"/gone", "server1")
	if err := d.setStandby(true); err == nil || d.mode().Standby {
		t.Errorf("a standby that cannot be kept was taken: %v", err)
	}
}

// answering is a machine that answers orders with a word per kind.
func answering(words map[failover.OrderKind]string) (func(failover.Event) []failover.Action, *[]failover.OrderKind) {
	var got []failover.OrderKind
	return func(ev failover.Event) []failover.Action {
		o, ok := ev.(failover.Order)
		if !ok {
			return nil
		}
		got = append(got, o.Kind)
		return []failover.Action{failover.Answer{ID: o.ID, Err: words[o.Kind]}}
	}, &got
}

func TestStandby(t *testing.T) {
	words := map[failover.OrderKind]string{failover.OrderMayGive: "server2 is not in sync yet"}
	react, got := answering(words)
	s := newStage(t, react)
	s.script.view = failover.View{Role: failover.RoleServing, Peer: failover.PeerView{Alive: false}}
	s.owner.publish()
	s.runOwner(t)
	ctx := t.Context()
	var refusal *api.Error
	if _, err := s.agent.goOnStandby(ctx, false); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "silent") {
		t.Errorf("with a silent peer: %v", err)
	}
	s.script.mu.Lock()
	s.script.view.Peer.Alive = true
	s.script.mu.Unlock()
	waitUntil(t, func() bool { return s.owner.view.Load().Peer.Alive })
	if _, err := s.agent.goOnStandby(ctx, false); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "not in sync") {
		t.Errorf("with a peer that is not in sync: %v", err)
	}
	s.script.mu.Lock()
	if len(*got) != 1 {
		t.Errorf("a refused standby moved something: %v", *got)
	}
	words[failover.OrderMayGive], words[failover.OrderSwitchover] = "", "mount hangs"
	s.script.mu.Unlock()
	if _, err := s.agent.goOnStandby(ctx, false); err == nil || s.agent.modes.mode().Standby {
		t.Errorf("a failed switchover: %v", err)
	}
	s.script.mu.Lock()
	words[failover.OrderSwitchover] = ""
	s.script.mu.Unlock()
	reply, err := s.agent.goOnStandby(ctx, false)
	if err != nil || len(reply.Moved) != 1 || !s.agent.modes.mode().Standby || !s.owner.word(false).Standby || !s.memory.has("standby.on") {
		t.Errorf("standby: %+v, %v", reply, err)
	}
	if again := newDesk(t, s.agent.cfg.StateDir, "server1"); !again.mode().Standby {
		t.Error("a restart forgets the standby")
	}
	if _, err := s.agent.goOnStandby(ctx, true); err != nil || s.agent.modes.mode().Standby {
		t.Errorf("undo: %v", err)
	}
}
