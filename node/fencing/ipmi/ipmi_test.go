package ipmi

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/clock"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"

	"gemel/node/fencing"
)

// controller starts the library's reference controller on loopback, and returns its port.
func controller(t *testing.T, hal *mock.HAL) int {
	t.Helper()
	b := bmc.New(bmc.DeviceInfo{DeviceID: 32, DeviceRevision: 1, FirmwareMajor: 1, IPMIVersion: 0x20}, [16]byte{1},
		hal, bmc.WithClock(clock.Real))
	user, err := b.Users.Add(2, "admin")
	if err != nil {
		t.Fatal(err)
	}
	user.SetPassword([]byte("secret"))
	user.Enabled = true
	user.ChannelAccess[1] = bmc.UserChannelAccess{MaxPrivilege: bmc.PrivilegeLevelAdministrator, Enabled: true}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s, done := server.NewServer(b, udp.Wrap(conn)), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { defer close(done); _ = s.Serve(ctx) }()
	t.Cleanup(func() { cancel(); _ = s.Close(); _ = conn.Close(); <-done })
	return conn.LocalAddr().(*net.UDPAddr).Port
}

func TestOffAndOn(t *testing.T) {
	hal := mock.New()
	port := controller(t, hal)
	d, err := New(Options{Host: "127.0.0.1", Port: port, User: "admin", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		order func(context.Context) error
		want  fencing.Power
	}{{d.PowerOn, fencing.On}, {d.PowerOff, fencing.Off}, {d.PowerOn, fencing.On}} {
		if err := c.order(t.Context()); err != nil {
			t.Fatal(err)
		}
		if power, err := d.Status(t.Context()); power != c.want || err != nil {
			t.Fatalf("step %d: %s, %v; want %s", i, power, err, c.want)
		}
	}
}

func TestAWrongPasswordIsNoAnswer(t *testing.T) {
	port := controller(t, mock.New())
	d, err := New(Options{Host: "127.0.0.1", Port: port, User: "admin", Password: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	if power, err := d.Status(t.Context()); err == nil || power != fencing.Unknown {
		t.Errorf("%s, %v", power, err)
	}
}

func TestNobodyThere(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	d, err := New(Options{Host: "127.0.0.1", Port: silent.LocalAddr().(*net.UDPAddr).Port, User: "admin", Password: "x"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := d.PowerOff(ctx); err == nil || !strings.Contains(err.Error(), "order power down") {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, opt := range []Options{{}, {Host: "192.0.2.7", User: strings.Repeat("u", 17)},
		{Host: "192.0.2.7", Password: strings.Repeat("p", 21)}} {
		if _, err := New(opt); err == nil {
			t.Errorf("%+v is taken", opt)
		}
	}
}
