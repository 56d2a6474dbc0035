package replicator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot/ballottest"
	"gemel/node/block"
	"gemel/node/config"
	"gemel/node/frontend/frontendtest/proof"
	"gemel/node/replicator/control"
)

const (
	ordealSize   = 72 << 20 // of a replica's device; a file system of 64 MiB fits
	ordealFill   = 16 << 20 // congestion-fill, and so what a take-over under A may lose
	fioSize      = 12 << 20 // of the volume from its start: fio's
	ledgerSize   = 40 << 20 // the Ledger's, behind it
	ledgerWrites = 400      // acknowledged before a replicator is killed
	treeFiles    = 30       // made stable before a replicator is killed
	streams      = 4

	// unheard is for how long a peer that is to lose something hears nothing;
	// nothing depends on how much is written meanwhile.
	unheard = 300 * time.Millisecond
)

// TestResetsUnderLoad kills the replicator of the Primary under load, on every
// way to show a volume that this machine has and under every protocol, and looks
// for what was acknowledged: on the other node, which takes over; on the same one,
// which starts again; and in file systems that were torn away.
func TestResetsUnderLoad(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make devices and namespaces")
	}
	if _, err := exec.LookPath("fio"); err != nil {
		t.Skip("needs fio (package fio)")
	}
	for _, w := range allWays {
		if err := w.usable(); err != nil {
			t.Logf("without %s: %v", w.name, err)
			continue
		}
		for _, p := range []block.Protocol{block.ProtocolA, block.ProtocolB, block.ProtocolC} {
			t.Run(w.name+"-"+p.String(), func(t *testing.T) {
				o := newOrdeal(t, w.name, p)
				o.takeOver()
				o.startAgain()
				if w.name != config.FrontendNBDSocket {
					o.tearAway("ext4", []string{"mkfs.ext4", "-q", "-F"}, []string{"e2fsck", "-f", "-n"})
					o.tearAway("xfs", []string{"mkfs.xfs", "-q", "-f", "--unsupported"}, []string{"xfs_repair", "-n"})
				}
				o.end()
			})
		}
	}
}

// ordeal is a pair of replicators, processes of their own. The test plays agents
// and witness.
type ordeal struct {
	*testing.T
	way      string
	protocol block.Protocol
	node     [2]*process
	primary  int
	reign    arbiter.Accepted
	device   string // as the Primary shows it
	rounds   uint64
}

func newOrdeal(t *testing.T, way string, p block.Protocol) *ordeal {
	o := &ordeal{T: t, way: way, protocol: p}
	both := boxesOf(t, ordealSize, fmt.Sprintf("frontend: %s, protocol: %s, congestion-fill: %d", way, p, ordealFill))
	for i, b := range both {
		o.node[i] = &process{box: b}
		patient(t, b.cfg)
		o.node[i].start(t)
		t.Cleanup(func() { o.node[i].end(t, unix.SIGKILL); o.discard(i) })
		o.node[i].create(t)
	}
	o.reign = arbiter.Accepted{Epoch: arbiter.Epoch(0).NextFor(0), Version: 1, Set: arbiter.Only(0)}
	o.device = o.node[0].promote(t, o.reign, true)
	o.join()
	return o
}

// join takes the other node into the reign and waits until the protocol counts.
func (o *ordeal) join() {
	o.Helper()
	o.reign.Version, o.reign.Set = o.reign.Version+1, arbiter.Both
	grow(o.T, o.node[o.primary], o.node[1-o.primary].box, o.reign)
	o.node[o.primary].until(o.T, "the protocol counts", func(s control.VolumeState) bool {
		return s.ProtocolInUse == o.protocol.String()
	})
}

// together does what the agents would where a busy machine lost the connection for a
// while: it lets the Primary go on alone, and takes the peer in again. It reports
// whether both are in the set; only then is a take-over by the peer right.
func (o *ordeal) together() bool {
	o.Helper()
	p := o.node[o.primary]
	states, err := p.client.State(o.Context())
	switch {
	case err != nil:
		o.Fatal(err)
	case states[0].WantShrink && o.reign.Set == arbiter.Both:
		o.Log("the connection was lost; the Primary goes on alone")
		o.reign.Version, o.reign.Set = o.reign.Version+1, arbiter.Only(arbiter.NodeID(o.primary))
		p.accept(o.T, o.reign)
		if err := p.client.Chosen(o.Context(), control.ChosenRequest{Volume: "data", Chosen: o.reign}); err != nil {
			o.Fatal(err)
		}
	case o.reign.Set != arbiter.Both:
		o.join()
	}
	return o.reign.Set == arbiter.Both
}

