package vip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inNamespace marks the copy of the test program that runs in a network
// namespace of its own; nothing it does is seen outside, and nothing is left.
const inNamespace = "GEMEL_VIP_TEST_NETNS"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(inNamespace) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	default: // no namespaces here: the tests that need one skip
		os.Exit(m.Run())
	}
}

// far is the other end of a cable, in a namespace of its own.
type far struct {
	t    testing.TB
	jobs chan func()
	link netlink.Link
}

// cable joins this namespace's "near" with "far" in a new one.
func cable(t testing.TB) *far {
	if os.Getenv(inNamespace) == "" {
		t.Skip("needs root and network namespaces")
	}
	f := &far{t: t, jobs: make(chan func())}
	ready := make(chan netns.NsHandle)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread dies with its namespace
		ns, err := netns.New()
		if err != nil {
			t.Errorf("make a namespace: %v", err)
		}
		ready <- ns
		for job := range f.jobs {
			job()
		}
	}()
	ns := <-ready
	t.Cleanup(func() { close(f.jobs); <-ended; _ = ns.Close() })
	near := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far"}
	must(t, netlink.LinkAdd(near))
	t.Cleanup(func() { _ = netlink.LinkDel(near) })
	peer, err := netlink.LinkByName("far")
	must(t, err)
	must(t, netlink.LinkSetNsFd(peer, int(ns)))
	must(t, netlink.LinkSetUp(near))
	f.do(func() {
		f.link, err = netlink.LinkByName("far")
		must(t, err)
		must(t, netlink.LinkSetUp(f.link))
	})
	eventually(t, "carrier", func() bool { ok, _ := Up("near"); return ok })
	return f
}

// do runs a job on the far side and waits for it.
func (f *far) do(job func()) {
	done := make(chan struct{})
	f.jobs <- func() { defer close(done); job() }
	<-done
}

func (f *far) wire(ip netip.Addr) *wire {
	var w *wire
	f.do(func() {
		var err error
		w, err = openWire(f.link.Attrs().Index, ip)
		if err != nil {
			f.t.Errorf("open the far wire: %v", err)
		}
	})
	if w == nil {
		f.t.FailNow()
	}
	f.t.Cleanup(w.close)
	return w
}

func (f *far) carry(ip netip.Addr) {
	f.do(func() {
		addr := &netlink.Addr{IPNet: host(ip), Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrAdd(f.link, addr); err != nil {
			f.t.Errorf("add %s at the far side: %v", ip, err)
		}
	})
}

func (f *far) mac() net.HardwareAddr { return f.link.Attrs().HardwareAddr }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// heard waits for a frame that claims (or only asks for) ip.
func heard(t testing.TB, w *wire, ip netip.Addr, claims bool) ([]byte, sighting) {
	t.Helper()
	for buf := make([]byte, 2048); ; {
		frame, err := w.receive(buf, time.Now().Add(20*time.Second))
		if err != nil {
			t.Fatalf("nothing was heard of %s: %v", ip, err)
		}
		if s, ok := look(frame, ip); ok && s.claims == claims {
			return frame, s
		}
	}
}

func manager(t *testing.T, onConflict func(Conflict)) *Manager {
	m := New(onConflict)
	t.Cleanup(m.Close)
	return m
}

func TestClaimAnnounceDrop(t *testing.T) {
	for _, ip := range []netip.Addr{ip4, ip6} {
		t.Run(ip.String(), func(t *testing.T) {
			f := cable(t)
			w, m, a := f.wire(ip), manager(t, nil), Address{ip, "near"}
			must(t, m.Claim(t.Context(), a))
			heard(t, w, ip, false) // the probe comes first
			heard(t, w, ip, true)
			if !m.Holds(ip) {
				t.Error("not held after the claim")
			}
			checkAddress(t, ip)
			must(t, m.Claim(t.Context(), a))
			heard(t, w, ip, true)
			must(t, m.Drop(a))
			must(t, m.Drop(a))
			if present, err := find(a); present || err != nil || m.Holds(ip) {
				t.Errorf("still there after the drop (%v)", err)
			}
		})
	}
}

func checkAddress(t testing.TB, ip netip.Addr) {
	t.Helper()
	list, err := everywhere(ip)
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("address is there %d times", len(list))
	}
	if ones, _ := list[0].Mask.Size(); ones != ip.BitLen() || list[0].Flags&unix.IFA_F_NOPREFIXROUTE == 0 {
		t.Errorf("address is %+v, want full length without prefix route", list[0])
	}
	if ip.Is6() && (list[0].Flags&unix.IFA_F_DEPRECATED == 0 || list[0].Flags&unix.IFA_F_TENTATIVE != 0) {
		t.Errorf("flags %#x: want deprecated and not tentative", list[0].Flags)
	}
}

func TestPairOfGratuitousARP(t *testing.T) {
	f := cable(t)
	w, m := f.wire(ip4), manager(t, nil)
	must(t, m.Claim(t.Context(), Address{ip4, "near"}))
	first, _ := heard(t, w, ip4, true)
	op := first[21]
	second, _ := heard(t, w, ip4, true)
	if op != arpRequest || second[21] != arpReply {
		t.Errorf("operations %d and %d, want request and reply", op, second[21])
	}
}

