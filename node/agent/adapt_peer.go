package agent

import (
	"context"
	"net"
	"strconv"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/config"
	"gemel/node/identity"
)

// peerClient is the peer's agent over one link.
type peerClient struct{ *api.Client }

func (p peerClient) HandOver(ctx context.Context, volume string, epoch arbiter.Epoch) error {
	return p.Client.HandOver(ctx, api.HandOver{Volume: volume, Epoch: epoch})
}

func (p peerClient) Switchover(ctx context.Context, volume string) error {
	return p.Client.Switchover(ctx, api.Order{Volume: volume})
}

// witnessClient is the third voter.
type witnessClient struct{ *api.Client }

func (w witnessClient) Ping(ctx context.Context) error {
	_, err := w.Status(ctx)
	return err
}

// Records returns the witness' registers by volume.
func (w witnessClient) Records(ctx context.Context, _ []string) (map[string]arbiter.Record, error) {
	s, err := w.Status(ctx)
	all := map[string]arbiter.Record{}
	for _, r := range s.Records {
		all[r.Volume] = r.Record
	}
	return all, err
}

// dialPeers makes one client per link, each bound to its own cable.
func dialPeers(cfg *config.Config, id *identity.Identity) map[string]Peer {
	peers := map[string]Peer{}
	for _, l := range cfg.Self().Links {
		if remote := cfg.Peer().Link(l.Name); remote != nil {
			peers[l.Name] = peerClient{api.NewClient(api.Target{Address: apiAddress(cfg, remote.Address), Local: l.Address,
				TLS: id.ClientTLS(cfg.Peer().Name)})}
		}
	}
	return peers
}

func dialWitness(cfg *config.Config, id *identity.Identity) Witness {
	if !cfg.HasWitness() {
		return nil
	}
	return witnessClient{api.NewClient(api.Target{Address: apiAddress(cfg, cfg.Witness.Address),
		TLS: id.ClientTLS(cfg.Witness.Name)})}
}

func apiAddress(cfg *config.Config, ip string) string {
	return net.JoinHostPort(ip, strconv.Itoa(cfg.Ports.API))
}
