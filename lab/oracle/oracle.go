// Package oracle says what must be true of a running lab: one Primary, one holder
// of the cluster's address, services exactly once, acknowledged records present,
// replicas identical, and nothing leaked on the host.
//
// It looks and judges; it makes no trouble and mends nothing. Every verdict is an
// error that says what was found where.
package oracle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gemel/lab/cluster"
	"gemel/node/api"
	"gemel/node/replicator/control"
)

// ErrBroken says that something that must hold does not.
var ErrBroken = errors.New("broken promise")

// askLimit bounds one question to one box.
const askLimit = 10 * time.Second

// Servers are the two boxes that hold the data.
var Servers = []string{"server1", "server2"}

// Oracle judges one volume of one lab.
type Oracle struct {
	lab    *cluster.Cluster
	volume string
}

// New returns the oracle for a volume of an open lab.
func New(lab *cluster.Cluster, volume string) *Oracle {
	return &Oracle{lab: lab, volume: volume}
}

// Node is what one server says of itself and of the volume.
type Node struct {
	api.Status
	Vol api.Volume
}

// Node asks one server. An error means that its agent did not answer; it may be off.
func (o *Oracle) Node(ctx context.Context, name string) (Node, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	said, err := o.lab.Exec(ctx, name, "gemel", "status", "--json")
	if err != nil {
		return Node{}, err
	}
	var node Node
	if err := json.Unmarshal([]byte(said.Stdout), &node.Status); err != nil {
		return Node{}, fmt.Errorf("status of %s (exit code %d, %s): %w", name, said.Code, strings.TrimSpace(said.Stderr), err)
	}
	for _, vol := range node.Volumes {
		if vol.Name == o.volume {
			node.Vol = vol
			return node, nil
		}
	}
	return Node{}, fmt.Errorf("status of %s: it does not know volume %s", name, o.volume)
}

// Primary returns the one server whose agent serves, by both servers' own words.
// A server that is off or silent counts as none; two Primaries are ErrBroken.
func (o *Oracle) Primary(ctx context.Context) (string, error) {
	var primaries, silent []string
	for _, name := range Servers {
		node, err := o.Node(ctx, name)
		switch {
		case err != nil:
			silent = append(silent, fmt.Sprintf("%s: %v", name, err))
		case node.Vol.Role == control.Primary:
			primaries = append(primaries, name)
		}
	}
	if len(primaries) == 1 {
		return primaries[0], nil
	}
	return "", fmt.Errorf("%w: %d Primaries for %s %v, want one; silent: %q",
		ErrBroken, len(primaries), o.volume, primaries, silent)
}

// Healthy says what is missing to full health: one server serves, both hold every
// write, every link and the witness answer.
func (o *Oracle) Healthy(ctx context.Context) error {
	primary, err := o.Primary(ctx)
	if err != nil {
		return err
	}
	for _, name := range Servers {
		node, err := o.Node(ctx, name)
		if err != nil {
			return err
		}
		if missing := missing(&node, name == primary); len(missing) > 0 {
			return fmt.Errorf("%s is not healthy: %s", name, strings.Join(missing, "; "))
		}
	}
	return nil
}

// missing lists what a server lacks for full health.
func missing(n *Node, primary bool) []string {
	var all []string
	want := func(ok bool, format string, args ...any) {
		if !ok {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	v := &n.Vol
	want(n.ReplicatorProblem == "", "%s", n.ReplicatorProblem)
	want(v.Problem == "", "%s", v.Problem)
	want(n.Peer.Alive, "%s is not heard", n.Peer.Name)
	want(n.Witness.Reachable || n.Witness.Name == "", "the witness does not answer")
	want(v.Arbiter.Differs == "", "its third voter is %s: %s", v.Arbiter.Recorded, v.Arbiter.Differs)
	for _, link := range n.Links {
		want(link.Up && link.Carrier, "link %s: up %v, carrier %v", link.Name, link.Up, link.Carrier)
	}
	want(v.Connection == control.Connected, "connection %s %s", v.Connection, v.ConnectionReason)
	want(v.Disk == control.UpToDate, "disk is %s", v.Disk)
	want(v.Resync == nil, "resync runs")
	want(v.Frozen == "", "frozen: %s", v.Frozen)
	if primary {
		want(len(v.InSyncBy) == 2, "in sync by %v", v.InSyncBy)
		want(v.OutOfSync == 0, "%d bytes out of sync", v.OutOfSync)
		want(v.Phase == "serving", "phase is %q", v.Phase)
		all = append(all, missingHere(v)...)
	}
	return all
}

// missingHere lists what a Primary lacks of all that moves with the volume.
func missingHere(v *api.Volume) []string {
	var all []string
	if v.Mount == "" {
		all = append(all, "not mounted")
	}
	for _, held := range v.Addresses {
		if !held.Held {
			all = append(all, "does not hold "+held.Address)
		}
	}
	for _, service := range v.Services {
		if service.State != "running" {
			all = append(all, "service "+service.Name+" is "+service.State)
		}
	}
	return all
}
