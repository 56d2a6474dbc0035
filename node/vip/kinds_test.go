package vip

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kinds are interfaces that may carry an address, each built on top of "near" as "top".
var kinds = []struct {
	name string
	link func(near netlink.Link, attrs netlink.LinkAttrs) netlink.Link // nil: near itself
	port bool                                                          // near becomes a port of it
	tag  int                                                           // VLAN; the far end has the same
}{
	{name: "plain"},
	{name: "bridge", port: true,
		link: func(_ netlink.Link, attrs netlink.LinkAttrs) netlink.Link { return &netlink.Bridge{LinkAttrs: attrs} }},
	{name: "bond", port: true,
		link: func(_ netlink.Link, attrs netlink.LinkAttrs) netlink.Link {
			bond := netlink.NewLinkBond(attrs)
			bond.Mode, bond.Miimon = netlink.BOND_MODE_ACTIVE_BACKUP, 50
			return bond
		}},
	{name: "vlan", tag: 7,
		link: func(near netlink.Link, attrs netlink.LinkAttrs) netlink.Link {
			attrs.ParentIndex = near.Attrs().Index
			return &netlink.Vlan{LinkAttrs: attrs, VlanId: 7}
		}},
}

// raise puts a link of a kind on top of another; it skips where the kernel has no such thing.
func raise(t *testing.T, link netlink.Link, kind string) {
	t.Helper()
	err := netlink.LinkAdd(link)
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skipf("needs a kernel with %s", kind)
	}
	must(t, err)
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
}

func TestEveryKindOfInterface(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			f, name := cable(t), "near"
			near, err := netlink.LinkByName("near")
			must(t, err)
			if kind.link != nil {
				name = "top"
				top := kind.link(near, netlink.LinkAttrs{Name: "top"})
				raise(t, top, kind.name)
				if kind.port {
					must(t, netlink.LinkSetDown(near)) // a bond takes no other
					must(t, netlink.LinkSetMaster(near, top))
					must(t, netlink.LinkSetUp(near))
				}
				must(t, netlink.LinkSetUp(top))
				eventually(t, "carrier of the top", func() bool { ok, _ := Up("top"); return ok })
			}
			if kind.tag != 0 {
				f.tagged(kind.tag)
			}
			serveOn(t, f, name)
			if err := Check("near"); kind.port && (err == nil || !strings.Contains(err.Error(), "top")) {
				t.Errorf("a port was taken for a place of addresses: %v", err)
			}
		})
	}
}

// tagged moves the far side to a VLAN of its cable.
func (f *far) tagged(id int) {
	f.do(func() {
		vlan := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "far7", ParentIndex: f.link.Attrs().Index}, VlanId: id}
		made := errors.Join(netlink.LinkAdd(vlan), netlink.LinkSetUp(vlan))
		link, err := netlink.LinkByName("far7")
		if err = errors.Join(made, err); err != nil {
			f.t.Errorf("make a VLAN at the far side: %v", err)
		}
		f.link = link
	})
}

// serveOn holds several addresses of both families on an interface.
func serveOn(t *testing.T, f *far, iface string) {
	t.Helper()
	list := []Address{{ip4, iface}, {ip4.Next(), iface}, {ip6, iface}, {ip6.Next(), iface}}
	m := manager(t, nil)
	for _, a := range list {
		w := f.wire(a.IP)
		must(t, m.Claim(t.Context(), a))
		must(t, m.Open(a, nil))
		heard(t, w, a.IP, false)
		_, said := heard(t, w, a.IP, true)
		link, err := netlink.LinkByName(iface)
		must(t, err)
		if said.mac.String() != link.Attrs().HardwareAddr.String() {
			t.Errorf("%v was announced at %s, want %s", a, said.mac, link.Attrs().HardwareAddr)
		}
		if !m.Holds(a.IP) {
			t.Errorf("%v is not held", a)
		}
		checkAddress(t, a.IP)
	}
	must(t, m.DropAll(list))
	for _, a := range list {
		if present, err := find(a); present || err != nil {
			t.Errorf("%v is still there (%v)", a, err)
		}
	}
}

