package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/identity"
)

// remoteTimeout is how long each address of a remote box may take to answer.
const remoteTimeout = 2 * time.Second

// reach returns a client of the daemon to ask, which has answered once. With a
// name it is that box's; without, this box's own, or on a box that is neither
// node nor witness the first data node that answers. Close the client.
func (a *app) reach(ctx context.Context, cfg *config.Config, name string) (*api.Client, error) {
	own := cfg.SelfIndex() >= 0 || cfg.IsWitness()
	if own && (name == "" || name == cfg.Node) {
		return a.reachLocal(ctx, cfg)
	}
	names := []string{name}
	if name == "" {
		names = cfg.NodeNames()
	} else if cfg.NodeIndex(name) < 0 && name != cfg.Witness.Name {
		return nil, usagef("there is no box %q; the configuration has %s", name, strings.Join(append(cfg.NodeNames(), cfg.Witness.Name), ", "))
	}
	id, err := identity.Load(cfg.Keys)
	if err != nil {
		return nil, err
	}
	if id.Cluster != cfg.Cluster {
		return nil, fmt.Errorf("the keys in %s are of cluster %q, the configuration is of %q: %w", cfg.Keys, id.Cluster, cfg.Cluster, identity.ErrWrongCluster)
	}
	return reachRemote(ctx, cfg, id, names)
}

func (a *app) reachLocal(ctx context.Context, cfg *config.Config) (*api.Client, error) {
	socket, daemon := cfg.AgentSocket(), "gemel agent"
	if cfg.IsWitness() {
		socket, daemon = cfg.WitnessSocket(), "gemel witness"
	}
	c := api.NewUnixClient(socket)
	_, err := c.Status(ctx)
	if errors.Is(err, api.ErrUnreachable) {
		c.Close()
		return nil, &exitError{ExitUnreachable, fmt.Errorf(
			"`%s` does not answer on this box (%w).\nStart it with `%s`, as root; its own log says why it ended", daemon, err, daemon)}
	}
	return c, nil // anything else the command itself will hear
}

// reachRemote tries every address of every named box in turn.
func reachRemote(ctx context.Context, cfg *config.Config, id *identity.Identity, names []string) (*api.Client, error) {
	var tried []error
	for _, name := range names {
		for _, t := range targets(cfg, name) {
			t.TLS = id.ClientTLS(name)
			c := api.NewClient(t)
			_, err := c.Status(ctx)
			if !errors.Is(err, api.ErrUnreachable) {
				return c, nil
			}
			c.Close()
			tried = append(tried, fmt.Errorf("%s: %w", name, err))
		}
	}
	return nil, &exitError{ExitUnreachable, fmt.Errorf("no box answers; is `gemel agent` running there?\n%w", errors.Join(tried...))}
}

// targets lists the addresses of a box; between nodes each link is called from its own end.
func targets(cfg *config.Config, name string) []api.Target {
	port := strconv.Itoa(cfg.Ports.API)
	at := func(address, local string) api.Target {
		return api.Target{Address: net.JoinHostPort(address, port), Local: local, Timeout: remoteTimeout}
	}
	i := cfg.NodeIndex(name)
	if i < 0 {
		return []api.Target{at(cfg.Witness.Address, "")}
	}
	var all []api.Target
	for _, l := range cfg.Nodes[i].Links {
		local := ""
		if self := cfg.Self(); self != nil && i != cfg.SelfIndex() {
			if end := self.Link(l.Name); end != nil {
				local = end.Address
			}
		}
		all = append(all, at(l.Address, local))
	}
	return all
}

// pickVolume returns the volume that a command means: the named one, or the only one.
func pickVolume(cfg *config.Config, args []string) (string, error) {
	var names []string
	for _, v := range cfg.Volumes {
		names = append(names, v.Name)
	}
	switch {
	case len(args) == 1 && cfg.Volume(args[0]) == nil:
		return "", usagef("there is no volume %q; the configuration has: %s", args[0], strings.Join(names, ", "))
	case len(args) == 1:
		return args[0], nil
	case len(names) == 1:
		return names[0], nil
	case len(names) == 0:
		return "", usagef("the configuration has no volume; add one to %s", cfg.Path())
	}
	return "", usagef("say which volume: %s", strings.Join(names, ", "))
}

// volumeOf finds a volume in a status.
func volumeOf(s *api.Status, name string) *api.Volume {
	for i := range s.Volumes {
		if s.Volumes[i].Name == name {
			return &s.Volumes[i]
		}
	}
	return nil
}
