package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/arbiter/etcd"
	"gemel/node/config"
	"gemel/node/event"
	"gemel/node/failover"
	"gemel/node/identity"
	"gemel/node/replicator"
	"gemel/node/replicator/control"
	"gemel/node/vip"
)

const (
	// fenceSlack is what a shot may take beside its devices: noticing, waiting, telling.
	fenceSlack     = 5 * time.Second
	eventsInMemory = 2000
	eventFileLimit = 16 << 20 // bytes
	// carrierAgain is how often links without an interface are looked for, and
	// how long to wait after the kernel could not be asked.
	carrierAgain = 3 * time.Second
)

// Run is Program.Run with the version that the Go tool wrote into the binary.
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	return Program{Version: builtVersion()}.Run(ctx, cfg, log)
}

// Program is the agent as a daemon.
type Program struct {
	Version string // shown in the status
}

// Run is the agent of this node: it runs until ctx ends, lets every volume go
// cleanly and returns nil; or it returns why it could not start or go on.
func (p Program) Run(ctx context.Context, cfg *config.Config, log *slog.Logger) (err error) {
	if cfg.SelfIndex() < 0 || cfg.Peer() == nil {
		return fmt.Errorf("start the agent: %q is none of the two data nodes %v; set node in %s",
			cfg.Node, cfg.NodeNames(), cfg.Path())
	}
	id, err := identity.Load(cfg.Keys)
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	if err := id.Check(cfg.Cluster, identity.RoleNode, cfg.Node); err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	history, err := openHistory(cfg)
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	defer func() { err = errors.Join(err, history.Close()) }()
	replica := control.NewClient(cfg.ReplicatorSocket())
	defer replica.Close()
	w := &wiring{cfg: cfg, log: log, id: id, history: history, boot: bootID()}
	defer w.close()
	third, err := w.dialArbiter()
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	all := w.parts(replica)
	all.witness = third
	if all.fence, err = fenceDevices(cfg.Peer()); err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	a, err := build(all)
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	w.agent, a.version = a, p.Version
	past, _ := history.Since(0)
	a.recallTimes(past)
	return a.serve(ctx)
}

func openHistory(cfg *config.Config) (*event.History, error) {
	file, err := event.OpenFile(filepath.Join(cfg.StateDir, event.FileName), eventFileLimit)
	if err != nil {
		return nil, err
	}
	return event.NewHistory(eventsInMemory, file)
}

// wiring ties the real packages together.
type wiring struct {
	cfg      *config.Config
	log      *slog.Logger
	id       *identity.Identity
	history  *event.History
	agent    *Agent
	vips     []*vips
	services []services
	etcd     *etcd.Voter // nil: the third voter is none or a witness
	boot     string      // this start of the agent
}

func (w *wiring) parts(replica *control.Client) parts {
	return parts{config: w.cfg, log: w.log, clock: bootClock{}, boot: w.boot, replica: replicaClient{replica},
		peers: dialPeers(w.cfg, w.id), keep: []History{w.history},
		volume: w.volume, interfaceOf: interfaceOf, connected: established,
		beside: []func(context.Context, *Agent) error{w.serveAPI, w.watchCarrier, w.checkServices, w.hearClients}}
}

// bootID names this start of the agent.
func bootID() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails: it ends the process rather than return an error
	return hex.EncodeToString(raw)
}

func (w *wiring) volume(vol config.Volume, failed func(name, reason string)) (volumeParts, error) {
	addresses, err := newVIPs(vol, func(c vip.Conflict) {
		if o, err := w.agent.owner(vol.Name); err == nil {
			o.conflict(c.Address.String(), c.MAC.String())
		}
	})
	if err != nil {
		return volumeParts{}, err
	}
	list, err := newServices(w.cfg, vol, failed, func(ctx context.Context) error { return w.agent.modes.whileHeld(ctx) },
		func(kind, text string) { w.agent.diary.note(vol.Name, kind, text, "") })
	if err != nil {
		return volumeParts{}, err
	}
	w.vips, w.services = append(w.vips, addresses), append(w.services, list)
	return volumeParts{machine: failover.New(machineConfig(w.cfg, w.cfg.SelfIndex(), w.boot, vol)), addresses: addresses, services: list,
		mount:   fileSystem{vol.Mount},
		discard: func(ctx context.Context) error { return replicator.DiscardLeft(ctx, w.cfg, vol.Name) }}, nil
}

