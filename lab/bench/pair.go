package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gemel/lab/loopdev"
	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/replicator/control"
)

const (
	volumeName  = "data"
	plainPair   = "plain"
	witnessName = "witness"
)

var nodeNames = [2]string{"server1", "server2"}

// birthWait bounds the time until a new volume has its first Primary.
const birthWait = time.Minute

// pair is two nodes and a witness, run as plain processes.
type pair struct {
	room      *room
	dir       string
	gemel     string
	frontend  string // of the volume
	primary   int    // number of the node whose device is measured
	daemons   [2][]*daemon
	target    target
	firstSync float64 // MB/s
	syncWork  work    // of the first sync
}

// working measures the processor time of both replicators until end is called.
func (p *pair) working() (end func() work) {
	used := func() [2]float64 {
		return [2]float64{busy(p.daemons[p.primary][:1]), busy(p.daemons[1-p.primary][:1])}
	}
	began, before := time.Now(), used()
	return func() work {
		after := used()
		return work{time.Since(began).Seconds(), [2]float64{after[0] - before[0], after[1] - before[1]}}
	}
}

// newPair makes a new cluster with one volume and waits for its first sync.
func newPair(r *room, w *wiring, gemel, frontend string, size int64) (*pair, error) {
	return newPairIn(r, "pair", w, gemel, frontend, size)
}

// newPairIn makes a cluster beside others: its files are in a directory of its own.
func newPairIn(r *room, name string, w *wiring, gemel, frontend string, size int64) (*pair, error) {
	p := &pair{room: r, dir: filepath.Join(r.dir, name), gemel: gemel, frontend: frontend}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of the %s: %w", name, err)
	}
	images, err := r.makeImages(size, filepath.Join(name, "server1.img"), filepath.Join(name, "server2.img"))
	if err != nil {
		return nil, err
	}
	if err := p.furnish(images); err != nil {
		return nil, err
	}
	if err := p.startAll([2]string{w.a, w.b}, w.witness); err != nil {
		return nil, err
	}
	return p, p.firstReign()
}

// furnish gives every box its keys and its configuration, as an installation would.
func (p *pair) furnish(images []string) error {
	keys := filepath.Join(p.dir, "keys")
	p.room.later(func() error { return os.RemoveAll(keys) })
	err := command(p.room.ctx, p.gemel, "keys", "init", "--dir", keys, "--cluster", "bench",
		"--node", nodeNames[0], "--node", nodeNames[1], "--witness", witnessName)
	if err != nil {
		return err
	}
	for i, box := range []string{nodeNames[0], nodeNames[1], witnessName} {
		home := p.home(box)
		p.room.later(func() error { return os.RemoveAll(home) })
		if err := os.MkdirAll(home, 0o700); err != nil {
			return fmt.Errorf("home of %s: %w", box, err)
		}
		image := images[i%len(images)] // the witness has none, but the same file
		if err := os.WriteFile(p.config(box), []byte(p.configText(box, home, image)), 0o600); err != nil {
			return fmt.Errorf("configuration of %s: %w", box, err)
		}
	}
	return nil
}

func (p *pair) home(box string) string   { return filepath.Join(p.dir, box) }
func (p *pair) config(box string) string { return filepath.Join(p.home(box), "gemel.yaml") }

// argv is a command line of the product on a box.
func (p *pair) argv(box string, args ...string) []string {
	return append([]string{p.gemel, "--config", p.config(box)}, args...)
}

// configText is a configuration with nothing on top of the volume: its device is all that is used.
func (p *pair) configText(box, home, image string) string {
	return fmt.Sprintf(`cluster: bench
node: %s
nodes:
  - name: server1
    links: [{name: private, address: %s}, {name: lan, address: %s}]
  - name: server2
    links: [{name: private, address: %s}, {name: lan, address: %s}]
witness: {name: %s, address: %s}
keys: %s
state-dir: %s/state
run-dir: %s/run
device-dir: %s/dev
replication: {links: [private], encryption: %s}
volumes:
  - name: %s
    device: %s
    frontend: %s
`, box, addressA, lanA, addressB, lanB, witnessName, lanWitness,
		filepath.Join(p.dir, "keys", box), home, home, home, p.encryption(), volumeName, image, p.frontend)
}

// startAll starts the daemons and makes the replicas. They are stopped in reverse: the peer before the Primary.
func (p *pair) startAll(namespaces [2]string, witnessNS string) error {
	if _, err := p.room.start(witnessNS, p.daemonName(witnessName), p.argv(witnessName, "witness")...); err != nil {
		return err
	}
	for i, box := range nodeNames {
		for _, role := range []string{"replicator", "agent"} {
			d, err := p.room.start(namespaces[i], p.daemonName(box+"-"+role), p.argv(box, role)...)
			if err != nil {
				return err
			}
			p.daemons[i] = append(p.daemons[i], d)
		}
	}
	for i, box := range nodeNames {
		err := p.room.await("the volume's replica on "+box, 15*time.Second, 200*time.Millisecond, p.daemons[i],
			func() (bool, error) {
				_, err := p.command(box, "volume", "create", volumeName)
				return err == nil, err
			})
		if err != nil {
			return err
		}
	}
	return nil
}

// daemonName tells the daemons of several pairs apart.
func (p *pair) daemonName(of string) string { return filepath.Base(p.dir) + "-" + of }

// replicators returns the data plane of both nodes.
func (p *pair) replicators() []*daemon { return []*daemon{p.daemons[0][0], p.daemons[1][0]} }