func TestProbeRefusesTaken(t *testing.T) {
	for _, ip := range []netip.Addr{ip4, ip6} {
		t.Run(ip.String(), func(t *testing.T) {
			f := cable(t)
			f.carry(ip)
			m := manager(t, nil)
			err := m.Claim(t.Context(), Address{ip, "near"})
			var taken *Taken
			if !errors.As(err, &taken) || taken.MAC.String() != f.mac().String() {
				t.Fatalf("claim of a taken address: %v, want Taken by %s", err, f.mac())
			}
			if present, err := find(Address{ip, "near"}); present || err != nil || m.Holds(ip) {
				t.Errorf("the taken address was added (%v)", err)
			}
		})
	}
}

func TestConflictIsReportedAndAnswered(t *testing.T) {
	f := cable(t)
	w := f.wire(ip4)
	conflicts := make(chan Conflict, 10)
	var m *Manager
	m = manager(t, func(c Conflict) {
		conflicts <- c
		if err := m.Drop(c.Address); err != nil { // what a lower epoch does
			t.Error(err)
		}
	})
	must(t, m.Claim(t.Context(), Address{ip4, "near"}))
	for _, frame := range announcement(f.mac(), ip4, false) {
		must(t, w.send(frame))
	}
	if c := <-conflicts; c.MAC.String() != f.mac().String() || c.Address.IP != ip4 {
		t.Errorf("conflict %+v, want with %s", c, f.mac())
	}
	eventually(t, "the drop", func() bool { return !m.Holds(ip4) })
}

func TestAdoptsAndSparesFixed(t *testing.T) {
	f := cable(t)
	f.carry(ip4) // a probe would refuse
	link, err := netlink.LinkByName("near")
	must(t, err)
	a := Address{ip4, "near"}
	must(t, add(link, a))
	m := manager(t, nil)
	must(t, m.Claim(t.Context(), a))
	must(t, m.DropAll([]Address{a, {ip6, "near"}}))

	fixed := &netlink.Addr{IPNet: &net.IPNet{IP: ip4.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	must(t, netlink.AddrAdd(link, fixed))
	if err := m.Claim(t.Context(), a); !errors.Is(err, ErrFixed) {
		t.Errorf("claim of a fixed address: %v", err)
	}
	if err := m.Drop(a); !errors.Is(err, ErrFixed) {
		t.Errorf("drop of a fixed address: %v", err)
	}
}

func TestLeftoverIsDropped(t *testing.T) {
	cable(t)
	link, err := netlink.LinkByName("near")
	must(t, err)
	a := Address{ip4, "near"}
	must(t, add(link, a))
	if here := Present([]Address{{ip6, "near"}, a}); len(here) != 1 || here[0] != a {
		t.Errorf("present: %v, want %v", here, a)
	}
	must(t, New(nil).Drop(a))
	if present, err := find(a); present || err != nil {
		t.Errorf("the leftover is still there (%v)", err)
	}
}

// TestVanishedAddressComesBack takes the address away without any change of
// carrier, as a link that blinks or a network manager does.
func TestVanishedAddressComesBack(t *testing.T) {
	f := cable(t)
	m := manager(t, nil)
	must(t, m.Claim(t.Context(), Address{ip4, "near"}))
	a := Address{ip4, "near"}
	list, err := everywhere(a.IP)
	must(t, err)
	must(t, remove(a, list))
	w := f.wire(ip4)
	eventually(t, "the address on its interface again", func() bool { return m.Holds(ip4) })
	heard(t, w, ip4, true)
}

func TestCarrier(t *testing.T) {
	f := cable(t)
	w, m := f.wire(ip6), manager(t, nil)
	must(t, m.Claim(t.Context(), Address{ip6, "near"}))
	heard(t, w, ip6, true)

	type change struct {
		iface string
		up    bool
	}
	changes := make(chan change, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- Watch(ctx, []string{"near", "absent"}, func(i string, up bool) { changes <- change{i, up} })
	}()
	want := func(c change) {
		t.Helper()
		if got := <-changes; got != c {
			t.Errorf("change %+v, want %+v", got, c)
		}
	}
	want(change{"near", true})
	want(change{"absent", false})
	f.do(func() { _ = netlink.LinkSetDown(f.link) })
	want(change{"near", false})
	near, err := netlink.LinkByName("near")
	must(t, err)
	must(t, netlink.LinkSetDown(near)) // the kernel flushes the IPv6 address here
	eventually(t, "the flush", func() bool { return !m.Holds(ip6) })
	must(t, netlink.LinkSetUp(near))
	f.do(func() { _ = netlink.LinkSetUp(f.link) })
	want(change{"near", true})
	eventually(t, "the address on its interface again", func() bool { return m.Holds(ip6) })
	heard(t, f.wire(ip6), ip6, true)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTune(t *testing.T) {
	cable(t)
	if unix.Access("/proc/sys/net/ipv4/conf/near/arp_ignore", unix.W_OK) != nil {
		t.Skip("needs a writable /proc/sys")
	}
	must(t, Tune("near"))
	if b, err := os.ReadFile("/proc/sys/net/ipv4/conf/near/arp_announce"); err != nil || string(b) != "2\n" {
		t.Errorf("arp_announce is %q (%v)", b, err)
	}
	if Tune("../all") == nil {
		t.Error("a path was taken for an interface")
	}
}

func TestClaimRefusesBadInterfaces(t *testing.T) {
	m := manager(t, nil)
	for _, name := range []string{"lo", "absent"} {
		if err := m.Claim(t.Context(), Address{ip4, name}); err == nil {
			t.Errorf("claim on %s succeeded", name)
		}
	}
}