// A box that has the address and never says so is found all the same, and defended
// against; the address is put back by nobody else.
func TestASilentRivalIsFound(t *testing.T) {
	for _, a := range bothFamilies {
		t.Run(a.IP.String(), func(t *testing.T) {
			f := cable(t)
			conflicts := make(chan Conflict, 100)
			m := manager(t, func(c Conflict) { conflicts <- c })
			must(t, m.Claim(t.Context(), a))
			if got := m.Rival(a.IP); got != "" {
				t.Errorf("rival %s of an address that nobody else has", got)
			}
			f.carry(a.IP)
			m.Announce()
			if c := <-conflicts; c.MAC.String() != f.mac().String() {
				t.Errorf("conflict with %s, want %s", c.MAC, f.mac())
			}
			if got := m.Rival(a.IP); got != f.mac().String() {
				t.Errorf("rival %q, want %s", got, f.mac())
			}
			heard(t, f.wire(a.IP), a.IP, true) // the defence
		})
	}
}

func TestQuestionsOfOthersDoNotKeepAnAddressAway(t *testing.T) {
	for _, a := range bothFamilies {
		t.Run(a.IP.String(), func(t *testing.T) {
			f := cable(t)
			w, ended := f.wire(a.IP), make(chan struct{})
			asking := sync.WaitGroup{}
			asking.Go(func() {
				for {
					select {
					case <-ended:
						return
					case <-time.After(5 * time.Millisecond):
						_ = w.send(probeFrame(f.mac(), a.IP))
					}
				}
			})
			must(t, manager(t, nil).Claim(t.Context(), a))
			close(ended)
			asking.Wait()
		})
	}
}

func TestSeizeTakesFromAStranger(t *testing.T) {
	for _, a := range bothFamilies {
		t.Run(a.IP.String(), func(t *testing.T) {
			f := cable(t)
			f.carry(a.IP)
			m := manager(t, nil)
			if err := m.Claim(t.Context(), a); err == nil {
				t.Fatal("a taken address was claimed")
			}
			w := f.wire(a.IP)
			must(t, m.Seize(t.Context(), a))
			heard(t, w, a.IP, true)
			if !m.Holds(a.IP) {
				t.Error("not held after it was seized")
			}
		})
	}
}

// TestLostReportsAreMadeGood fills the kernel's queue of reports until it drops some,
// while the watcher is busy, and then changes nothing any more.
func TestLostReportsAreMadeGood(t *testing.T) {
	f := cable(t)
	events, err := subscribe()
	must(t, err)
	raw, err := events.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1) // the least there is
	}))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, goOn := make(chan bool), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- watch(ctx, events, []string{"near"}, func(_ string, up bool) {
			select {
			case changes <- up:
			case <-ctx.Done():
			}
			select {
			case <-goOn:
			case <-ctx.Done():
			}
		})
	}()
	if up := <-changes; !up {
		t.Error("near was down at the start")
	}
	near, err := netlink.LinkByName("near") // and here the watcher is busy
	must(t, err)
	for i := range 300 { // each of them is a report
		must(t, netlink.LinkSetAlias(near, fmt.Sprintf("alias %d", i)))
	}
	f.do(func() { _ = netlink.LinkSetDown(f.link) })
	eventually(t, "the end of the carrier", func() bool { ok, _ := Up("near"); return !ok })
	if err := overflown(); !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("the queue of reports holds all of them (%v); the test proves nothing", err)
	}
	close(goOn)
	select {
	case up := <-changes:
		if up {
			t.Error("the lost carrier was reported as up")
		}
	case err := <-ended:
		t.Fatalf("lost reports ended the watcher: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the lost carrier was never reported")
	}
	cancel()
	must(t, <-ended)
}

// overflown returns ENOBUFS if the kernel dropped reports of the only watcher here.
func overflown() error {
	dropped, err := os.ReadFile("/proc/thread-self/net/netlink") // another thread has the far namespace
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(dropped), "\n")[1:] {
		if fields := strings.Fields(line); len(fields) > 8 && fields[8] != "0" { // column Drops
			return unix.ENOBUFS
		}
	}
	return nil
}

// A neighbour that missed the first announcements hears one of the next.
func TestAnnouncedAgainAndAgain(t *testing.T) {
	for _, a := range bothFamilies {
		t.Run(a.IP.String(), func(t *testing.T) {
			f, m := cable(t), manager(t, nil)
			w, first := f.wire(a.IP), time.Now()
			must(t, m.Claim(t.Context(), a))
			frames := len(announcement(f.mac(), a.IP, false))
			for range 3 * frames {
				heard(t, w, a.IP, true)
			}
			if took := time.Since(first); took < schedule[2] {
				t.Errorf("three rounds in %v: closer than neighbours take them in", took)
			}
		})
	}
}
