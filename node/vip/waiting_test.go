package vip

import (
	"net/netip"
	"testing"
	"time"
)

// TestAClientThatCameEarlyIsAnsweredAtOpening, and not when it asks again. On a busy
// box it may ask before it sees the answer, so it gets some tries.
func TestAClientThatCameEarlyIsAnsweredAtOpening(t *testing.T) {
	for _, a := range bothFamilies {
		t.Run(a.IP.String(), func(t *testing.T) {
			c, m := network(t), manager(t, nil)
			to := netip.AddrPortFrom(a.IP, 7002).String()
			serving := false
			eventually(t, "an answer without a second question", func() bool {
				must(t, m.Claim(t.Context(), a))
				defer func() { must(t, m.Drop(a)) }()
				w := c.tap(a.IP)
				ended := make(chan error, 1)
				go func() {
					conn, err := c.dial(to, quietClient)
					if err == nil {
						err = conn.Close()
					}
					ended <- err
				}()
				awaitSYN(t, w, a.IP)
				h := m.held[a.IP]
				eventually(t, "the question to be kept", func() bool {
					h.early.mu.Lock()
					defer h.early.mu.Unlock()
					return len(h.early.asked) > 0
				})
				if !serving { // the service was not there either when it was asked for
					serve(t, ":7002")
					serving = true
				}
				must(t, m.Open(a, nil))
				must(t, <-ended)
				return !asksAgain(w, a.IP)
			})
		})
	}
}

// asksAgain reads what has come over the cable so far.
func asksAgain(w *wire, ip netip.Addr) bool {
	for buf := make([]byte, 2048); ; {
		frame, err := w.receive(buf, time.Now().Add(10*time.Millisecond))
		if err != nil {
			return false
		}
		if isSYN(frame, ip) && frame[etherLen+tcpStart(ip)+tcpFlagsAt]&tcpFlagACK == 0 {
			return true
		}
	}
}

func tcpStart(ip netip.Addr) int {
	if ip.Is4() {
		return ip4HeaderLen
	}
	return ip6Len
}

func TestAsNewRefusesWhatIsCutOff(t *testing.T) {
	c := Connection{Local: netip.MustParseAddrPort("192.0.2.1:7"), Remote: netip.MustParseAddrPort("192.0.2.2:8")}
	whole := ticklePacket(c, 1)
	padded := append(append([]byte(nil), whole...), 0, 0, 0, 0)
	if got := asNew(padded, c); len(got) != len(whole) {
		t.Errorf("%d bytes of %d", len(got), len(whole))
	}
	if got := asNew(whole[:len(whole)-1], c); got != nil {
		t.Errorf("%d bytes of a packet that is cut off", len(got))
	}
}
