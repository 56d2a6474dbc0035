package chassis

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"gemel/lab/badcable"
	"gemel/lab/ownthread"
)

// twoBoxes wires box a (198.18.0.1) and box b (198.18.0.2) to one switch.
func twoBoxes(t *testing.T) (lab string, chassis *Chassis, nsA, nsB string) {
	t.Helper()
	lab = testLab(t)
	chassis, err := Create(lab, "lan")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chassis.Close)
	nsA, inA := testBox(t, "a")
	nsB, inB := testBox(t, "b")
	for ns, cable := range map[string]Cable{nsA: testCable("a", 1), nsB: testCable("b", 2)} {
		if err := chassis.Wire(ns, cable); err != nil {
			t.Fatal(err)
		}
	}
	waitCarrier(t, inA, "lan0", true)
	waitCarrier(t, inB, "lan0", true)
	return lab, chassis, nsA, nsB
}

// relayed opens the cable of box a and runs a relay in it until the returned function is called.
func relayed(t *testing.T, lab string, chassis *Chassis, both badcable.Both) (stop func()) {
	t.Helper()
	place, err := chassis.OpenPlace("a", "lan")
	if err != nil {
		t.Fatal(err)
	}
	relay, err := badcable.NewRelay("/run/netns/"+Name(lab), place.Near, place.Far, both, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := relay.Run(ctx); err != nil {
			t.Error(err)
		}
		relay.Close()
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return stop
}

// inNS makes a socket in a namespace; it stays there whoever uses it.
func inNS(t *testing.T, path string, open func() error) {
	t.Helper()
	err := ownthread.Do(func() error {
		ns, err := netns.GetFromPath(path)
		if err != nil {
			return err
		}
		defer func() { _ = ns.Close() }()
		if err := netns.Set(ns); err != nil {
			return err
		}
		return open()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// datagrams opens a UDP socket in a box.
func datagrams(t *testing.T, ns, address string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	inNS(t, ns, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		return err
	})
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// arrives sends words until one arrives, for at most limit.
func arrives(t *testing.T, from, to *net.UDPConn, limit time.Duration) bool {
	t.Helper()
	buffer := make([]byte, 100)
	word := []byte(time.Now().String()) // not one that was sent before
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if _, err := from.WriteTo(word, to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		_ = to.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, _, err := to.ReadFrom(buffer)
		if err == nil {
			if bytes.Equal(buffer[:n], word) {
				return true
			}
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	return false
}

func TestOneWayCut(t *testing.T) {
	lab, chassis, nsA, nsB := twoBoxes(t)
	a, b := datagrams(t, nsA, "198.18.0.1:7"), datagrams(t, nsB, "198.18.0.2:7")
	if !arrives(t, b, a, 10*time.Second) || !arrives(t, a, b, 10*time.Second) {
		t.Fatal("the whole cable carries nothing")
	}
	// Both know each other's MAC now, so that one direction needs no answer of the other.
	stop := relayed(t, lab, chassis, badcable.Both{Out: badcable.Quality{Cut: true}})
	if !arrives(t, b, a, 10*time.Second) {
		t.Error("the direction that is not cut carries nothing")
	}
	if arrives(t, a, b, time.Second) {
		t.Error("the cut direction carries something")
	}
	stop()
	if arrives(t, b, a, 300*time.Millisecond) {
		t.Error("an open cable without a relay carries something")
	}
	if err := chassis.ClosePlace("a", "lan"); err != nil {
		t.Fatal(err)
	}
	if !arrives(t, a, b, 10*time.Second) || !arrives(t, b, a, 10*time.Second) {
		t.Error("the cable is not whole again")
	}
}

// A stream makes the kernel send large segments with sums left to the hardware: they must pass whole.
func TestStreamThroughABadCable(t *testing.T) {
	lab, chassis, nsA, nsB := twoBoxes(t)
	quality := badcable.Quality{Delay: 5 * time.Millisecond, Jitter: time.Millisecond, Loss: 0.002, Duplicate: 0.01, Reorder: 0.01}
	relayed(t, lab, chassis, badcable.Both{In: quality, Out: quality})
	var listener net.Listener
	inNS(t, nsB, func() (err error) { listener, err = net.Listen("tcp4", "198.18.0.2:7"); return err })
	defer func() { _ = listener.Close() }()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	got := make(chan []byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			got <- nil
			return
		}
		data, _ := io.ReadAll(conn)
		_ = conn.Close()
		got <- data
	}()
	var conn net.Conn
	begun := time.Now()
	inNS(t, nsA, func() (err error) { conn, err = net.DialTimeout("tcp4", "198.18.0.2:7", 20*time.Second); return err })
	if took := time.Since(begun); took < 8*time.Millisecond {
		t.Errorf("a handshake over a delay of 2 x 5 ms took %v", took)
	}
	if _, err := conn.Write(sent); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	select {
	case data := <-got:
		if !bytes.Equal(data, sent) {
			t.Errorf("%d bytes arrived, %d were sent, or they differ", len(data), len(sent))
		}
	case <-time.After(60 * time.Second):
		t.Fatal("the stream does not arrive")
	}
}

func TestPullAndUnwireWithARelay(t *testing.T) {
	lab, chassis, nsA, nsB := twoBoxes(t)
	a, b := datagrams(t, nsA, "198.18.0.1:7"), datagrams(t, nsB, "198.18.0.2:7")
	stop := relayed(t, lab, chassis, badcable.Both{In: badcable.Quality{Delay: time.Millisecond}})
	if !arrives(t, a, b, 10*time.Second) {
		t.Fatal("nothing passes the relay")
	}
	if err := errors.Join(chassis.Pull("a", "lan"), chassis.Plug("a", "lan")); err != nil {
		t.Fatal(err)
	}
	if !arrives(t, a, b, 10*time.Second) {
		t.Error("the relay does not outlive a pulled plug")
	}
	if place, err := chassis.OpenPlace("a", "lan"); err != nil || place.Near != "a-lan" {
		t.Errorf("a second opening: %+v %v", place, err)
	}
	if err := chassis.Unwire("a", "lan"); err != nil {
		t.Fatal(err)
	}
	if _, err := chassis.nl.LinkByName("a.lan"); err == nil {
		t.Error("the relay's place is still there")
	}
	stop()
	if err := chassis.ClosePlace("a", "lan"); err != nil {
		t.Errorf("closing what is gone: %v", err)
	}
	if _, err := chassis.OpenPlace("a", "lan"); !errors.Is(err, ErrNoCable) {
		t.Errorf("opening what is gone: %v", err)
	}
}

// A relay whose links are gone ends by itself: nobody may have been left to end it.
func TestRelayEndsWithItsCable(t *testing.T) {
	lab, chassis, _, _ := twoBoxes(t)
	place, err := chassis.OpenPlace("a", "lan")
	if err != nil {
		t.Fatal(err)
	}
	relay, err := badcable.NewRelay("/run/netns/"+Name(lab), place.Near, place.Far, badcable.Both{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	done := make(chan error, 1)
	go func() { done <- relay.Run(context.Background()) }()
	if err := chassis.Unwire("a", "lan"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the relay goes on without links")
	}
}

// A switch keeps a MAC where it saw it last: an address that moves unannounced stays wrong.
func TestSwitchRemembersAMAC(t *testing.T) {
	_, chassis, nsA, nsB := twoBoxes(t)
	a, b := datagrams(t, nsA, "198.18.0.1:7"), datagrams(t, nsB, "198.18.0.2:7")
	if !arrives(t, a, b, 10*time.Second) {
		t.Fatal("the cable carries nothing")
	}
	link, err := chassis.nl.LinkByName("lan")
	if err != nil {
		t.Fatal(err)
	}
	bridge, ok := link.(*netlink.Bridge)
	if !ok || bridge.AgeingTime == nil || *bridge.AgeingTime != 300*userTicks {
		t.Errorf("ageing of the switch is %+v, want 300 s", bridge)
	}
	learned, err := chassis.Learned("lan")
	if err != nil {
		t.Fatal(err)
	}
	for box, last := range map[string]byte{"a": 1, "b": 2} {
		mac := testCable(box, last).MAC.String()
		if !slices.ContainsFunc(learned[box], func(m net.HardwareAddr) bool { return m.String() == mac }) {
			t.Errorf("the switch has not learned %s behind box %s: %v", mac, box, learned)
		}
	}
}