// command runs a command of the product as an operator on that box would.
func (p *pair) command(box string, args ...string) ([]byte, error) {
	argv := p.argv(box, args...)
	return output(p.room.ctx, argv[0], argv[1:]...)
}

// volume asks a node for its view of the volume.
func (p *pair) volume(box string) (api.Volume, error) {
	out, err := p.command(box, "status", "--json")
	var status api.Status
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err != nil {
		return api.Volume{}, fmt.Errorf("status of %s: %w", box, err)
	}
	for _, v := range status.Volumes {
		if v.Name == volumeName {
			return v, nil
		}
	}
	return api.Volume{}, fmt.Errorf("status of %s: there is no volume %s: %s", box, volumeName, status.ReplicatorProblem)
}

// firstReign waits until one node is Primary with a device and the other holds everything.
func (p *pair) firstReign() error {
	if err := p.room.await("a Primary", birthWait, 100*time.Millisecond, p.all(), p.findPrimary); err != nil {
		return err
	}
	if p.target.device != "" {
		p.guardDevice()
	}
	return p.watchSync()
}

// findPrimary looks for the node that shows a device; its error says what each node waits for.
func (p *pair) findPrimary() (bool, error) {
	var waiting []error
	for i, box := range nodeNames {
		v, err := p.volume(box)
		if err == nil && v.Device != "" {
			p.primary, p.target = i, p.targetOf(v.Device)
			return true, nil
		}
		if err == nil {
			err = fmt.Errorf("%s is %s, %s, %s: %s %s", box, v.Role, v.Disk, v.Phase, v.Refusal, v.Problem)
		}
		waiting = append(waiting, err)
	}
	return false, errors.Join(waiting...)
}

// encryption is plain for a pair whose name begins so: a peer without TLS is met on
// its own terms too.
func (p *pair) encryption() string {
	if strings.HasPrefix(filepath.Base(p.dir), plainPair) {
		return "plain"
	}
	return "tls"
}

func (p *pair) targetOf(device string) target {
	if p.frontend == config.FrontendNBDSocket {
		return target{uri: "nbd+unix:///" + volumeName + "?socket=" + device}
	}
	return target{device: device}
}

func (p *pair) all() []*daemon { return append(append([]*daemon{}, p.daemons[0]...), p.daemons[1]...) }

// watchSync takes the rate of the first sync from the replicator itself, whose
// word is newer than the agent's, and waits until both nodes are in the set.
func (p *pair) watchSync() error {
	self := nodeNames[p.primary]
	replica := control.NewClient(filepath.Join(p.home(self), "run", "replicator.sock"))
	defer replica.Close()
	var began time.Time
	var before int64
	var worked func() work
	err := p.room.await("the first sync", 10*time.Minute, 10*time.Millisecond, p.all(), func() (bool, error) {
		states, err := replica.State(p.room.ctx)
		if err != nil || len(states) != 1 {
			return false, fmt.Errorf("replicator of %s: %d volumes: %w", self, len(states), err)
		}
		v, now := states[0], time.Now()
		if began.IsZero() && v.Resync != nil {
			began, before, worked = now, v.Counters.Resynced, p.working()
		}
		if v.PeerDisk == control.UpToDate && v.Resync == nil && !began.IsZero() {
			p.syncWork = worked()
			p.firstSync = float64(v.Counters.Resynced-before) / 1e6 / now.Sub(began).Seconds()
			return true, nil
		}
		return v.PeerDisk == control.UpToDate, fmt.Errorf("%s, peer %s, out of sync: %d; %s %s",
			v.Connection, v.PeerDisk, v.OutOfSync, v.ConnectionReason, v.Frozen)
	})
	if err != nil {
		return err
	}
	_, err = p.command(self, "volume", "wait-sync", volumeName, "--timeout", "30s")
	return err
}

// guardDevice gives the loop device back should a killed replicator leave it.
func (p *pair) guardDevice() {
	var backing string
	if at, err := find(p.target.device); err == nil && at != nil {
		backing = at.Backing
	}
	guard := func() error {
		left, err := find(p.target.device)
		if err != nil || left == nil || left.Backing != backing {
			return err
		}
		return errors.Join(fmt.Errorf("%s was left attached", left.Path), loopdev.Detach(left.Path))
	}
	// Before the daemons in the list, so that it runs after they were stopped.
	mark := len(p.room.undo) - 2*len(p.daemons[0]) - 1
	p.room.undo = append(p.room.undo[:mark:mark], append([]func() error{guard}, p.room.undo[mark:]...)...)
}

// find returns the attached loop device that path, perhaps a link, leads to.
func find(path string) (*loopdev.Device, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	devices, listErr := loopdev.List()
	if err := errors.Join(err, listErr); err != nil {
		return nil, err
	}
	for _, d := range devices {
		if d.Path == real {
			return &d, nil
		}
	}
	return nil, nil
}

// losePeer stops the other node and waits until the volume goes on without it.
func (p *pair) losePeer() error {
	for _, d := range p.daemons[1-p.primary] {
		if err := d.stop(); err != nil {
			return err
		}
	}
	self := nodeNames[p.primary]
	return p.room.await(self+" to go on alone", birthWait, 100*time.Millisecond, p.daemons[p.primary], func() (bool, error) {
		v, err := p.volume(self)
		if err != nil {
			return false, err
		}
		return strings.Join(v.InSyncBy, ",") == self && v.Frozen == "" && v.Device != "",
			fmt.Errorf("in sync: %v; %s %s", v.InSyncBy, v.Phase, v.Frozen)
	})
}
