package vip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// clients is a far side whose programs can reach this one.
type clients struct{ *far }

func network(t testing.TB) clients {
	f := cable(t)
	near, err := netlink.LinkByName("near")
	must(t, err)
	give := func(link netlink.Link, nets ...string) error {
		var errs []error
		for _, text := range nets {
			prefix := netip.MustParsePrefix(text)
			to := &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
			errs = append(errs, netlink.AddrAdd(link, &netlink.Addr{IPNet: to, Flags: unix.IFA_F_NODAD}))
		}
		return errors.Join(errs...)
	}
	must(t, give(near, "192.0.2.2/24", "2001:db8::2/64"))
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	f.do(func() { err = give(f.link, "192.0.2.1/24", "2001:db8::1/64") })
	must(t, err)
	return clients{f}
}

// dial connects from the far side.
func (c clients) dial(to string, d net.Dialer) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c.do(func() { conn, err = d.DialContext(ctx, "tcp", to) })
	return conn, err
}

// quietClient is one that nothing wakes but the network.
var quietClient = net.Dialer{KeepAlive: -1}

// serve accepts connections and leaves them alone.
func serve(t testing.TB, on string) net.Listener {
	l, err := net.Listen("tcp", on)
	must(t, err)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// reading reports the end of a client's wait for an answer.
func reading(conn net.Conn) chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	return ended
}

// opened claims and opens an address.
func opened(t testing.TB, m *Manager, a Address) {
	t.Helper()
	must(t, m.Claim(t.Context(), a))
	must(t, m.Open(a, nil))
}

var bothFamilies = []Address{{ip4, "near"}, {ip6, "near"}}

func TestClientsOfTheOtherBoxAreMadeToNotice(t *testing.T) {
	for _, a := range bothFamilies {
		t.Run(a.IP.String(), func(t *testing.T) {
			c, m := network(t), manager(t, nil)
			opened(t, m, a)
			serve(t, ":7000") // an IPv6 socket, for IPv4 clients, too
			conn, err := c.dial(netip.AddrPortFrom(a.IP, 7000).String(), quietClient)
			must(t, err)
			defer conn.Close()
			var list []Connection
			eventually(t, "the connection in the kernel's list", func() bool {
				list, err = Established([]netip.Addr{ip4, ip6})
				must(t, err)
				return len(list) == 1
			})
			if want := netip.MustParseAddrPort(conn.LocalAddr().String()); list[0].Remote != want || list[0].Local.Addr() != a.IP {
				t.Errorf("connection %v, want one of %v to %v", list[0], want, a.IP)
			}
			ended := reading(conn)
			must(t, m.Drop(a))
			if left, err := Established([]netip.Addr{a.IP}); err != nil || len(left) > 0 {
				t.Errorf("connections left on this side: %v (%v)", left, err)
			}
			must(t, m.Claim(t.Context(), a))
			select {
			case err := <-ended:
				t.Fatalf("the client was told before the services were there: %v", err)
			default:
			}
			must(t, m.Open(a, list))
			select {
			case err := <-ended:
				if !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("the client's read ended with %v, want a reset", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("the client still waits")
			}
		})
	}
}

func TestAnAddressSaysNothingBeforeItIsOpened(t *testing.T) {
	for _, a := range bothFamilies {
		t.Run(a.IP.String(), func(t *testing.T) {
			c, m := network(t), manager(t, nil)
			must(t, m.Claim(t.Context(), a))
			to := netip.AddrPortFrom(a.IP, 7001).String()
			w := c.tap(a.IP)
			ended := make(chan error, 1)
			go func() { // nobody listens yet: without the silence this is refused at once
				conn, err := c.dial(to, quietClient)
				if err == nil {
					err = conn.Close()
				}
				ended <- err
			}()
			awaitSYN(t, w, a.IP)
			serve(t, to) // and a program here reaches the address all the time
			local, err := net.Dial("tcp", to)
			must(t, err)
			must(t, local.Close())
			must(t, m.Open(a, nil))
			if err := <-ended; err != nil {
				t.Errorf("the client that came early: %v", err)
			}
		})
	}
}

func TestDropLeavesNothing(t *testing.T) {
	for _, a := range bothFamilies {
		t.Run(a.IP.String(), func(t *testing.T) {
			network(t)
			m := manager(t, nil)
			must(t, m.Claim(t.Context(), a)) // and dies before Open
			m.Close()
			must(t, New(nil).Drop(a))
			rules, err := netlink.RuleList(family(a.IP))
			must(t, err)
			for _, rule := range rules {
				if rule.Priority == hushPriority {
					t.Errorf("rule %v is left", rule)
				}
			}
		})
	}
	if lacks := Lacks(); len(lacks) > 0 {
		t.Errorf("this kernel was said to lack %q", lacks)
	}
}

func TestOpenNeedsAHeldAddress(t *testing.T) {
	if err := manager(t, nil).Open(Address{ip4, "near"}, nil); err == nil {
		t.Error("an address that is not held was opened")
	}
}

func TestTicklePacketsAddUp(t *testing.T) {
	for _, ends := range [][2]string{{"192.0.2.7:2049", "192.0.2.1:800"}, {"[2001:db8::7]:2049", "[2001:db8::1]:800"}} {
		c := Connection{netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])}
		b := ticklePacket(c, 7)
		segment := b[len(b)-tcpHeaderLen:]
		if sum := checksum(unix.IPPROTO_TCP, c.Local.Addr(), c.Remote.Addr(), segment); sum != 0 {
			t.Errorf("%v: checksum does not verify: %#x", c, sum)
		}
		if segment[13] != tcpFlagACK {
			t.Errorf("%v: flags %#x, want only ACK", c, segment[13])
		}
	}
}

// BenchmarkNotice measures when a client that waits for an answer notices that the
// box behind the address changed: with a tickle, and without one by the keepalive that Go's
// programs have. Linux' own keepalive comes after two hours, and only to those who ask for it.
func BenchmarkNotice(b *testing.B) {
	for _, way := range []struct {
		name    string
		tickles bool
	}{{"tickled", true}, {"keepalive", false}} {
		b.Run(way.name, func(b *testing.B) {
			c, a := network(b), Address{ip4, "near"}
			m := New(nil)
			b.Cleanup(m.Close)
			serve(b, ":7000")
			for b.Loop() {
				b.StopTimer()
				opened(b, m, a)
				conn, err := c.dial("192.0.2.7:7000", net.Dialer{})
				must(b, err)
				var list []Connection
				eventually(b, "the connection", func() bool { list, err = Established([]netip.Addr{ip4}); return len(list) == 1 })
				ended := reading(conn)
				must(b, m.Drop(a))
				if !way.tickles {
					list = nil
				}
				must(b, m.Claim(b.Context(), a))
				b.StartTimer()
				must(b, m.Open(a, list))
				<-ended
				b.StopTimer()
				_ = conn.Close()
				must(b, m.Drop(a))
				b.StartTimer()
			}
		})
	}
}
