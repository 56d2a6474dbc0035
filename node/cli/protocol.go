package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gemel/node/api"
	"gemel/node/replicator/control"
)

const protocolHelp = `Changes how far a write must have come at the peer before it completes, while the volume is in use:
  C  it is written there: nothing that completed can be lost
  B  it has arrived there: lost only if the peer's replicator ends at the same time
  A  it was handed to the connection: a take-over can lose what was on its way, at most congestion-fill of the
     configuration (16 MiB)
Whatever the protocol, what was flushed is on both disks.

Both nodes are told. The change lasts until a node's replicator restarts: then it takes the protocol of the
configuration (volumes[].protocol). Change the configuration as well to keep it. A weaker protocol counts once the
peer has noted it on its disk; gemel status shows what is in use.

Exit codes: 0 changed, 1 one node could not be told, 2 wrong arguments, 3 refused (with the reason), 4 no agent answers.`

func (a *app) protocolCommand() *cobra.Command {
	return &cobra.Command{Use: "protocol NAME A|B|C", Short: "Change what a write waits for at the peer", Long: protocolHelp,
		Args: cobra.ExactArgs(2), Example: "  gemel volume protocol data A\n  gemel volume protocol data C",
		RunE: func(cmd *cobra.Command, args []string) error {
			letter := strings.ToUpper(args[1])
			if !slices.Contains([]string{"A", "B", "C"}, letter) {
				return usagef("there is no protocol %q; write A, B or C", args[1])
			}
			cfg, name, c, err := a.orderTarget(cmd.Context(), args[:1], "")
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Protocol(cmd.Context(), control.ProtocolRequest{Volume: name, Protocol: letter}); err != nil {
				return fmt.Errorf("protocol of volume %s: %w", name, err)
			}
			a.printf("Volume %s has protocol %s on both nodes until their replicators restart.\n", name, letter)
			if configured := cfg.Volume(name).Protocol; configured != letter {
				a.printf("The configuration says %s; to keep %s, write `protocol: %s` for the volume in %s on both nodes.\n",
					configured, letter, letter, cfg.Path())
			}
			return nil
		}}
}

// protocol writes what writes wait for, unless it is C everywhere.
func (o *screen) protocol(s *api.Status, v *api.Volume) {
	var words []string
	if v.Role == control.Primary {
		words = append(words, primaryProtocol(s, v)...)
	}
	if v.MayLack != "" && v.Role != control.Primary {
		words = append(words, fmt.Sprintf("follows a Primary of protocol %s: its last writes that were not flushed may be missing here",
			v.MayLack))
	}
	if v.Protocol != "" && v.Protocol != v.ConfiguredProtocol {
		words = append(words, fmt.Sprintf("%s until the replicator restarts, the configuration says %s", v.Protocol, v.ConfiguredProtocol))
	}
	if len(words) > 0 {
		o.item("protocol", strings.Join(words, "; "), o.paint.warn)
	}
}

func primaryProtocol(s *api.Status, v *api.Volume) []string {
	var words []string
	switch v.ProtocolInUse {
	case "A":
		words = append(words, fmt.Sprintf("A: writes complete before %s has them; if %s dies, those that were not flushed can be lost, "+
			"at most %s", s.Peer.Name, s.Node, size(v.CongestionFill)))
	case "B":
		words = append(words, fmt.Sprintf("B: writes complete when %s has received them; those that were not flushed can be lost only if "+
			"both replicators end at once", s.Peer.Name))
	}
	if v.ProtocolInUse != v.Protocol {
		words = append(words, fmt.Sprintf("%s is wanted, %s in use until %s is in sync and has noted it", v.Protocol, v.ProtocolInUse, s.Peer.Name))
	}
	return words
}
