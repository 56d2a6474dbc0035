// Package replicator is the data plane's process, `gemel replicator`: it opens
// the configured volumes, shows them to the kernel while they are Primary, and
// serves the control socket. It decides nothing about roles: the agent asks,
// the volumes refuse or obey. Its mounts are seen by nobody else. It forks once,
// before it serves anything: the keeper, which lives on when it is killed.
//
// A volume that cannot be used is told in the state with the reason and the
// next step; the others go on without it.
package replicator

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gemel/node/arbiter"
	"gemel/node/config"
	"gemel/node/identity"
	"gemel/node/replicator/control"
	"gemel/node/replicator/link"
	"gemel/node/replicator/vigil"
	"gemel/node/replicator/volume"
)

// Delays of the process itself.
const (
	retryEvery  = 5 * time.Second // a device that was missing or in use
	leaveClean  = 5 * time.Second // for a Primary at the end, before it lets go
	detachLimit = 10 * time.Second
	// waitLimit is how long a device that an earlier process left may wait. The
	// agent decides much sooner; this is for a box whose agent is gone.
	waitLimit = 2 * time.Minute
)

// Run is the daemon. It returns nil after ctx ended and everything was let go
// in order, and an error when it could not start. It first prepares the process,
// which may start the program anew in a mount namespace of its own.
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	if err := enterNamespace(cfg, log); err != nil {
		return err
	}
	if k := startKeeper(cfg, log); k != nil {
		defer k.Close()
	}
	lockMemory(log)
	return serve(ctx, cfg, log, exportWith(cfg, log))
}

// daemon is one running data plane.
type daemon struct {
	cfg      *config.Config
	log      *slog.Logger
	node     arbiter.NodeID
	keys     *identity.Identity
	listener *link.Listener // nil on the node that dials
	export   func(name string) volume.Exporter
	slots    []*slot      // one per configured volume, in its order
	prober   *link.Prober // of the sessions of all volumes
	vigil    *vigil.Vigil // while any of them has requests

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change of state
}

var _ control.Handler = (*daemon)(nil)

// serve runs the daemon in a process that is prepared.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger, export func(string) volume.Exporter) error {
	d, err := start(cfg, log, export)
	if err != nil {
		return err
	}
	socket, err := d.listenControl()
	if err != nil {
		d.stop()
		return err
	}
	beside, end := context.WithCancel(ctx)
	var loops sync.WaitGroup
	loops.Go(func() { d.retry(beside) })
	loops.Go(func() { d.keepTurns(beside) })
	loops.Go(func() { d.guardAddresses(beside) })
	log.Info("the replicator is up", "node", cfg.Node, "volumes", len(d.slots), "socket", cfg.ReplicatorSocket())
	err = control.Serve(ctx, socket, d)
	end()
	loops.Wait()
	log.Info("the replicator stops")
	d.stop()
	return err
}

// start opens the keys, the road to the peer and the volumes.
func start(cfg *config.Config, log *slog.Logger, export func(string) volume.Exporter) (*daemon, error) {
	self := cfg.SelfIndex()
	if self < 0 || cfg.Peer() == nil {
		return nil, fmt.Errorf("start the replicator: %q is not one of the two data nodes of the configuration", cfg.Node)
	}
	keys, err := identity.Load(cfg.Keys)
	if err != nil {
		return nil, fmt.Errorf("start the replicator: %w", err)
	}
	if err := keys.Check(cfg.Cluster, identity.RoleNode, cfg.Node); err != nil {
		return nil, fmt.Errorf("start the replicator: %w", err)
	}
	if cfg.Replication.Plain() {
		log.Warn("block data goes over the links without encryption: whoever can reach them can read and change the volumes",
			"key", "replication.encryption")
	}
	d := &daemon{cfg: cfg, log: log, node: arbiter.NodeID(self), keys: keys, export: export, prober: link.NewProber(), changed: make(chan struct{})}
	if d.node == 1 { // node 0 dials, see package link
		if d.listener, err = d.listen(); err != nil {
			return nil, fmt.Errorf("start the replicator: %w", err)
		}
	}
	d.vigil = vigil.New()
	for i := range cfg.Volumes {
		d.slots = append(d.slots, newSlot(d, &cfg.Volumes[i]))
	}
	for _, s := range d.slots {
		s.start()
	}
	return d, nil
}

