package block

import "testing"

func TestProtocolLetters(t *testing.T) {
	for _, p := range []Protocol{ProtocolA, ProtocolB, ProtocolC} {
		if back, err := ParseProtocol(p.String()); err != nil || back != p {
			t.Errorf("%v is read back as %v, %v", p, back, err)
		}
	}
	for _, letter := range []string{"", "a", "D", "protocol 3"} {
		if p, err := ParseProtocol(letter); err == nil {
			t.Errorf("%q is taken for %v", letter, p)
		}
	}
	if s := Protocol(9).String(); s != "protocol 9" {
		t.Errorf("got %q", s)
	}
}
