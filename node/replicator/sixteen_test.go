package replicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot/ballottest"
	"gemel/node/block"
	"gemel/node/config"
	"gemel/node/identity"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
	"gemel/node/replicator/disk"
	"gemel/node/replicator/volume"
)

const manyVolumes = 16

// manyBox is one node's replicator with many volumes.
type manyBox struct {
	box
	devices sync.Map // of block.Device, by volume
}

// shelf shows one volume.
type shelf struct {
	b    *manyBox
	name string
}

func (s shelf) Attach(dev block.Device) (volume.Shown, error) {
	s.b.devices.Store(s.name, dev)
	return volume.Shown{Path: "/dev/gemel/" + s.name, By: "test", Detach: func(bool) error {
		s.b.devices.Delete(s.name)
		return nil
	}}, nil
}

func volumeName(i int) string { return fmt.Sprintf("v%02d", i) }

// manyBoxes makes both nodes' configurations.
func manyBoxes(t *testing.T) [2]*manyBox {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	plan := identity.Plan{Cluster: "lab", Nodes: []string{"server1", "server2"}}
	if _, err := identity.Init(filepath.Join(dir, "keys"), plan); err != nil {
		t.Fatal(err)
	}
	var both [2]*manyBox
	for i, name := range plan.Nodes {
		home := filepath.Join(dir, name)
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(`
cluster: lab
node: %s
nodes:
  - {name: server1, links: [{name: private, address: 127.0.0.1}]}
  - {name: server2, links: [{name: private, address: 127.0.0.2}]}
keys: %s
state-dir: %s
run-dir: %s
ports: {replication: %d}
replication: {peer-timeout: 10s}
volumes:
`, name, filepath.Join(dir, "keys", name), home, home, port)
		for v := range manyVolumes {
			device := filepath.Join(home, volumeName(v))
			if err := errors.Join(os.WriteFile(device, nil, 0o600), os.Truncate(device, 16<<20)); err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprintf("  - {name: %s, device: %s}\n", volumeName(v), device)
		}
		cfg, err := config.Parse("gemel.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		both[i] = &manyBox{box: box{cfg: cfg, client: control.NewClient(cfg.ReplicatorSocket()), stop: func() {}}}
	}
	return both
}

// start runs the replicator and creates every volume.
func (b *manyBox) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- serve(ctx, b.cfg, slog.New(slog.DiscardHandler), func(name string) volume.Exporter { return shelf{b, name} })
	}()
	b.stop = sync.OnceFunc(func() {
		b.client.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s ended with %v", b.cfg.Node, err)
		}
	})
	t.Cleanup(b.stop)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err := b.client.State(t.Context())
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v", b.cfg.Node, err)
		}
	}
	for v := range manyVolumes {
		if err := b.client.Create(t.Context(), control.CreateRequest{Volume: volumeName(v)}); err != nil {
			t.Fatal(err)
		}
	}
}

// reign makes the box Primary of a volume, as a birth.
func (b *manyBox) reign(t *testing.T, name string) {
	t.Helper()
	node := arbiter.NodeID(b.cfg.SelfIndex())
	a := arbiter.Accepted{Epoch: arbiter.Epoch(0).NextFor(node), Version: 1, Set: arbiter.Only(node)}
	p, err := ballottest.Prepare(t.Context(), b.client, arbiter.PrepareRequest{Volume: name, Epoch: a.Epoch})
	if err != nil || !p.OK {
		t.Fatalf("%s: prepare: %+v, %v", name, p, err)
	}
	r, err := ballottest.Accept(t.Context(), b.client, arbiter.AcceptRequest{Volume: name, Accepted: a})
	if err != nil || !r.OK {
		t.Fatalf("%s: accept: %+v, %v", name, r, err)
	}
	if _, err := b.client.Promote(t.Context(), control.PromoteRequest{Volume: name, Chosen: a, Birth: true}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// fill writes a pattern of its own to a volume, while its first sync runs.
func (b *manyBox) fill(name string, seed byte) error {
	dev, ok := b.devices.Load(name)
	if !ok {
		return fmt.Errorf("%s is not shown", name)
	}
	page := buffer.Aligned(64 << 10)
	for off := int64(0); off < 2<<20; off += 512 << 10 {
		for i := range page {
			page[i] = seed ^ byte(off>>16)
		}
		if err := dev.(block.Device).WriteAt(page, off, off == 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return dev.(block.Device).Flush()
}

// TestSixteenVolumes: as many volumes, spread over both boxes, sync and take
// writes at the same time, each of them its own.
func TestSixteenVolumes(t *testing.T) {
	both := manyBoxes(t)
	for _, b := range both {
		b.start(t)
	}
	errs := make(chan error, manyVolumes)
	for v := range manyVolumes {
		b := both[v%2]
		b.reign(t, volumeName(v))
		go func() { errs <- b.fill(volumeName(v), byte(v)) }()
	}
	for range manyVolumes {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, b := range both {
		b.untilAll(t)
	}
	for _, b := range both {
		b.stop()
	}
	for v := range manyVolumes {
		equalReplicas(t, both, volumeName(v))
	}
}

// untilAll waits until every volume that is Primary here is ready to grow.
func (b *manyBox) untilAll(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Second)
	defer cancel()
	states, err := b.client.State(ctx)
	for known := (control.Changes{}); err == nil && !allReady(states); {
		if known, err = b.client.Watch(ctx, known.Run, known.Version, time.Second); err == nil {
			states, err = b.client.State(ctx)
		}
	}
	if err != nil {
		t.Fatalf("%s: not all volumes got in sync: %v", b.cfg.Node, err)
	}
}

func allReady(states []control.VolumeState) bool {
	for _, s := range states {
		if s.Role == control.Primary && !s.ReadyToGrow {
			return false
		}
	}
	return true
}

// equalReplicas compares the data areas of both backing files.
func equalReplicas(t *testing.T, both [2]*manyBox, name string) {
	t.Helper()
	const data = 14 << 20 // in front of any metadata
	var side [2][]byte
	for i, b := range both {
		d, err := disk.Open(b.cfg.Volume(name).Device)
		if err != nil {
			t.Fatal(err)
		}
		side[i] = buffer.Aligned(data)
		err = d.ReadAt(side[i], 0)
		if err := errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(side[0], side[1]) {
		t.Errorf("%s: the replicas differ", name)
	}
	if bytes.Equal(side[0][:4096], make([]byte, 4096)) && name != volumeName(0) {
		t.Errorf("%s: what was written is not there", name)
	}
}
