package vip

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func TestNewcomersAreTold(t *testing.T) {
	c, m := network(t), manager(t, nil)
	for _, a := range bothFamilies {
		opened(t, m, a)
	}
	serve(t, ":7000")
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	var told []Connection
	ended := make(chan error, 1)
	go func() {
		ended <- Newcomers(ctx, []netip.Addr{ip4, ip6}, func(c Connection) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, c)
		})
	}()
	for _, a := range bothFamilies {
		want := Connection{Local: netip.AddrPortFrom(a.IP, 7000)}
		eventually(t, "word of "+a.IP.String(), func() bool { // the first may come before there are ears
			conn, err := c.dial(want.Local.String(), quietClient)
			must(t, err)
			defer conn.Close()
			want.Remote = netip.MustParseAddrPort(conn.LocalAddr().String())
			for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				mu.Lock()
				for _, c := range told {
					if c == want {
						mu.Unlock()
						return true
					}
				}
				mu.Unlock()
			}
			return false
		})
	}
	other, err := c.dial("192.0.2.2:7000", quietClient) // an address of the box, not of a volume
	must(t, err)
	defer other.Close()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, c := range told {
		if c.Local.Port() != 7000 || c.Local.Addr() != ip4 && c.Local.Addr() != ip6 {
			t.Errorf("told of %v", c)
		}
	}
}

func FuzzReadSYN(f *testing.F) {
	f.Add(ticklePacket(Connection{Local: netip.MustParseAddrPort("192.0.2.1:7"), Remote: netip.MustParseAddrPort("192.0.2.2:8")}, 1))
	f.Add(ticklePacket(Connection{Local: netip.MustParseAddrPort("[2001:db8::1]:7"), Remote: netip.MustParseAddrPort("[2001:db8::2]:8")}, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := readSYN(b)
		if ok && (!c.Local.IsValid() || c.Local.Addr().Is4() != c.Remote.Addr().Is4()) {
			t.Errorf("read %v", c)
		}
	})
}