// listen waits for the peer on every replication link.
func (d *daemon) listen() (*link.Listener, error) {
	var at []link.Address
	for _, name := range d.cfg.ReplicationLinks() {
		address, err := linkAddress(d.cfg.Self(), name)
		if err != nil {
			return nil, err
		}
		at = append(at, link.Address{Link: name, At: netip.AddrPortFrom(address, d.port())})
	}
	return link.Listen(link.Options{
		Addresses: at, TLS: d.keys.ServerTLS(identity.Nodes(d.cfg.Peer().Name)),
		Cluster: d.cfg.Cluster, Node: d.node, PeerTimeout: d.cfg.Replication.PeerTimeout,
		PathTimeout: d.cfg.Replication.PathTimeout, Plain: d.cfg.Replication.Plain(),
		Refused: func(remote net.Addr, err error) {
			d.log.Warn("a replication connection was refused", "from", remote.String(), "reason", err)
		},
	})
}

// dialer knows every way to the peer, in the configured order.
func (d *daemon) dialer() (*link.Dialer, error) {
	r := &d.cfg.Replication
	dialer := &link.Dialer{TLS: d.keys.ClientTLS(d.cfg.Peer().Name), PeerTimeout: r.PeerTimeout,
		PathTimeout: r.PathTimeout, HoldDown: r.ReturnAfter, Plain: r.Plain(), Prober: d.prober}
	for _, name := range d.cfg.ReplicationLinks() {
		local, err := linkAddress(d.cfg.Self(), name)
		if err != nil {
			return nil, err
		}
		remote, err := linkAddress(d.cfg.Peer(), name)
		if err != nil {
			return nil, err
		}
		dialer.Paths = append(dialer.Paths, link.Path{Name: name, Local: local, Remote: netip.AddrPortFrom(remote, d.port())})
	}
	return dialer, nil
}

func (d *daemon) port() uint16 { return uint16(d.cfg.Ports.Replication) } //nolint:gosec // checked by config

func linkAddress(n *config.Node, name string) (netip.Addr, error) {
	l := n.Link(name)
	if l == nil {
		return netip.Addr{}, fmt.Errorf("node %s has no link %q; see replication.links in the configuration", n.Name, name)
	}
	address, err := netip.ParseAddr(l.Address)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("link %s of node %s: %w", name, n.Name, err)
	}
	return address, nil
}

func (d *daemon) listenControl() (net.Listener, error) {
	path := d.cfg.ReplicatorSocket()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the socket itself is private
		return nil, fmt.Errorf("start the replicator: %w", err)
	}
	l, err := control.Listen(path)
	if err != nil {
		return nil, fmt.Errorf("start the replicator: %w", err)
	}
	return l, nil
}

// retry tries again to start volumes whose device was missing or in use.
func (d *daemon) retry(ctx context.Context) {
	t := time.NewTicker(retryEvery)
	defer t.Stop()
	limit := time.NewTimer(waitLimit)
	defer limit.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-limit.C:
			for _, s := range d.slots {
				s.giveUpWaiting()
			}
		case <-t.C:
		}
		for _, s := range d.slots {
			s.again()
		}
	}
}

// stop lets every volume go, side by side, then the road to the peer.
func (d *daemon) stop() {
	var all sync.WaitGroup
	for _, s := range d.slots {
		all.Go(s.stop)
	}
	all.Wait()
	if d.listener != nil {
		d.listener.Close()
	}
	d.vigil.Close()
}

// touch wakes every watcher.
func (d *daemon) touch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
}

func randomSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}
