package replicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/arbiter/ballot/ballottest"
	"gemel/node/block"
	"gemel/node/config"
	"gemel/node/identity"
	"gemel/node/replicator/control"
	"gemel/node/replicator/disk"
	"gemel/node/replicator/volume"
)

const backing = 32 << 20

// box is one node's replicator with its socket.
type box struct {
	cfg    *config.Config
	client *control.Client
	stop   func()

	mu     sync.Mutex
	device block.Device // what the exporter was given; nil while detached
	inUse  bool         // a clean detach fails
}

// Attach and detach stand for the kernel.
func (b *box) Attach(dev block.Device) (volume.Shown, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.device = dev
	return volume.Shown{Path: "/dev/gemel/data", By: "test", Detach: b.detach}, nil
}

func (b *box) detach(force bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inUse && !force {
		return errors.New("it is mounted")
	}
	b.device = nil
	return nil
}

// boxes makes the configuration of both nodes, with backing files.
func boxes(t *testing.T) [2]*box { return boxesOf(t, backing, "") }

// boxesOf makes backing files of size bytes and adds more, such as
// "protocol: A", to the volume's configuration.
func boxesOf(t *testing.T, size int64, more string) [2]*box {
	t.Helper()
	dir := t.TempDir()
	plan := identity.Plan{Cluster: "lab", Nodes: []string{"server1", "server2"}}
	if _, err := identity.Init(filepath.Join(dir, "keys"), plan); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	var both [2]*box
	for i, name := range plan.Nodes {
		home := filepath.Join(dir, name)
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		device := filepath.Join(home, "disk")
		if err := errors.Join(os.WriteFile(device, nil, 0o600), os.Truncate(device, size)); err != nil {
			t.Fatal(err)
		}
		text := fmt.Appendf(nil, `
cluster: lab
node: %s
nodes:
  - {name: server1, links: [{name: private, address: 127.0.0.1}]}
  - {name: server2, links: [{name: private, address: 127.0.0.2}]}
keys: %s
state-dir: %s
run-dir: %s
device-dir: %s/dev
ports: {replication: %d}
volumes:
  - {name: data, device: %s, %s}
`, name, filepath.Join(dir, "keys", name), home, home, home, port, device, more)
		file := filepath.Join(home, "gemel.yaml")
		cfg, err := config.Parse(file, text)
		if err := errors.Join(err, os.WriteFile(file, text, 0o600)); err != nil {
			t.Fatal(err)
		}
		both[i] = &box{cfg: cfg, client: control.NewClient(cfg.ReplicatorSocket()), stop: func() {}}
	}
	return both
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// run starts the replicator of a box and waits for its socket.
func (b *box) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- serve(ctx, b.cfg, slog.New(slog.DiscardHandler), func(string) volume.Exporter { return b })
	}()
	b.stop = sync.OnceFunc(func() {
		b.client.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s ended with %v", b.cfg.Node, err)
		}
	})
	t.Cleanup(b.stop)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err := b.client.State(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v", b.cfg.Node, err)
		}
	}
}

// until watches the volume until ok.
func (b *box) until(t *testing.T, what string, ok func(control.VolumeState) bool) control.VolumeState {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	states, err := b.client.State(ctx)
	for known := (control.Changes{}); err == nil && !ok(states[0]); {
		if known, err = b.client.Watch(ctx, known.Run, known.Version, time.Second); err == nil {
			states, err = b.client.State(ctx)
		}
	}
	if err != nil {
		t.Fatalf("%s, waiting until %s: %v", b.cfg.Node, what, err)
	}
	return states[0]
}

func (b *box) create(t *testing.T) {
	t.Helper()
	if err := b.client.Create(t.Context(), control.CreateRequest{Volume: "data"}); err != nil {
		t.Fatal(err)
	}
}

// accept lets a box's register promise the epoch and accept the set.
func (b *box) accept(t *testing.T, a arbiter.Accepted) {
	t.Helper()
	p, err := ballottest.Prepare(t.Context(), b.client, arbiter.PrepareRequest{Volume: "data", Epoch: a.Epoch})
	if err != nil || !p.OK {
		t.Fatalf("%s prepare: %+v, %v", b.cfg.Node, p, err)
	}
	r, err := ballottest.Accept(t.Context(), b.client, arbiter.AcceptRequest{Volume: "data", Accepted: a})
	if err != nil || !r.OK {
		t.Fatalf("%s accept %+v: %+v, %v", b.cfg.Node, a, r, err)
	}
}

