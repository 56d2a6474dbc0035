package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/api"
)

const statusHelp = `Shows one box's whole view: roles, disks, replication, the reign and its in-sync
set, links, witness, addresses, services, and the last decision with its reason.

Exit codes: 0 shown, 4 no agent answers.`

func (a *app) statusCommand() *cobra.Command {
	var asJSON, watch, links bool
	var node string
	c := &cobra.Command{Use: "status", Short: "Show everything on one screen", Long: statusHelp, Args: cobra.NoArgs,
		Example: "  gemel status\n  gemel status --watch\n  gemel status --links\n  gemel status --node server2 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			show := renderStatus
			if links {
				show = renderLinks
			}
			return a.status(cmd.Context(), node, asJSON, watch, show)
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	c.Flags().BoolVar(&links, "links", false, "only the links to the other node: heartbeats, failures and when they were")
	c.Flags().BoolVar(&watch, "watch", false, "show again every second")
	c.Flags().StringVar(&node, "node", "", "ask this box instead of this one")
	return c
}

func (a *app) status(ctx context.Context, node string, asJSON, watch bool, show renderer) error {
	for {
		err := a.statusOnce(ctx, node, asJSON, watch, show)
		if !watch {
			return err
		}
		if err != nil {
			if a.exitCode(err) != ExitUnreachable {
				return err
			}
			a.printf("%s %v\n", time.Now().Format("15:04:05"), err)
		}
		if !sleep(ctx, time.Second) {
			return nil
		}
	}
}

// renderer puts a status into words.
type renderer func(s *api.Status, color bool) string

func (a *app) statusOnce(ctx context.Context, node string, asJSON, again bool, show renderer) error {
	s, err := a.ask(ctx, node)
	if err != nil {
		return err
	}
	if asJSON {
		return a.json(s)
	}
	text := show(&s, a.Terminal)
	if again && a.Terminal {
		text = "\x1b[H\x1b[2J" + text
	}
	a.printf("%s", text)
	return nil
}

// ask gets the status of a box; "" is this one.
func (a *app) ask(ctx context.Context, node string) (api.Status, error) {
	cfg, err := a.load()
	if err != nil {
		return api.Status{}, err
	}
	c, err := a.reach(ctx, cfg, node)
	if err != nil {
		return api.Status{}, err
	}
	defer c.Close()
	return c.Status(ctx)
}

func (a *app) json(v any) error {
	e := json.NewEncoder(a.Out)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// sleep waits; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Show the version of this program", Args: cobra.NoArgs,
		Example: "  gemel version",
		Run:     func(*cobra.Command, []string) { a.printf("gemel %s\n", a.Version) }}
}

const eventsHelp = `Shows what the box decided, when, and why.

Exit codes: 0 shown, 4 no agent answers.`

func (a *app) eventsCommand() *cobra.Command {
	var follow, asJSON bool
	var node string
	var count int
	c := &cobra.Command{Use: "events", Short: "Show what happened, and why", Long: eventsHelp, Args: cobra.NoArgs,
		Example: "  gemel events\n  gemel events --follow\n  gemel events --node server2 --count 5 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			c, err := a.reach(cmd.Context(), cfg, node)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.events(cmd.Context(), c, count, follow, asJSON)
		}}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line")
	c.Flags().StringVar(&node, "node", "", "ask this box instead of this one")
	c.Flags().IntVarP(&count, "count", "n", 30, "how many to begin with")
	return c
}

func (a *app) events(ctx context.Context, c *api.Client, count int, follow, asJSON bool) error {
	page, err := c.Events(ctx, 0, 0)
	if err != nil {
		return err
	}
	page.Events = page.Events[max(0, len(page.Events)-max(count, 0)):]
	for {
		for i := range page.Events {
			if err := a.event(&page.Events[i], asJSON); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		page, err = c.Events(ctx, page.Next, 20*time.Second)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the person ended it
		}
		if err != nil {
			return fmt.Errorf("follow events: %w", err)
		}
	}
}