// dialArbiter returns the third voter; nil when there is none.
func (w *wiring) dialArbiter() (Witness, error) {
	if !w.cfg.HasEtcd() {
		return dialWitness(w.cfg, w.id), nil
	}
	voter, err := dialEtcd(w.cfg)
	if err != nil {
		return nil, err
	}
	w.etcd = voter
	return etcdVoter{voter}, nil
}

// machineConfig is what the machine of one node needs to know of a volume; boot is
// the start of its agent.
func machineConfig(cfg *config.Config, node int, boot string, vol config.Volume) failover.Config {
	t, devices := cfg.Timing, time.Duration(len(cfg.Nodes[1-node].Proofs()))
	return failover.Config{Self: arbiter.NodeID(node), //nolint:gosec // 0 or 1
		SelfName: cfg.Nodes[node].Name, PeerName: cfg.Nodes[1-node].Name, WitnessName: cfg.ArbiterName(),
		Third: arbiter.ThirdNamed(cfg.Arbiter()), Boot: boot, Fences: devices > 0, FenceDelay: cfg.Fencing.Delay,
		FenceTime: devices*cfg.Fencing.Timeout + fenceSlack, StandIn: cfg.Fencing.StandIn,
		Volume: vol.Name, Links: cfg.LinkNames(),
		Heartbeat: t.Heartbeat, MinorBeats: t.MinorBeats, Major: t.Major, Lease: t.Lease, Renew: t.Renew,
		BootWait: t.BootWait, StepTimeout: t.StepTimeout, TakeoverUnderA: vol.TakeoverUnderA == config.TakeoverAllow,
		Prefer: preference(cfg, node, vol), FailBack: vol.FailBack == config.FailBackAuto,
		StayDiskless:   vol.OnDiskFailure == config.DiskFailureStay,
		CongestionFill: vol.CongestionFill}
}

func preference(cfg *config.Config, node int, vol config.Volume) failover.Preference {
	switch vol.Prefer {
	case "":
		return failover.PreferFirst
	case cfg.Nodes[node].Name:
		return failover.PreferSelf
	default:
		return failover.PreferPeer
	}
}

// serveAPI answers on every address of the box: links come and go, and who may
// ask is a matter of certificates.
func (w *wiring) serveAPI(ctx context.Context, a *Agent) error {
	server := api.NewServer(handler{a, w.history}, api.Options{Identity: w.id, Nodes: w.cfg.NodeNames(), Log: w.log})
	return server.Run(ctx, net.JoinHostPort("", strconv.Itoa(w.cfg.Ports.API)), w.cfg.AgentSocket())
}

// watchCarrier follows the cables of links and addresses.
func (w *wiring) watchCarrier(ctx context.Context, a *Agent) error {
	w.tune(a)
	for ctx.Err() == nil {
		names, complete := a.interfaces()
		watch, cancel := ctx, context.CancelFunc(func() {})
		if !complete {
			watch, cancel = context.WithTimeout(ctx, carrierAgain)
		}
		err := vip.Watch(watch, names, a.carrier)
		cancel()
		if err != nil {
			a.diary.note("", "carrier.blind", "The carrier of the interfaces cannot be watched.", err.Error())
			pause(ctx, carrierAgain)
		}
	}
	return nil
}

func (w *wiring) tune(a *Agent) {
	done := map[string]bool{}
	for _, lack := range vip.Lacks() {
		a.diary.note("", "address.kernel", "This kernel lacks something that addresses use; they work without it.", lack)
	}
	for _, vol := range w.cfg.Volumes {
		for _, addr := range vol.Addresses {
			if done[addr.Interface] {
				continue
			}
			done[addr.Interface] = true
			if err := vip.Check(addr.Interface); err != nil {
				a.diary.note(vol.Name, "address.interface", fmt.Sprintf("%s cannot be claimed here as it is.", addr.Address), err.Error())
			}
			if err := vip.Tune(addr.Interface); err != nil {
				a.diary.note(vol.Name, "address.tune", fmt.Sprintf("Interface %s keeps the system's ARP settings.", addr.Interface),
					err.Error())
			}
		}
	}
}

// close ends what the volumes' parts run by themselves.
func (w *wiring) close() {
	if w.etcd != nil {
		_ = w.etcd.Close() // nothing is under way any more
	}
	for _, v := range w.vips {
		v.manager.Close()
	}
	for _, s := range w.services {
		s.release()
	}
}

// interfaceOf names the interface that has the address, or "".
func interfaceOf(address string) string {
	want := net.ParseIP(address)
	nics, err := net.Interfaces()
	if err != nil || want == nil {
		return ""
	}
	for _, nic := range nics {
		addrs, err := nic.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(want) {
				return nic.Name
			}
		}
	}
	return ""
}
