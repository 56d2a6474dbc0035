package vip

import (
	"net"
	"net/netip"
	"testing"
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
	ip4  = netip.MustParseAddr("192.0.2.7")
	ip6  = netip.MustParseAddr("2001:db8::7")
)

func TestLookReadsWhatWeSend(t *testing.T) {
	for _, ip := range []netip.Addr{ip4, ip6} {
		for _, frame := range announcement(macA, ip, true) {
			s, ok := look(frame, ip)
			if !ok || !s.claims || s.mac.String() != macA.String() {
				t.Errorf("announcement of %s: %+v, %v", ip, s, ok)
			}
			if _, ok := look(frame, ip.Next()); ok {
				t.Errorf("announcement of %s was taken for one of %s", ip, ip.Next())
			}
		}
		s, ok := look(probeFrame(macA, ip), ip)
		if !ok || s.claims || s.mac.String() != macA.String() {
			t.Errorf("probe of %s: %+v, %v", ip, s, ok)
		}
	}
}

func TestAnnouncementShape(t *testing.T) {
	frames := announcement(macA, ip4, false)
	if len(frames) != 2 || frames[0][21] != arpRequest || frames[1][21] != arpReply {
		t.Fatalf("want a request and a reply, got % x", frames)
	}
	na := announcement(macA, ip6, false)[0]
	if got := na[etherLen+ip6Len+4]; got != flagOverride {
		t.Errorf("flags %#x, want only override", got)
	}
	body := append([]byte(nil), na[etherLen+ip6Len:]...)
	if sum := checksum(icmpv6, ip6, allNodes, body); sum != 0 {
		t.Errorf("checksum does not verify: %#x", sum)
	}
}

func FuzzLook(f *testing.F) {
	for _, ip := range []netip.Addr{ip4, ip6} {
		f.Add(probeFrame(macA, ip))
		for _, frame := range announcement(macA, ip, false) {
			f.Add(frame)
			f.Add(frame[:len(frame)-3])
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, ip := range []netip.Addr{ip4, ip6} {
			if s, ok := look(frame, ip); ok && len(s.mac) != 6 {
				t.Errorf("MAC of %d bytes", len(s.mac))
			}
		}
	})
}
