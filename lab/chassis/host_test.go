package chassis

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestABoxReachesWhatSitsInTheRack(t *testing.T) {
	_, chassis, nsA, _ := twoBoxes(t)
	for range 2 { // the second time it has it already
		if err := chassis.GiveAddress("lan", netip.MustParsePrefix("198.18.0.9/24")); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := chassis.Listen(netip.MustParseAddrPort("198.18.0.9:443"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = conn.Write([]byte("here"))
			_ = conn.Close()
		}
	}()
	var conn net.Conn
	inNS(t, nsA, func() (err error) {
		conn, err = net.DialTimeout("tcp4", "198.18.0.9:443", 20*time.Second)
		return err
	})
	defer func() { _ = conn.Close() }()
	if said, err := io.ReadAll(conn); err != nil || string(said) != "here" {
		t.Errorf("heard %q (%v)", said, err)
	}
}