// rule makes a node Primary alone: of a new reign, or, on the same node, again of
// the old one.
func (o *ordeal) rule(node int) {
	o.Helper()
	if node != o.primary {
		o.reign.Epoch, o.reign.Version = o.reign.Epoch.NextFor(arbiter.NodeID(node)), 0
	}
	o.primary = node
	o.reign.Version, o.reign.Set = o.reign.Version+1, arbiter.Only(arbiter.NodeID(node))
	o.node[node].until(o.T, "the replica is open", func(s control.VolumeState) bool { return s.Problem == "" })
	o.eventually("the lease of the old Primary is over", func() bool {
		reply, err := ballottest.Prepare(o.Context(), o.node[node].client, arbiter.PrepareRequest{Volume: "data", Epoch: o.reign.Epoch})
		return err == nil && reply.OK
	})
	o.device = o.node[node].promote(o.T, o.reign, false)
}

// reset kills the Primary's replicator; its device ends with errors, as when the
// agent died too and the next one cleans up.
func (o *ordeal) reset() {
	o.Helper()
	o.node[o.primary].end(o.T, unix.SIGKILL)
	o.discard(o.primary)
}

// discard removes what a dead replicator left.
func (o *ordeal) discard(node int) {
	o.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := DiscardLeft(ctx, o.node[node].cfg, "data"); err != nil {
		o.Errorf("remove the device of %s: %v", o.node[node].cfg.Node, err)
	}
}

// load runs f in the background and returns how to wait for its end.
func (o *ordeal) load(f func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return func() error {
		o.Helper()
		select {
		case err := <-done:
			return err
		case <-time.After(3 * time.Minute):
			o.Fatal("a user of the device hangs")
			return nil
		}
	}
}

// crash writes to a ledger until enough was acknowledged, kills the Primary's
// replicator, and waits until every writer has seen an error. A deaf peer hears
// nothing of the last writes and is killed too, so that there is something to lose.
func (o *ordeal) crash(deaf bool) *proof.Ledger {
	o.Helper()
	o.rounds++
	l := proof.NewLedger(fioSize, ledgerSize, o.rounds)
	var waits []func() error
	for i := range streams {
		d := o.open()
		waits = append(waits, o.load(func() error {
			err := l.Stream(d, i, streams, nil)
			return errors.Join(err, ignore(d.Close()))
		}))
	}
	o.eventually("enough is acknowledged by both", func() bool { return o.together() && l.Acked() >= ledgerWrites })
	if deaf {
		peer := o.node[1-o.primary]
		_ = peer.cmd.Process.Signal(unix.SIGSTOP) // it runs
		time.Sleep(unheard)
		peer.end(o.T, unix.SIGKILL)
	}
	o.reset()
	for _, wait := range waits {
		if err := wait(); err == nil {
			o.Error("a writer ended without an error after its device was gone")
		}
	}
	return l
}

func ignore(error) error { return nil }

func (o *ordeal) open() proof.Device {
	o.Helper()
	d, err := proof.Open(o.device, "data")
	if err != nil {
		o.Fatal(err)
	}
	return d
}

// check demands of a ledger what the protocol promises.
func (o *ordeal) check(l *proof.Ledger, mayLose int64) {
	o.Helper()
	d := o.open()
	defer d.Close()
	loss, err := l.Check(d)
	o.Logf("%d writes acknowledged, of %d the end is lost, %d bytes", l.Acked(), loss.Writes, loss.Bytes)
	if err != nil {
		o.Error(err)
	}
	if loss.Bytes > mayLose {
		o.Errorf("%d bytes that were acknowledged are lost, allowed are %d", loss.Bytes, mayLose)
	}
}

