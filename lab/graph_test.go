package main

import (
	"testing"

	"gemel/lab/cluster"
)

func TestMermaid(t *testing.T) {
	status := cluster.Status{Nodes: []cluster.NodeStatus{
		{Name: "server1", On: true, Disk: &cluster.Disk{Loop: "/dev/loop5"}, BMC: "lies",
			Addresses: map[string]string{"lan": "198.18.0.1", "priv": "198.18.1.1", "priv2": "198.18.2.1"},
			Cables:    map[string]string{"lan": "plugged", "priv": "pulled", "priv2": "bad (out: loss 1%)"}},
		{Name: "witness", Addresses: map[string]string{"lan": "198.18.0.3"}, Cables: map[string]string{"lan": "none"}},
	}}
	want := `graph TD
  lan([lan])
  priv([priv])
  priv2([priv2])
  mgmt([mgmt])
  server1["server1"]
  server1 --- server1-disk[("/dev/loop5")]
  server1 ---|"198.18.0.1"| lan
  server1 --x|"198.18.1.1, pulled"| priv
  server1 -.-|"198.18.2.1, bad (out: loss 1%)"| priv2
  server1-bmc{{"power control: lies"}} --- mgmt
  witness["witness<br/>off"]
  witness -.-|"198.18.0.3, none"| lan
  classDef off fill:#ddd,color:#888
  class witness off
`
	if got := mermaid(status); got != want {
		t.Errorf("the graph is\n%s\nwant\n%s", got, want)
	}
}
