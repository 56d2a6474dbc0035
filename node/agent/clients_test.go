package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/failover"
)

func clientsOf(count int) []api.Connection {
	list := make([]api.Connection, count)
	for i := range list {
		list[i] = api.Connection{Address: netip.MustParseAddrPort("198.18.0.250:2049"),
			Client: netip.MustParseAddrPort(fmt.Sprintf("198.18.%d.%d:700", i/250, i%250+1))}
	}
	return list
}

// tell brings a clientele up to date and returns how many messages it took.
func (r *roster) tell(t *testing.T, to *clientele, now []api.Connection) (messages int) {
	t.Helper()
	for {
		m, news := r.next(now)
		if !news {
			break
		}
		if len(m.Add)+len(m.Gone) > api.MaxClients {
			t.Fatalf("a message of %d connections", len(m.Add)+len(m.Gone))
		}
		messages++
		m.Boot = "one"
		to.take(&m) // over another link, too
		if to.take(&m) < m.Seq {
			r.lost()
			continue
		}
		r.confirmed(&m)
	}
	want := now[:min(len(now), clientsKept)]
	if len(to.has) != len(want) {
		t.Fatalf("the other side has %d connections, want %d", len(to.has), len(want))
	}
	for _, c := range want {
		if _, ok := to.has[c]; !ok {
			t.Errorf("the other side does not know %v", c)
		}
	}
	return messages
}

func TestClientsAreToldByTheirChanges(t *testing.T) {
	var r roster
	var there clientele
	all := clientsOf(450)
	for _, step := range []struct {
		now  []api.Connection
		want int // messages
	}{{all[:1], 1}, {all[:1], 0}, {all[:3], 1}, {all[2:3], 1}, {all, 5}, {nil, 5}, {nil, 0}, {all[:2], 1}} {
		if got := r.tell(t, &there, step.now); got != step.want {
			t.Errorf("%d connections: %d messages, want %d", len(step.now), got, step.want)
		}
	}
	there = clientele{} // the other agent restarts
	if got := r.tell(t, &there, all[:3]); got != 2 {
		t.Errorf("a restarted peer took %d messages, want a refused one and a whole one", got)
	}
	r.lost() // nobody knows what arrived
	r.tell(t, &there, all[5:7])
	r.tell(t, &there, clientsOf(clientsKept+10))
	if left := there.leave(); len(left) != clientsKept || len(there.leave()) != 0 {
		t.Errorf("%d connections were left, want %d, once", len(left), clientsKept)
	}
}

func TestClientsOfTheDeadNodeAreTickledWhenTheServicesRun(t *testing.T) {
	s := newStage(t, nil)
	known := clientsOf(2)
	m := api.Clients{Volume: "data", Boot: "peer", Seq: 1, Whole: true, Add: known}
	if taken, err := s.agent.takeClients(&m); err != nil || taken.Seq != 1 {
		t.Fatalf("taken %+v, %v", taken, err)
	}
	if _, err := s.agent.takeClients(&api.Clients{Volume: "other"}); !errors.Is(err, &api.Error{Code: api.CodeUnknownVolume}) {
		t.Errorf("unknown volume: %v", err)
	}
	s.runOwner(t)
	s.runStep(t, run(failover.StepServices))
	got := s.steps.calls.all()
	slices.Sort(got[1:3])
	if want := []string{"start", "tickle 198.18.0.1:700", "tickle 198.18.0.2:700", "open"}; !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
	if !s.memory.has("address.tickle") {
		t.Error("the history does not tell of it")
	}
}

func TestTheServingNodeSharesItsClients(t *testing.T) {
	s := newStage(t, nil)
	list := clientsOf(2)
	s.agent.connected = func([]netip.Addr) ([]api.Connection, error) { return list, nil }
	s.owner.ips = []netip.Addr{list[0].Address.Addr()}
	var there clientele
	answer := func(m api.Clients) (api.ClientsTaken, error) { return api.ClientsTaken{Seq: there.take(&m)}, nil }
	s.private.clients = answer
	s.lan.clients = func(api.Clients) (api.ClientsTaken, error) { return api.ClientsTaken{}, errNoLink }
	rosters := make([]roster, 1)
	s.agent.shareOnce(t.Context(), rosters)
	if there.seq != 0 {
		t.Error("a node that serves nobody told of clients")
	}
	s.owner.view.Store(&failover.View{Role: failover.RoleServing, Peer: failover.PeerView{Alive: true}})
	s.agent.shareOnce(t.Context(), rosters)
	s.agent.shareOnce(t.Context(), rosters)
	if there.seq != 1 || len(there.has) != 2 {
		t.Errorf("after two looks at two clients: %d messages, %d clients", there.seq, len(there.has))
	}
	there = clientele{}
	list = list[:1]
	for end := time.Now().Add(10 * time.Second); len(there.has) != 1 && time.Now().Before(end); {
		s.agent.shareOnce(t.Context(), rosters)
	}
	if len(there.has) != 1 {
		t.Errorf("a restarted peer knows %d clients, want 1", len(there.has))
	}
}

// TestAClientThatHasJustComeIsToldAtOnce, and stays known until a look at the kernel's
// list after the next: it may not be in that yet.
func TestAClientThatHasJustComeIsToldAtOnce(t *testing.T) {
	s := newStage(t, nil)
	list := clientsOf(5)
	s.agent.connected = func([]netip.Addr) ([]api.Connection, error) { return list[:2], nil }
	s.owner.ips = []netip.Addr{list[0].Address.Addr()}
	var there clientele
	s.private.clients = func(m api.Clients) (api.ClientsTaken, error) { return api.ClientsTaken{Seq: there.take(&m)}, nil }
	s.lan.clients = s.private.clients
	s.owner.view.Store(&failover.View{Role: failover.RoleServing, Peer: failover.PeerView{Alive: true}})
	rosters, knows := make([]roster, 1), func(step string, want ...api.Connection) {
		t.Helper()
		if len(there.has) != len(want) {
			t.Errorf("%s: the peer knows %d clients, want %d", step, len(there.has), len(want))
		}
		for _, c := range want {
			if _, ok := there.has[c]; !ok {
				t.Errorf("%s: the peer does not know %v", step, c.Client)
			}
		}
	}
	s.agent.arrivals.add(list[2])
	s.agent.shareArrivals(t.Context(), rosters)
	knows("before the first look")
	s.agent.shareOnce(t.Context(), rosters)
	knows("the first look", list[:3]...)
	stranger := api.Connection{Address: netip.MustParseAddrPort("198.18.0.99:80"), Client: list[0].Client}
	for range 2 { // the network repeats itself
		s.agent.arrivals.add(list[3])
		s.agent.arrivals.add(stranger)
		s.agent.shareArrivals(t.Context(), rosters)
	}
	knows("one more", list[:4]...)
	s.agent.shareOnce(t.Context(), rosters)
	knows("the look after that", list[0], list[1], list[3])
	s.agent.shareOnce(t.Context(), rosters)
	knows("all as the kernel says", list[:2]...)
	for range 2 * arrivalsKept {
		s.agent.arrivals.add(list[4])
	}
	if got := len(s.agent.arrivals.all(true)); got != arrivalsKept {
		t.Errorf("%d are kept", got)
	}
}
