package vip

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tap hears every frame at the far end of the cable.
func (f *far) tap(ip netip.Addr) *wire {
	w := &wire{}
	f.do(func() {
		const flags = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
		fd, err := unix.Socket(unix.AF_PACKET, flags, 0)
		if err == nil {
			w.file = os.NewFile(uintptr(fd), "tap")
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap(unix.ETH_P_ALL), Ifindex: f.link.Attrs().Index})
		}
		if err != nil {
			f.t.Errorf("tap the cable for %s: %v", ip, err)
		}
	})
	f.t.Cleanup(w.close)
	return w
}

// awaitSYN waits until somebody tried to connect to ip.
func awaitSYN(t testing.TB, w *wire, ip netip.Addr) {
	t.Helper()
	for buf := make([]byte, 2048); ; {
		frame, err := w.receive(buf, time.Now().Add(20*time.Second))
		if err != nil {
			t.Fatalf("nobody connects to %s: %v", ip, err)
		}
		if isSYN(frame, ip) {
			return
		}
	}
}

func isSYN(frame []byte, to netip.Addr) bool {
	if len(frame) < etherLen+ip6Len+tcpHeaderLen && len(frame) < etherLen+ip4HeaderLen+tcpHeaderLen {
		return false
	}
	body := frame[etherLen:]
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == unix.ETH_P_IP && to.Is4():
		return body[9] == unix.IPPROTO_TCP && netip.AddrFrom4([4]byte(body[16:20])) == to && body[ip4HeaderLen+13]&2 != 0
	case kind == etherIPv6 && to.Is6():
		return body[6] == unix.IPPROTO_TCP && netip.AddrFrom16([16]byte(body[24:40])) == to && body[ip6Len+13]&2 != 0
	}
	return false
}
