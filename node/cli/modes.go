package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/api"
)

const maintenanceHelp = `Maintenance makes the whole pair only watch: no node takes a volume over by itself, none hands one
over by itself, and services that end are not started again. Replication, heartbeats and votes go on, and so does what
keeps data safe: a node that loses its reign still lets go. Your own orders (switchover, grab, standby) are carried out.
When a node fails meanwhile, nobody serves until maintenance is off or you take over with gemel grab.

It holds on both nodes, through restarts, until it is turned off or the time given with --for is over. A service that
ended meanwhile is started when maintenance ends.

Exit codes: 0 done, 1 the other node could not be told yet, 2 wrong usage, 4 no agent answers.`

func (a *app) maintenanceCommand() *cobra.Command {
	var limit time.Duration
	var asJSON bool
	c := &cobra.Command{Use: "maintenance on|off", Short: "Let the pair only watch, or act by itself again", Long: maintenanceHelp,
		Args: cobra.ExactArgs(1), ValidArgs: []string{"on", "off"},
		Example: "  gemel maintenance on --for 2h\n  gemel maintenance on\n  gemel maintenance off",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.maintenance(cmd.Context(), args[0], limit, asJSON)
		}}
	c.Flags().DurationVar(&limit, "for", 0, "turn it off by itself after this time, such as 30m or 2h (default: never)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return c
}

func (a *app) maintenance(ctx context.Context, word string, limit time.Duration, asJSON bool) error {
	if word != "on" && word != "off" {
		return usagef("maintenance is on or off, not %q", word)
	}
	if limit < 0 || limit > 0 && word == "off" {
		return usagef("--for says how long maintenance stays on; it goes with `on` and a time such as 2h")
	}
	cfg, err := a.load()
	if err != nil {
		return err
	}
	c, err := a.reach(ctx, cfg, "")
	if err != nil {
		return err
	}
	defer c.Close()
	reply, err := c.Maintenance(ctx, api.MaintenanceOrder{On: word == "on", For: limit})
	if err != nil {
		return fmt.Errorf("turn maintenance %s: %w", word, err)
	}
	if asJSON {
		if err := a.json(reply); err != nil {
			return err
		}
	} else {
		a.printf("%s\n", maintenanceWords(reply.Maintenance))
	}
	if !reply.PeerTold {
		return fmt.Errorf("the other node was not reached; it hears of it with the first heartbeat, and until then acts as before")
	}
	return nil
}

func maintenanceWords(m api.Maintenance) string {
	switch {
	case !m.On:
		return "Maintenance is off: the pair takes over by itself and restarts services."
	case m.Until.IsZero():
		return "MAINTENANCE is on: nothing is taken over by itself, no service is restarted. `gemel maintenance off` ends it."
	}
	return "MAINTENANCE is on until " + clock(m.Until.Local()) +
		": nothing is taken over by itself, no service is restarted. `gemel maintenance off` ends it sooner."
}

const standbyHelp = `Puts a node on standby: all its volumes go over to the other node, one after the other in the order
of the configuration, and it takes none back, whatever happens, until --undo. Replication to it goes on, so it stays in
sync. Standby outlives restarts and reboots. It is refused, before anything moves, when the other node could not take a
volume. While a node is on standby a failure of the other one stops the service; gemel grab still works.

--undo lets the node take over again when it is needed; it moves nothing back by itself.

Exit codes: 0 done, 1 failed on the way (what was moved stays there), 2 wrong usage, 3 refused (with the reasons),
4 the node's agent does not answer.`

func (a *app) standbyCommand() *cobra.Command {
	var undo, asJSON bool
	c := &cobra.Command{Use: "standby NODE", Short: "Move everything off a node, and let it take nothing over", Long: standbyHelp,
		Args: cobra.ExactArgs(1), Example: "  gemel standby server1\n  gemel standby server1 --undo",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.standby(cmd.Context(), args[0], undo, asJSON)
		}}
	c.Flags().BoolVar(&undo, "undo", false, "let the node take over again")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return c
}

func (a *app) standby(ctx context.Context, node string, undo, asJSON bool) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if cfg.NodeIndex(node) < 0 {
		return usagef("there is no data node %q; the configuration has %s", node, strings.Join(cfg.NodeNames(), " and "))
	}
	c, err := a.reach(ctx, cfg, node)
	if err != nil {
		return err
	}
	defer c.Close()
	start := a.now()
	reply, err := c.Standby(ctx, api.StandbyOrder{Undo: undo})
	if err != nil {
		return fmt.Errorf("standby of %s: %w", node, err)
	}
	switch {
	case asJSON:
		return a.json(reply)
	case undo:
		a.printf("%s is not on standby: it takes over again when it is needed. Nothing was moved back.\n", node)
	case len(reply.Moved) > 0:
		a.printf("%s is on standby. Given to the other node: %s. It took %s.\n", node, strings.Join(reply.Moved, ", "), span(a.now().Sub(start)))
	default:
		a.printf("%s is on standby. It had nothing to give away.\n", node)
	}
	return nil
}

// modes says loudly what people turned off.
func (o *screen) modes(s *api.Status) {
	if s.Maintenance.On {
		o.line("%s", o.paint.bad(maintenanceWords(s.Maintenance)))
	}
	for _, name := range standing(s) {
		o.line("%s", o.paint.warn(fmt.Sprintf("%s is on STANDBY and takes nothing over. `gemel standby %s --undo` ends it.", name, name)))
	}
	if s.Maintenance.On || s.Standby || s.PeerStandby {
		o.line("")
	}
}

// standing names the nodes on standby.
func standing(s *api.Status) []string {
	var names []string
	if s.Standby {
		names = append(names, s.Node)
	}
	if s.PeerStandby {
		names = append(names, s.Peer.Name)
	}
	return names
}

func judgeModes(v *verdict, s *api.Status) {
	if s.Maintenance.On {
		v.add(degraded, "MAINTENANCE is on, nothing is taken over by itself")
	}
	for _, name := range standing(s) {
		v.add(degraded, "%s is on standby", name)
	}
}
