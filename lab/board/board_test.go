package board

import (
	"strings"
	"testing"
	"time"

	"gemel/lab/cluster"
	"gemel/node/api"
	"gemel/node/event"
	"gemel/node/replicator/control"
)

func testView() View {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	vol := api.Volume{Phase: "serving", Addresses: []api.Held{{Address: "198.18.0.250", Held: true}}}
	vol.Name, vol.Role, vol.Disk, vol.Connection = "data", control.Primary, control.UpToDate, control.Connected
	return View{
		At: at,
		Lab: cluster.Status{Lab: "gemel", VIP: "198.18.0.250", Nodes: []cluster.NodeStatus{
			{Name: "server1", Role: cluster.Server, On: true, BMC: "lies",
				Addresses: map[string]string{"lan": "198.18.0.1", "priv": "198.18.1.1"},
				Cables:    map[string]string{"lan": "plugged", "priv": "bad (out: loss 1%)"}},
			{Name: "server2", Role: cluster.Server, Addresses: map[string]string{"lan": "198.18.0.2"}},
			{Name: "witness", Role: cluster.Witness, On: true},
		}},
		Nodes: map[string]api.Status{"server1": {Volumes: []api.Volume{vol}}},
		Rates: map[string][2]float64{"server1/priv": {125, 12.5e6}},
		Pulse: Pulse{Served: true, Took: 1500 * time.Microsecond},
		Events: []event.Event{{Time: at, Node: "lab", Text: "The power of server2 is cut."},
			{Time: at, Node: "server1", Text: "server2 is silent on every link."}},
	}
}

func TestRender(t *testing.T) {
	want := `lab gemel   03:04:05   address 198.18.0.250: a client is served, in 1.5 ms

server1  on   data: Primary, disk UpToDate, Connected, holds 198.18.0.250 (serving); power control lies
   lan    198.18.0.1   in         -  out         -
   priv   198.18.1.1   in    1 kbit  out  100 Mbit  Bad (out: loss 1%)
server2  OFF
witness  on   witness

03:04:05.000  lab      The power of server2 is cut.
03:04:05.000  server1  server2 is silent on every link.
`
	if got := Render(testView(), 0, 0); got != want {
		t.Errorf("the board is\n%s\nwant\n%s", got, want)
	}
}

func TestRenderFitsTheTerminal(t *testing.T) {
	v := testView()
	v.Pulse = Pulse{Since: 4 * time.Second}
	got := Render(v, 40, 9)
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if len(lines) != 9 || !strings.Contains(lines[8], "server1") {
		t.Errorf("%d lines, want 9 with the newest event last:\n%s", len(lines), got)
	}
	for _, line := range lines {
		if len([]rune(line)) > 40 {
			t.Errorf("longer than 40 columns: %q", line)
		}
	}
	v.Nodes = nil
	for _, want := range []string{"NO ANSWER to a client for 4 s", "its agent does not answer"} {
		if !strings.Contains(Render(v, 0, 0), want) {
			t.Errorf("not said: %q", want)
		}
	}
}