// reign makes a box Primary alone, as a birth.
func (b *box) reign(t *testing.T) arbiter.Accepted {
	t.Helper()
	node := arbiter.NodeID(b.cfg.SelfIndex())
	alone := arbiter.Accepted{Epoch: arbiter.Epoch(0).NextFor(node), Version: 1, Set: arbiter.Only(node)}
	b.accept(t, alone)
	reply, err := b.client.Promote(t.Context(), control.PromoteRequest{Volume: "data", Chosen: alone, Birth: true})
	if err != nil || reply.Device != "/dev/gemel/data" {
		t.Fatalf("promote: %+v, %v", reply, err)
	}
	return alone
}

func TestTwoNodesEndToEnd(t *testing.T) {
	both := boxes(t)
	for _, b := range both {
		b.run(t)
		b.until(t, "no metadata", func(s control.VolumeState) bool {
			return strings.Contains(s.Problem, "gemel volume create") && s.Disk == control.Diskless
		})
		b.create(t)
	}
	one, two := both[0], both[1]
	alone := one.reign(t)
	one.until(t, "ready to grow", func(s control.VolumeState) bool { return s.ReadyToGrow })
	grown := arbiter.Accepted{Epoch: alone.Epoch, Version: 2, Set: arbiter.Both}
	for _, b := range both {
		b.accept(t, grown)
	}
	if err := one.client.Chosen(t.Context(), control.ChosenRequest{Volume: "data", Chosen: grown}); err != nil {
		t.Fatal(err)
	}
	lease := control.LeaseRequest{Volume: "data", Epoch: grown.Epoch, Until: int64(volume.Now() + time.Hour)}
	if err := one.client.Lease(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("gemel gemel gemel..\n"), 4096)[:65536]
	if err := errors.Join(one.device.WriteAt(data, 1<<20, false), one.device.Flush()); err != nil {
		t.Fatal(err)
	}
	s := two.until(t, "the write came", func(s control.VolumeState) bool { return s.Counters.Received >= 65536 })
	if s.Connection != control.Connected || s.PeerPath != "private" || s.Disk != control.UpToDate {
		t.Errorf("secondary: %+v", s)
	}
	one.stop()
	two.stop()
	sameData(t, one.cfg.Volumes[0].Device, two.cfg.Volumes[0].Device, data, s.Size)
}

