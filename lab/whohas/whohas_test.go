package whohas

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

var (
	vip  = netip.MustParseAddr("198.18.0.250")
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
)

// answerTo is what a kernel answers to a question.
func answerTo(frame []byte, mac net.HardwareAddr) []byte {
	b := append([]byte(nil), frame...)
	copy(b[0:6], frame[22:28])
	copy(b[6:12], mac)
	b[21] = arpReply
	copy(b[22:28], mac)
	copy(b[28:32], frame[38:42])
	copy(b[32:38], frame[22:28])
	copy(b[38:42], frame[28:32])
	return b
}

func TestAnAnswerBelongsToItsQuestion(t *testing.T) {
	for _, want := range []uint32{1, 0x1234, 0xabcdef} {
		b := answerTo(encode(want, macA, vip), macA)
		n, mac, ok := decode(b, vip)
		if !ok || n != want || mac != macA.String() {
			t.Errorf("question %#x: %#x, %s, %v", want, n, mac, ok)
		}
		for size := range b {
			if _, _, ok := decode(b[:size], vip); ok {
				t.Errorf("%d bytes of an answer were taken", size)
			}
		}
		if _, _, ok := decode(b, vip.Next()); ok {
			t.Error("an answer for another address was taken")
		}
	}
	if _, _, ok := decode(encode(1, macA, vip), vip); ok {
		t.Error("a question was taken for an answer")
	}
}

func TestTally(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	c := newTally()
	one, two, three, four := c.ask(at(1)), c.ask(at(2)), c.ask(at(3)), c.ask(at(4))
	c.answer(one, "a", at(1))
	c.answer(three, "b", at(3))
	c.answer(one, "a", at(3))  // a frame that came twice
	c.answer(two, "a", at(3))  // late: a had the address then, and b had it later
	c.answer(four, "b", at(4)) // here both have it
	c.answer(four, "a", at(9))
	c.answer(77, "c", at(9))
	r := c.end()
	if r.Asked != 4 || r.Silent != 0 || r.ByMAC["a"] != 3 || r.ByMAC["b"] != 2 || len(r.ByMAC) != 2 {
		t.Errorf("%+v", r)
	}
	if len(r.Twice) != 1 || r.Twice[0].At != at(4) || len(r.Twice[0].MACs) != 2 {
		t.Errorf("answered twice: %+v, want the fourth question", r.Twice)
	}
	if len(r.Changes) == 0 || r.Changes[0] != (Change{At: at(1), To: "a"}) || r.Changes[1] != (Change{At: at(3), From: "a", To: "b"}) {
		t.Errorf("changes %+v", r.Changes)
	}
}

func TestOldQuestionsAreForgotten(t *testing.T) {
	c := newTally()
	for range remembered + 5 {
		c.ask(time.Unix(0, 0))
	}
	if len(c.open) != remembered {
		t.Errorf("%d questions are open, want %d", len(c.open), remembered)
	}
	if r := c.end(); r.Silent != remembered+5 {
		t.Errorf("%d silent questions, want %d", r.Silent, remembered+5)
	}
}
