package systemd

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// fake is a systemd with one unit, on a message bus of its own.
type fake struct {
	mu       sync.Mutex
	unit     map[string]any // its properties
	service  map[string]any
	starts   int
	calls    []string
	broken   bool // the unit fails when it is started
	stubborn bool // it does not stop when asked
	address  string
}

const fakeUnit = "web.service"

// newFake starts the bus and the fake on it.
func newFake(t *testing.T) *fake {
	t.Helper()
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("there is no dbus-daemon: apt-get install dbus-daemon")
	}
	cmd := exec.Command(daemon, "--session", "--nofork", "--print-address", "--address=unix:path="+filepath.Join(t.TempDir(), "bus"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{address: strings.TrimSpace(line), service: map[string]any{"Result": "success", "MainPID": uint32(0)},
		unit: map[string]any{"LoadState": "loaded", "ActiveState": "inactive", "UnitFileState": "disabled", "InvocationID": []byte{}}}
	f.serve(t)
	return f
}

func (f *fake) serve(t *testing.T) {
	t.Helper()
	conn := f.connect(t)
	t.Cleanup(func() { _ = conn.Close() })
	name := strings.ReplaceAll(fakeUnit, ".", "_2e")
	for path, thing := range map[dbus.ObjectPath]struct {
		what  any
		iface string
	}{
		"/org/freedesktop/systemd1":                               {manager{f}, "org.freedesktop.systemd1.Manager"},
		dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + name): {properties{f}, "org.freedesktop.DBus.Properties"},
		"/org/freedesktop/systemd1/unit/nowhere_2eservice":        {missing{}, "org.freedesktop.DBus.Properties"},
	} {
		if err := conn.Export(thing.what, path, thing.iface); err != nil {
			t.Fatal(err)
		}
	}
	if reply, err := conn.RequestName("org.freedesktop.systemd1", dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
}

func (f *fake) connect(t *testing.T) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(f.address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// dial is what the driver uses in place of the box's own.
func (f *fake) dial() (Manager, error) {
	return sd.NewConnection(func() (*dbus.Conn, error) { return dbus.Connect(f.address) })
}

// set changes the unit as if by itself.
func (f *fake) set(change func()) { f.mu.Lock(); defer f.mu.Unlock(); change() }

func (f *fake) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// up makes the unit run; f.mu is held.
func (f *fake) up() {
	f.starts++
	f.unit["ActiveState"], f.unit["InvocationID"] = active, []byte{byte(f.starts)}
	f.service["MainPID"], f.service["Result"] = uint32(1000+f.starts), "success"
}

// down ends the unit; f.mu is held.
func (f *fake) down(state, result string) {
	f.unit["ActiveState"] = state
	f.service["MainPID"], f.service["Result"] = uint32(0), result
}

// manager is the fake's org.freedesktop.systemd1.Manager.
type manager struct{ f *fake }

const fakeJob = dbus.ObjectPath("/org/freedesktop/systemd1/job/1")

func (m manager) StartUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	m.f.calls = append(m.f.calls, fmt.Sprintf("start %s %s", name, mode))
	if m.f.broken {
		m.f.down("failed", "exit-code")
	} else {
		m.f.up()
	}
	return fakeJob, nil
}

func (m manager) StopUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	m.f.calls = append(m.f.calls, fmt.Sprintf("stop %s %s", name, mode))
	if m.f.stubborn {
		m.f.unit["ActiveState"] = "deactivating"
	} else {
		m.f.down("inactive", "success")
	}
	return fakeJob, nil
}

func (m manager) KillUnit(name, who string, signal int32) *dbus.Error {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	m.f.calls = append(m.f.calls, fmt.Sprintf("kill %s %s %d", name, who, signal))
	m.f.down("failed", "signal")
	return nil
}

func (m manager) ResetFailedUnit(string) *dbus.Error { return nil }

// properties are the unit's.
type properties struct{ f *fake }

func (p properties) GetAll(iface string) (map[string]dbus.Variant, *dbus.Error) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	from := p.f.unit
	if strings.HasSuffix(iface, ".Service") {
		from = p.f.service
	}
	all := map[string]dbus.Variant{}
	for k, v := range from {
		all[k] = dbus.MakeVariant(v)
	}
	return all, nil
}

// missing is a unit that systemd has no file of.
type missing struct{}

func (missing) GetAll(string) (map[string]dbus.Variant, *dbus.Error) {
	return map[string]dbus.Variant{"LoadState": dbus.MakeVariant("not-found"), "ActiveState": dbus.MakeVariant("inactive")}, nil
}