// sameData compares the backing devices over the volume.
func sameData(t *testing.T, a, b string, data []byte, size int64) {
	t.Helper()
	var content [2][]byte
	for i, path := range []string{a, b} {
		d, err := disk.Open(path)
		if err != nil {
			t.Fatalf("the device was not let go: %v", err)
		}
		content[i] = make([]byte, size)
		if err := errors.Join(d.ReadAt(content[i], 0), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(content[0][1<<20:1<<20+len(data)], data) {
		t.Error("the write is not on the Primary's disk")
	}
	if !bytes.Equal(content[0], content[1]) {
		t.Error("the replicas differ")
	}
}

// TestStopOfAPrimaryInUse: it lets go; the replica starts as a crashed one, or
// at least as Secondary, and nothing hangs.
func TestStopOfAPrimaryInUse(t *testing.T) {
	one := boxes(t)[0]
	one.run(t)
	one.create(t)
	one.reign(t)
	one.mu.Lock()
	one.inUse = true
	device := one.device
	one.mu.Unlock()
	if err := one.client.Demote(t.Context(), control.DemoteRequest{Volume: "data", Clean: true}); control.CodeOf(err) != control.CodeDeviceInUse {
		t.Errorf("clean demote of a device in use: %v", err)
	}
	if err := device.WriteAt(make([]byte, 4096), 0, false); err != nil {
		t.Errorf("a refused demote must change nothing: %v", err)
	}
	one.stop()
	if one.device != nil {
		t.Error("the device is still attached")
	}
	if err := device.WriteAt(make([]byte, 4096), 0, false); err == nil {
		t.Error("a write after letting go was acknowledged")
	}
	one.run(t)
	one.until(t, "Secondary", func(s control.VolumeState) bool { return s.Role == control.Secondary && s.Problem == "" })
}

func TestCreateRefusals(t *testing.T) {
	one := boxes(t)[0]
	one.run(t)
	path := one.cfg.Volumes[0].Device
	code := func(q control.CreateRequest) string { return control.CodeOf(one.client.Create(t.Context(), q)) }
	data := control.CreateRequest{Volume: "data"}
	if got := code(control.CreateRequest{Volume: "none"}); got != control.CodeUnknownVolume {
		t.Errorf("unknown volume: %s", got)
	}
	other, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := code(data); got != control.CodeDeviceInUse {
		t.Errorf("device in use: %s", got)
	}
	fs := make([]byte, 4096)
	copy(fs, "XFSB")
	if err := errors.Join(other.WriteAt(fs, 0), other.Close()); err != nil {
		t.Fatal(err)
	}
	if got := code(data); got != control.CodeOccupied {
		t.Errorf("file system: %s", got)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(now, []byte("XFSB")) || !bytes.Equal(now[4096:], make([]byte, backing-4096)) {
		t.Error("a refused create touched the device")
	}
	if err := one.client.Create(t.Context(), control.CreateRequest{Volume: "data", Force: true}); err != nil {
		t.Errorf("forced: %v", err)
	}
	for _, force := range []bool{false, true} {
		if got := code(control.CreateRequest{Volume: "data", Force: force}); got != control.CodeRunning {
			t.Errorf("a running volume without current peer, force %v: %s", force, got)
		}
	}
	s := one.until(t, "running", func(s control.VolumeState) bool { return s.Problem == "" })
	if !s.Created || s.Disk != control.Inconsistent || !s.Record.Fresh {
		t.Errorf("a new replica is %+v", s)
	}
}

func TestTooSmall(t *testing.T) {
	one := boxes(t)[0]
	if err := os.Truncate(one.cfg.Volumes[0].Device, 8<<20); err != nil {
		t.Fatal(err)
	}
	one.run(t)
	err := one.client.Create(t.Context(), control.CreateRequest{Volume: "data"})
	if control.CodeOf(err) != control.CodeTooSmall {
		t.Errorf("got %v", err)
	}
}

// TestAMissingDeviceComesBack is found by the retry.
func TestAMissingDeviceComesBack(t *testing.T) {
	one := boxes(t)[0]
	path := one.cfg.Volumes[0].Device
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	one.run(t)
	one.until(t, "missing", func(s control.VolumeState) bool { return strings.Contains(s.Problem, "no such file") })
	var failure *ballot.Failure
	_, err := ballottest.Prepare(t.Context(), one.client, arbiter.PrepareRequest{Volume: "data", Epoch: 2})
	if !errors.As(err, &failure) || failure.Code != control.CodeNotRunning {
		t.Errorf("a vote without a register: %v", err)
	}
	if err := one.client.Demote(t.Context(), control.DemoteRequest{Volume: "data"}); err != nil {
		t.Errorf("demote of what does not run: %v", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	one.until(t, "found", func(s control.VolumeState) bool { return strings.Contains(s.Problem, "no gemel metadata") })
}

func TestStartRefusals(t *testing.T) {
	both := boxes(t)
	both[0].run(t)
	second := serve(t.Context(), both[0].cfg, slog.New(slog.DiscardHandler), func(string) volume.Exporter { return both[0] })
	if second == nil || !strings.Contains(second.Error(), "another replicator answers") {
		t.Errorf("second replicator: %v", second)
	}
	wrong := *both[1].cfg
	wrong.Keys = both[0].cfg.Keys
	if err := serve(t.Context(), &wrong, slog.New(slog.DiscardHandler), nil); !errors.Is(err, identity.ErrUnknownPeer) {
		t.Errorf("keys of another box: %v", err)
	}
	wrong.Node = "elsewhere"
	if err := serve(t.Context(), &wrong, slog.New(slog.DiscardHandler), nil); err == nil {
		t.Error("a box that is no data node must be refused")
	}
}
