package agent

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/failover"
	"gemel/node/identity"
	"gemel/node/replicator/control"
)

// status is this node's whole view.
func (a *Agent) status() api.Status {
	peer, seen := a.peerView()
	s := api.Status{Version: a.version, Cluster: a.cfg.Cluster, Node: a.cfg.Node, Role: identity.RoleNode,
		Time:   time.Now().UTC(),
		Uptime: time.Since(a.started), Links: a.links.status(seen, a.wall), LastEvent: a.diary.last.Load(),
		Peer: api.PeerStatus{Name: a.cfg.Peer().Name, Alive: peer.Alive, LastSeen: a.wall(peer.LastSeen),
			Minor: peer.Minor, Major: peer.Major, LastMinor: a.wall(peer.LastMinor), LastMajor: a.wall(peer.LastMajor)}}
	s.Maintenance, s.Standby, s.PeerStandby = a.modes.word(), !a.modes.standby().IsZero(), a.peerOnStandby()
	for _, o := range a.owners {
		v := a.volumeStatus(o)
		if o.state.Load() == nil {
			s.ReplicatorProblem = "the replicator does not answer on " + a.cfg.ReplicatorSocket() +
				"; start it with `gemel replicator`"
		}
		s.Volumes = append(s.Volumes, v)
	}
	s.Witness = a.witnessStatus(s.Volumes)
	s.Fencing = a.fencingStatus()
	if a.guard != nil {
		s.Watchdog = a.guard.status()
	}
	return s
}

// peerView is the detector's view; every volume's machine has the same.
func (a *Agent) peerView() (failover.PeerView, map[string]linkSeen) {
	seen := map[string]linkSeen{}
	if len(a.owners) == 0 {
		return failover.PeerView{}, seen
	}
	view := a.owners[0].view.Load()
	for _, l := range view.Peer.Links {
		seen[l.Name] = linkSeen{up: l.Up, missed: l.Missed, minor: l.Minor, lastMinor: l.LastMinor, phi: l.Phi}
	}
	return view.Peer, seen
}

// wall turns a boot time into the time of day; zero stays zero.
func (a *Agent) wall(boot time.Duration) time.Time {
	if boot == 0 {
		return time.Time{}
	}
	return time.Now().Add(boot - a.clock.Boot()).UTC()
}

// peerHeard is when the newest heartbeat of the peer came on any link; zero: none did.
func (a *Agent) peerHeard() time.Time {
	newest := int64(0)
	for _, l := range a.links {
		newest = max(newest, l.lastHeard.Load())
	}
	return a.wall(time.Duration(newest))
}

// peerStart names the start of the peer's agent that was heard last; empty: none was.
func (a *Agent) peerStart() string {
	if a.heart == nil {
		return ""
	}
	return a.heart.peerStart()
}

func (a *Agent) volumeStatus(o *owner) api.Volume {
	view, state, heard := o.view.Load(), o.state.Load(), o.heard.Load()
	v := api.Volume{Phase: view.Phase, Refusal: view.Refusal, Impaired: view.Impaired, PeerRole: control.Unknown,
		Services: o.course.services.State()}
	if state != nil {
		v.VolumeState = *state
	} else {
		v.VolumeState = control.VolumeState{Name: o.name, Role: control.Unknown, Disk: control.Unknown,
			PeerDisk: control.Unknown, Connection: control.Unknown, Problem: "the replicator does not answer"}
	}
	if heard != nil && view.Peer.Alive {
		v.PeerRole = heard.Role
	}
	if view.LeaseUntil != 0 {
		v.Lease = view.LeaseUntil - a.clock.Boot()
	}
	v.Chosen = newer(view.Chosen, v.Chosen) // a Secondary's replica is told of none
	v.InSync = v.Chosen.Set
	v.InSyncBy = a.names(v.InSync)
	if mounted, err := o.course.mount.Mounted(); err == nil && mounted {
		v.Mount = o.vol.Mount.Path
	}
	v.Arbiter = a.arbiterStatus(&view.Arbiter)
	v.Addresses = a.holders(o.course.addresses.Held(), v.PeerRole)
	return v
}

func (a *Agent) names(s arbiter.Set) []string {
	names := []string{}
	for i, n := range a.cfg.Nodes {
		if s.Has(arbiter.NodeID(i)) {
			names = append(names, n.Name)
		}
	}
	return names
}

// holders adds who holds each address, as far as known.
func (a *Agent) holders(held []api.Held, peerRole string) []api.Held {
	for i := range held {
		switch {
		case held[i].Held:
			held[i].Holder = a.cfg.Node
		case peerRole == control.Primary:
			held[i].Holder = a.cfg.Peer().Name
		}
	}
	return held
}

func (a *Agent) witnessStatus(volumes []api.Volume) api.VoterStatus {
	if a.witness == nil {
		return api.VoterStatus{Means: a.aloneMeans(volumes)}
	}
	s := api.VoterStatus{Name: a.cfg.ArbiterName(), Kind: api.ThirdWitness, Reachable: a.witnessUp.Load()}
	if a.cfg.HasEtcd() {
		s.Kind = api.ThirdEtcd
	}
	if ns := a.witnessSeen.Load(); ns != 0 {
		s.LastSeen = time.Unix(0, ns).UTC()
	}
	if s.Reachable {
		return s
	}
	if len(volumes) > 0 && !slices.ContainsFunc(volumes, func(v api.Volume) bool { return v.Arbiter.Recorded != api.NoArbiter }) {
		s.Means = "the pair does without it until it is back; " + a.aloneMeans(volumes)
		return s
	}
	s.Means = "the pair goes on, but the next failure of a node stops the service until " + s.Words() + " is back"
	for _, v := range volumes {
		switch {
		case v.Role != control.Primary && v.PeerRole != control.Primary:
			s.Means = "a node is elected by 2 votes of 3; without this one it needs both nodes"
		case v.Role == control.Primary && len(v.InSyncBy) == 1:
			s.Means = fmt.Sprintf("%s goes on alone; the peer cannot take over until %s or %s is back",
				a.cfg.Node, s.Words(), a.cfg.Node)
		}
	}
	return s
}

// builtVersion is what the binary was built from.
func builtVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}
