package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/api"
)

const arbiterHelp = `Who decides besides the two nodes: a witness, etcd, or nobody (then a proof by fencing, or a person).

  status  show the arbiter of every volume, as recorded by both nodes and as configured here, and what the pair
          survives now
  change  wait until the configured arbiter is in force on every volume

To change the arbiter of a running pair: write the new one into the configuration of both nodes (` + "`witness:`" + `, ` + "`etcd:`" + `, or
neither), restart both agents one after the other (systemctl restart gemel-agent; nothing is interrupted where the
replicator goes on), and run gemel arbiter change. The nodes record the change by themselves as soon as both are in
sync and their configurations agree. Until then the recorded one counts, and no other.

Exit codes: 0 the configured arbiter is in force, 1 it is not (yet), 2 wrong arguments, 4 no agent answers.`

func (a *app) arbiterCommand() *cobra.Command {
	c := &cobra.Command{Use: "arbiter", Short: "Show and change who decides besides the two nodes", Long: arbiterHelp,
		Example: "  gemel arbiter status\n  gemel arbiter change --wait 1m"}
	c.AddCommand(a.arbiterStatusCommand(), a.arbiterChangeCommand())
	return c
}

func (a *app) arbiterStatusCommand() *cobra.Command {
	var asJSON bool
	var node string
	c := &cobra.Command{Use: "status", Short: "Show the arbiter of every volume", Long: arbiterHelp, Args: cobra.NoArgs,
		Example: "  gemel arbiter status\n  gemel arbiter status --node server2 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.arbiterOf(cmd.Context(), node)
			if err != nil {
				return err
			}
			return a.showArbiter(&s, asJSON)
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	c.Flags().StringVar(&node, "node", "", "ask this node instead of this one")
	return c
}

func (a *app) arbiterChangeCommand() *cobra.Command {
	var asJSON bool
	var wait time.Duration
	c := &cobra.Command{Use: "change", Short: "Wait until the configured arbiter is in force", Long: arbiterHelp, Args: cobra.NoArgs,
		Example: "  gemel arbiter change\n  gemel arbiter change --wait 5m",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.awaitArbiter(cmd.Context(), wait)
			if err != nil {
				return err
			}
			return a.showArbiter(&s, asJSON)
		}}
	c.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return c
}

// arbiterOf is the status of a data node.
func (a *app) arbiterOf(ctx context.Context, node string) (api.Status, error) {
	s, err := a.ask(ctx, node)
	if err == nil && s.Role == "witness" {
		return s, usagef("%s is the witness itself; ask a node: --node NAME", s.Node)
	}
	return s, err
}

// awaitArbiter asks until the configuration is in force everywhere, or time is up.
func (a *app) awaitArbiter(ctx context.Context, wait time.Duration) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var last *api.Status
	for {
		s, err := a.arbiterOf(ctx, "")
		switch {
		case err == nil && len(arbiterDiffers(&s)) == 0:
			return s, nil
		case err == nil:
			last = &s
		case !errors.Is(err, api.ErrUnreachable) && ctx.Err() == nil:
			return s, err
		}
		if !sleep(ctx, 300*time.Millisecond) {
			if last == nil {
				return s, err
			}
			return *last, nil
		}
	}
}

// arbiterView is what `gemel arbiter status --json` prints.
type arbiterView struct {
	Node    string          `json:"node"`
	InForce bool            `json:"in_force"` // the configured one, on every volume
	Means   string          `json:"means,omitempty"`
	Volumes []arbiterVolume `json:"volumes"`
}

type arbiterVolume struct {
	Name string `json:"name"`
	api.ArbiterStatus
}

func (a *app) showArbiter(s *api.Status, asJSON bool) error {
	v := arbiterView{Node: s.Node, InForce: len(arbiterDiffers(s)) == 0, Means: s.Witness.Means, Volumes: []arbiterVolume{}}
	for i := range s.Volumes {
		v.Volumes = append(v.Volumes, arbiterVolume{s.Volumes[i].Name, s.Volumes[i].Arbiter})
	}
	if asJSON {
		if err := a.json(v); err != nil {
			return err
		}
	} else {
		a.printArbiter(&v)
	}
	if !v.InForce {
		return &quietError{ExitFailed}
	}
	return nil
}

func (a *app) printArbiter(v *arbiterView) {
	for _, vol := range v.Volumes {
		a.printf("%-16s recorded: %s (change %d), configured on %s: %s\n", vol.Name, vol.Recorded, vol.Change, v.Node, vol.Configured)
		if vol.Differs != "" {
			a.printf("%-16s   %s\n", "", vol.Differs)
		}
		if vol.Failed != "" {
			a.printf("%-16s   the last shot proved nothing: %s\n", "", vol.Failed)
		}
	}
	if v.Means != "" {
		a.printf("%s\n", v.Means)
	}
}

// arbiterDiffers names the volumes whose arbiter on record is not the configured one.
func arbiterDiffers(s *api.Status) (names []string) {
	for i := range s.Volumes {
		if s.Volumes[i].Arbiter.Differs != "" {
			names = append(names, s.Volumes[i].Name)
		}
	}
	return names
}

// judgeAlone says what the lack of a third voter means for the whole.
func judgeAlone(v *verdict, s *api.Status) {
	if s.Fencing == nil {
		v.add(healthy, "there is no third voter and no fencing: a person must take over when a node dies")
		return
	}
	v.add(healthy, "there is no third voter: fencing decides")
}

func judgeArbiter(v *verdict, s *api.Status) {
	for i := range s.Volumes {
		if d := s.Volumes[i].Arbiter; d.Differs != "" {
			v.add(degraded, "the arbiter of %s is %s, not %s as configured: %s", s.Volumes[i].Name, d.Recorded, d.Configured, d.Differs)
		}
	}
}
