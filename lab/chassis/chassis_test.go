package chassis

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// testLab returns a lab name no other run uses, and removes its chassis at the end.
func testLab(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root on the host: makes network namespaces")
	}
	lab := fmt.Sprintf("t%d", os.Getpid())
	t.Cleanup(func() {
		if err := Remove(lab); err != nil {
			t.Errorf("remove chassis: %v", err)
		}
	})
	return lab
}

// testBox makes a namespace that stands for a box and returns its path and a handle into it.
func testBox(t *testing.T, name string) (string, *netlink.Handle) {
	t.Helper()
	full := fmt.Sprintf("gemeltest-%d-%s", os.Getpid(), name)
	if err := makeNamespace(full); err != nil {
		t.Fatalf("box %s: %v", name, err)
	}
	t.Cleanup(func() { _ = netns.DeleteNamed(full) })
	ns, err := netns.GetFromName(full)
	if err != nil {
		t.Fatalf("box %s: %v", name, err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	nl, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatalf("box %s: %v", name, err)
	}
	t.Cleanup(nl.Close)
	return "/run/netns/" + full, nl
}

func testCable(node string, last byte) Cable {
	return Cable{
		Node: node, Switch: "lan", NIC: "lan0",
		MAC:     net.HardwareAddr{2, 0x67, 0x6d, 0, 0, last},
		Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, 0, last}), 24),
		Rate:    1_000_000_000,
	}
}

// waitCarrier waits until the NIC has the wanted carrier; the kernel tells it a moment after the cause.
func waitCarrier(t *testing.T, nl *netlink.Handle, nic string, want bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		link, err := nl.LinkByName(nic)
		if err == nil && (link.Attrs().RawFlags&0x10000 != 0) == want { // IFF_LOWER_UP
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("NIC %s: carrier is not %v after 5 s (%v)", nic, want, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestPullAndPlug(t *testing.T) {
	lab := testLab(t)
	boxNS, box := testBox(t, "a")
	chassis, err := Create(lab, "lan", "priv")
	if err != nil {
		t.Fatal(err)
	}
	defer chassis.Close()
	if err := chassis.Wire(boxNS, testCable("a", 1)); err != nil {
		t.Fatal(err)
	}
	waitCarrier(t, box, "lan0", true)
	if err := chassis.Pull("a", "lan"); err != nil {
		t.Fatal(err)
	}
	waitCarrier(t, box, "lan0", false)
	if err := chassis.Plug("a", "lan"); err != nil {
		t.Fatal(err)
	}
	waitCarrier(t, box, "lan0", true)
}

func TestWireGivesTheNICItsProperties(t *testing.T) {
	lab := testLab(t)
	boxNS, box := testBox(t, "a")
	chassis, err := Create(lab, "lan")
	if err != nil {
		t.Fatal(err)
	}
	defer chassis.Close()
	cable := testCable("a", 7)
	if err := chassis.Wire(boxNS, cable); err != nil {
		t.Fatal(err)
	}
	nic, err := box.LinkByName("lan0")
	if err != nil {
		t.Fatal(err)
	}
	if got := nic.Attrs().HardwareAddr.String(); got != cable.MAC.String() {
		t.Errorf("MAC is %s, want %s", got, cable.MAC)
	}
	addresses, err := box.AddrList(nic, netlink.FAMILY_V4)
	if err != nil || len(addresses) != 1 || addresses[0].IPNet.String() != "198.18.0.7/24" {
		t.Errorf("addresses are %v (%v)", addresses, err)
	}
	qdiscs, err := box.QdiscList(nic)
	if err != nil {
		t.Fatal(err)
	}
	limited := slices.ContainsFunc(qdiscs, func(q netlink.Qdisc) bool {
		tbf, ok := q.(*netlink.Tbf)
		return ok && tbf.Rate == cable.Rate/8
	})
	if !limited {
		t.Errorf("no tbf at %d bit/s on the NIC: %v", cable.Rate, qdiscs)
	}
}

func TestRewireAfterReset(t *testing.T) {
	lab := testLab(t)
	chassis, err := Create(lab, "lan")
	if err != nil {
		t.Fatal(err)
	}
	defer chassis.Close()
	firstNS, _ := testBox(t, "first")
	secondNS, second := testBox(t, "second")
	neighbourNS, neighbour := testBox(t, "n")
	for _, step := range []struct {
		ns    string
		cable Cable
	}{{neighbourNS, testCable("n", 2)}, {firstNS, testCable("a", 1)}, {secondNS, testCable("a", 1)}} {
		if err := chassis.Wire(step.ns, step.cable); err != nil {
			t.Fatal(err)
		}
	}
	waitCarrier(t, second, "lan0", true)
	waitCarrier(t, neighbour, "lan0", true)
	cables, err := chassis.Cables()
	if err != nil || len(cables) != 2 {
		t.Fatalf("cables are %v (%v), want two", cables, err)
	}
}

func TestWirePulled(t *testing.T) {
	lab := testLab(t)
	chassis, err := Create(lab, "lan")
	if err != nil {
		t.Fatal(err)
	}
	defer chassis.Close()
	boxNS, box := testBox(t, "a")
	cable := testCable("a", 1)
	cable.Pulled = true
	if err := chassis.Wire(boxNS, cable); err != nil {
		t.Fatal(err)
	}
	waitCarrier(t, box, "lan0", false)
	if err := chassis.Plug("a", "lan"); err != nil {
		t.Fatal(err)
	}
	waitCarrier(t, box, "lan0", true)
}

func TestCreateTwiceAndRemoveTwice(t *testing.T) {
	lab := testLab(t)
	for range 2 {
		chassis, err := Create(lab, "lan", "priv")
		if err != nil {
			t.Fatal(err)
		}
		chassis.Close()
	}
	labs, err := List()
	if err != nil || !slices.Contains(labs, lab) {
		t.Fatalf("labs are %v (%v), want %s among them", labs, err, lab)
	}
	for range 2 {
		if err := Remove(lab); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(lab); !errors.Is(err, ErrNoChassis) {
		t.Fatalf("open after remove: %v, want ErrNoChassis", err)
	}
}

func TestNoSuchCable(t *testing.T) {
	lab := testLab(t)
	chassis, err := Create(lab, "lan")
	if err != nil {
		t.Fatal(err)
	}
	defer chassis.Close()
	if err := chassis.Pull("nobody", "lan"); !errors.Is(err, ErrNoCable) {
		t.Fatalf("pull of a missing cable: %v, want ErrNoCable", err)
	}
	if err := chassis.Pull("a-name-that-is-long", "lan"); err == nil {
		t.Fatal("a name too long for a link was accepted")
	}
}
