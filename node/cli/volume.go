package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/api"
	"gemel/node/replicator/control"
)

func (a *app) volumeCommand() *cobra.Command {
	c := &cobra.Command{Use: "volume", Short: "Create, list and wait for volumes", Args: cobra.NoArgs,
		Example: "  gemel volume create data\n  gemel volume list\n  gemel volume wait-sync data",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(a.createCommand(), a.listCommand(), a.waitSyncCommand(), a.connectCommand(), a.protocolCommand(), a.verifyCommand(), a.resyncCommand(), a.resizeCommand(), a.outdateCommand(), a.dumpCommand())
	return c
}

const createHelp = `Makes a new, empty replica of a configured volume on this node's backing device: run it
once on each node. A device that is in use, too small, or carries a file system or an older replica is refused
and left untouched; --force overwrites the last two.

With --keep-data the file system that is on the device becomes the volume's, and stays as large as it is: put gemel
under a disk that is in use already. The volume's metadata must lie apart then (key metadata), the file system must
not be mounted, and the other node gets a new, empty replica at least as large, which is filled from this one.

Exit codes: 0 created, 1 failed, 3 refused (with the reason), 4 no agent answers.`

func (a *app) createCommand() *cobra.Command {
	var force, keep bool
	c := &cobra.Command{Use: "create NAME", Short: "Make a new replica on this node", Long: createHelp, Args: cobra.ExactArgs(1),
		Example: "  gemel volume create data\n  gemel volume create data --force\n  gemel volume create data --keep-data",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, name, c, err := a.orderTarget(cmd.Context(), args, "")
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.CreateVolume(cmd.Context(), control.CreateRequest{Volume: name, Force: force, Keep: keep}); err != nil {
				return fmt.Errorf("create volume %s: %w", name, err)
			}
			a.printf("Volume %s is created on %s, on %s. Create it on the other node too; then the first sync begins by itself.\n",
				name, cfg.Node, cfg.Volume(name).Device)
			return nil
		}}
	c.Flags().BoolVar(&keep, "keep-data", false, "keep what is on the device, and fill the other node from it")
	c.Flags().BoolVar(&force, "force", false, "overwrite a file system or an older replica on the device")
	return c
}

func (a *app) connectCommand() *cobra.Command {
	return &cobra.Command{Use: "connect NAME", Short: "Let a StandAlone volume try again", Args: cobra.ExactArgs(1),
		Long: "Lets a volume that gave up its connection (StandAlone) try again, after what stopped it is mended.\n\n" +
			"Exit codes: 0 it tries again, 3 refused (with the reason), 4 no agent answers.",
		Example: "  gemel volume connect data",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, name, c, err := a.orderTarget(cmd.Context(), args, "")
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Connect(cmd.Context(), control.ConnectRequest{Volume: name}); err != nil {
				return fmt.Errorf("connect volume %s: %w", name, err)
			}
			a.printf("Volume %s tries to connect; see gemel status.\n", name)
			return nil
		}}
}

func (a *app) listCommand() *cobra.Command {
	var asJSON bool
	var node string
	c := &cobra.Command{Use: "list", Short: "One line per volume", Args: cobra.NoArgs,
		Long:    "Shows one line per volume.\n\nExit codes: 0 shown, 4 no agent answers.",
		Example: "  gemel volume list\n  gemel volume list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.ask(cmd.Context(), node)
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(s.Volumes)
			}
			a.printf("%s", renderList(&s))
			return nil
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	c.Flags().StringVar(&node, "node", "", "ask this box instead of this one")
	return c
}

func renderList(s *api.Status) string {
	var b strings.Builder
	row := func(cells ...string) {
		for i, w := range []int{14, 12, 12, 14, 14, 14} {
			b.WriteString(pad(cells[i], w))
		}
		b.WriteString(cells[6] + "\n")
	}
	row("VOLUME", "SIZE", "PRIMARY", "DISK", "PEER DISK", "CONNECTION", "DEVICE")
	for i := range s.Volumes {
		v := &s.Volumes[i]
		device := v.Device
		if device == "" {
			device = "-"
		}
		row(v.Name, size(v.Size), orNobody(primaryOf(s, v)), orUnknown(v.Disk), orUnknown(v.PeerDisk), orUnknown(v.Connection), device)
	}
	return b.String()
}

const waitHelp = `Waits until both nodes hold every write of the volume, and shows how far it is.

Exit codes: 0 in sync, 1 not in time, 4 no agent answers.`

func (a *app) waitSyncCommand() *cobra.Command {
	var limit time.Duration
	var node string
	c := &cobra.Command{Use: "wait-sync [NAME]", Short: "Wait until both nodes hold everything", Long: waitHelp,
		Args: cobra.MaximumNArgs(1), Example: "  gemel volume wait-sync\n  gemel volume wait-sync data --timeout 10m",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, name, c, err := a.orderTarget(cmd.Context(), args, node)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx := cmd.Context()
			if limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			return a.waitSync(ctx, c, name)
		}}
	c.Flags().DurationVar(&limit, "timeout", 0, "give up after this (default: never)")
	c.Flags().StringVar(&node, "node", "", "ask this box instead of this one")
	return c
}

var errTimeout = errors.New("not in sync in time")

// waitSync polls: a status is cheap, and the bar wants one per tick anyway.
func (a *app) waitSync(ctx context.Context, c *api.Client, name string) error {
	start, shown := a.now(), ""
	for {
		reason := ""
		s, err := c.Status(ctx)
		if err != nil {
			reason = err.Error()
		} else {
			v := volumeOf(&s, name)
			if v == nil {
				return refusedf("%s does not know the volume %s; is its configuration older?", s.Node, name)
			}
			if inSync(&s, v) {
				a.printf("%sVolume %s is in sync on both nodes (%s, waited %s).\n", a.endOfBar(shown), name, size(v.Size), span(a.now().Sub(start)))
				return nil
			}
			reason = syncLine(v)
		}
		if reason != shown {
			a.showProgress(reason)
			shown = reason
		}
		if !sleep(ctx, 500*time.Millisecond) {
			a.printf("%s", a.endOfBar(shown))
			return fmt.Errorf("wait for volume %s: %w: %s", name, errTimeout, reason)
		}
	}
}

// inSync: both disks are current, and the voters know it.
func inSync(s *api.Status, v *api.Volume) bool {
	return v.Connection == control.Connected && v.Disk == control.UpToDate && v.PeerDisk == control.UpToDate &&
		v.Resync == nil && slices.Contains(v.InSyncBy, s.Node) && slices.Contains(v.InSyncBy, s.Peer.Name)
}

func syncLine(v *api.Volume) string {
	if v.Resync != nil {
		return resync(v)
	}
	text := fmt.Sprintf("disk %s, peer's disk %s, %s", orUnknown(v.Disk), orUnknown(v.PeerDisk), replication(v))
	if v.Phase != "" {
		text += "; " + v.Phase
	}
	return text
}

// showProgress redraws one line on a terminal, and writes new lines elsewhere.
func (a *app) showProgress(text string) {
	if a.Terminal {
		a.printf("\r\x1b[K%s", text)
		return
	}
	a.printf("%s\n", text)
}

func (a *app) endOfBar(shown string) string {
	if a.Terminal && shown != "" {
		return "\n"
	}
	return ""
}
