package vip

import (
	"errors"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestAskedEarly: a claim after a question that found nobody does not ask again.
func TestAskedEarly(t *testing.T) {
	for _, a := range bothFamilies {
		t.Run(a.IP.String(), func(t *testing.T) {
			cable(t)
			m := manager(t, nil)
			link, err := etherLink(a.Interface)
			must(t, err)
			w, err := openWire(link.Attrs().Index, a.IP)
			must(t, err)
			w.close() // whoever asks over this one fails
			m.Ask(a)
			must(t, m.ask(t.Context(), w, link.Attrs().HardwareAddr, a))
			if err := m.ask(t.Context(), w, link.Attrs().HardwareAddr, a); err == nil {
				t.Error("an answer counted twice")
			}
			m.Ask(a)
			must(t, m.Claim(t.Context(), a))
			if m.Ask(a); m.early[a.IP] != nil {
				t.Error("asked for an address that is held")
			}
		})
	}
}

// TestAskedEarlyFindsTheOther: whoever answers early may be gone at the claim, or not.
func TestAskedEarlyFindsTheOther(t *testing.T) {
	f := cable(t)
	f.carry(ip4)
	m, a := manager(t, nil), Address{ip4, "near"}
	m.Ask(a)
	var taken *Taken
	if err := m.Claim(t.Context(), a); !errors.As(err, &taken) {
		t.Errorf("claim of a taken address: %v", err)
	}
	m.Ask(a)
	<-m.early[ip4].done
	f.do(func() {
		if err := netlink.AddrDel(f.link, &netlink.Addr{IPNet: host(ip4)}); err != nil {
			t.Error(err)
		}
	})
	must(t, m.Claim(t.Context(), a))
}

// TestAnOldAnswerDoesNotCount: the address was free then.
func TestAnOldAnswerDoesNotCount(t *testing.T) {
	f := cable(t)
	m, a := manager(t, nil), Address{ip4, "near"}
	m.Ask(a)
	e := m.early[ip4]
	<-e.done
	m.mu.Lock()
	e.ended = time.Now().Add(-2 * earlyLasts)
	m.mu.Unlock()
	f.carry(ip4)
	var taken *Taken
	if err := m.Claim(t.Context(), a); !errors.As(err, &taken) {
		t.Errorf("claim of an address that was free a while ago: %v", err)
	}
}