// takeOver: what fio wrote and verified is there, and what was acknowledged.
func (o *ordeal) takeOver() {
	fio := proof.Fio{Path: o.device, Name: "data", Size: fioSize, Jobs: 3, Seed: 11}
	if err := fio.Write(o.Context()); err != nil {
		o.Fatal(err)
	}
	weak := o.protocol == block.ProtocolA
	l := o.crash(weak)
	if weak {
		o.node[1-o.primary].start(o.T)
	}
	o.rule(1 - o.primary)
	fio.Path = o.device
	if err := fio.Verify(o.Context()); err != nil {
		o.Error(err)
	}
	var mayLose int64
	if weak {
		mayLose = ordealFill
	}
	o.check(l, mayLose)
	o.node[1-o.primary].start(o.T)
	o.join()
}

// startAgain: the same node has everything, whatever the protocol.
func (o *ordeal) startAgain() {
	l := o.crash(false)
	o.node[o.primary].start(o.T)
	o.rule(o.primary)
	o.check(l, 0)
	o.join()
	o.check(l, 0)
}

// tearAway makes a file system, kills the replicator under its load, and looks
// for it on the other node.
func (o *ordeal) tearAway(kind string, mkfs, fsck []string) {
	if _, err := exec.LookPath(mkfs[0]); err != nil || !knownToKernel(o.T, kind) {
		o.Logf("without %s: the kernel or %s is missing", kind, mkfs[0])
		return
	}
	command(o.T, mkfs[0], append(mkfs[1:], o.device)...)
	dir := o.mount(kind)
	tree, stop := proof.NewTree(dir), make(chan struct{})
	var waits []func() error
	for i := range streams {
		waits = append(waits, o.load(func() error { return tree.Write(i, stop) }))
	}
	// fio beside them, whose end does not matter: it dirties what nobody flushes.
	ctx, cancel := context.WithCancel(o.Context())
	fio := o.load(func() error { return exec.CommandContext(ctx, "fio", fioInside(dir)...).Run() }) //nolint:gosec // a test's own words
	o.eventually("enough files are stable", func() bool { return tree.Stable() >= treeFiles })
	o.reset()
	cancel()
	_ = fio()
	for _, wait := range waits {
		if err := wait(); err == nil {
			o.Error("a writer ended without an error after its device was gone")
		}
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		o.Fatal(err)
	}
	o.rule(1 - o.primary)
	dir = o.mount(kind) // replays the journal
	n, err := tree.Check(dir)
	o.Logf("%s: %d files were stable and are whole", kind, n)
	if err := errors.Join(err, unix.Unmount(dir, 0)); err != nil {
		o.Error(err)
	}
	command(o.T, fsck[0], append(fsck[1:], o.device)...)
	o.node[1-o.primary].start(o.T)
	o.join()
}

func fioInside(dir string) []string {
	return []string{"--name=dirt", "--directory=" + dir, "--rw=randwrite", "--bsrange=1k-64k", "--size=4m", "--numjobs=2",
		"--ioengine=psync", "--time_based", "--runtime=600", "--verify=crc32c", "--do_verify=0", "--verify_state_save=0", "--minimal"}
}

func knownToKernel(t *testing.T, kind string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "\t"+kind+"\n")
}

func (o *ordeal) mount(kind string) string {
	o.Helper()
	dir := filepath.Join(o.TempDir(), "mnt")
	data := ""
	if kind == "xfs" {
		data = "nouuid" // both nodes are on this machine, and the torn one may not have gone yet
	}
	if err := errors.Join(os.Mkdir(dir, 0o700), unix.Mount(o.device, dir, kind, 0, data)); err != nil {
		o.Fatalf("mount %s: %v", o.device, err)
	}
	o.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// end stops both in order; their replicas are the same.
func (o *ordeal) end() {
	if err := o.node[o.primary].client.Demote(o.Context(), control.DemoteRequest{Volume: "data", Clean: true}); err != nil {
		o.Error(err)
	}
	for _, n := range o.node {
		n.end(o.T, unix.SIGTERM)
	}
	same(o.T, o.node[0].cfg.Volumes[0].Device, o.node[1].cfg.Volumes[0].Device)
}

func (o *ordeal) eventually(what string, ok func() bool) {
	o.Helper()
	for end := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			o.Fatalf("waited in vain until %s", what)
		}
	}
}
