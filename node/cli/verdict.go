package cli

import (
	"fmt"
	"strings"

	"gemel/node/api"
	"gemel/node/replicator/control"
)

// grade is how bad things are; a higher one is worse.
type grade int

const (
	healthy grade = iota
	degraded
	stopped
)

func (g grade) String() string { return [...]string{"HEALTHY", "DEGRADED", "NOT SERVING"}[g] }

// verdict is one look at a status: how bad, and what in words.
type verdict struct {
	grade grade
	words []string
}

func (v *verdict) add(g grade, format string, args ...any) {
	v.grade = max(v.grade, g)
	v.words = append(v.words, fmt.Sprintf(format, args...))
}

// judge looks for everything that is not as it should be, worst first.
func judge(s *api.Status) verdict {
	v := &verdict{}
	if s.ReplicatorProblem != "" {
		v.add(degraded, "%s", s.ReplicatorProblem)
	}
	judgeModes(v, s)
	for i := range s.Volumes {
		judgeVolume(v, s, &s.Volumes[i])
	}
	if len(s.Volumes) == 0 {
		v.add(degraded, "no volume is configured")
	}
	if !s.Peer.Alive {
		v.add(degraded, "%s is not heard", s.Peer.Name)
	}
	for _, l := range s.Links {
		switch {
		case !l.Carrier:
			v.add(degraded, "link %s has no cable here", l.Name)
		case !l.Up && s.Peer.Alive:
			v.add(degraded, "link %s is silent", l.Name)
		}
	}
	if s.Witness.Name == "" {
		judgeAlone(v, s)
	} else if !s.Witness.Reachable {
		v.add(degraded, "%s does not answer", s.Witness.Words())
	}
	judgeFencing(v, s.Fencing)
	judgeWatchdog(v, s)
	judgeArbiter(v, s)
	return *v
}

func judgeVolume(v *verdict, s *api.Status, vol *api.Volume) {
	primary := primaryOf(s, vol)
	split := strings.Contains(strings.ToLower(vol.ConnectionReason), "split")
	switch {
	case primary == "" && s.ReplicatorProblem != "":
		v.add(stopped, "no node is known to be Primary for %s", vol.Name)
	case primary == "":
		v.add(stopped, "no node is Primary for %s", vol.Name)
	case vol.Frozen != "":
		v.add(stopped, "%s is Primary for %s, but its I/O is held", primary, vol.Name)
	case len(vol.InSyncBy) == 2 && vol.Connection == control.Connected:
		v.add(healthy, "%s serves %s, both nodes hold every write", primary, vol.Name)
	default:
		v.add(healthy, "%s serves %s", primary, vol.Name)
	}
	switch {
	case vol.Problem != "" && s.ReplicatorProblem == "":
		v.add(degraded, "%s cannot be used on %s", vol.Name, s.Node)
	case vol.Resync != nil:
		v.add(degraded, "%s is being synchronised", vol.Name)
	case split:
		v.add(degraded, "the two sides of %s went apart (split brain)", vol.Name)
	case vol.Connection == control.StandAlone:
		v.add(degraded, "%s is not replicated and will not be by itself", vol.Name)
	case vol.Connection != control.Connected && s.Peer.Alive && s.ReplicatorProblem == "":
		v.add(degraded, "%s is not replicated now", vol.Name)
	case vol.Connection == control.Connected && len(vol.InSyncBy) == 1:
		v.add(degraded, "only %s holds every write of %s", vol.InSyncBy[0], vol.Name)
	}
	judgeServices(v, vol)
}

func judgeServices(v *verdict, vol *api.Volume) {
	if vol.Impaired != "" {
		v.add(degraded, "%s is served without all of its services", vol.Name)
	}
	for _, r := range vol.Services {
		if r.State == "failed" {
			v.add(degraded, "service %s failed", r.Name)
		}
		if r.Warning != "" {
			v.add(degraded, "service %s: %s", r.Name, r.Warning)
		}
	}
}

// primaryOf names the node that is Primary as far as known; "" when none is.
func primaryOf(s *api.Status, vol *api.Volume) string {
	switch {
	case vol.Role == control.Primary:
		return s.Node
	case vol.PeerRole == control.Primary:
		return s.Peer.Name
	}
	return ""
}
