package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"gemel/node/config"
)

func (a *app) daemonCommands() []*cobra.Command {
	dataNode := func(cfg *config.Config) error {
		if cfg.SelfIndex() < 0 {
			return refusedf("this box is %q, which is not a data node; the data nodes are %s. Set `node` in %s, or GEMEL_NODE",
				cfg.Node, strings.Join(cfg.NodeNames(), " and "), cfg.Path())
		}
		return nil
	}
	witness := func(cfg *config.Config) error {
		if !cfg.IsWitness() {
			return refusedf("this box is %q, which is not the witness (%q). Set `node` in %s, or GEMEL_NODE",
				cfg.Node, cfg.Witness.Name, cfg.Path())
		}
		return nil
	}
	return []*cobra.Command{
		a.daemon("agent", "Run the control plane of a data node", a.Agent, dataNode),
		a.daemon("replicator", "Run the data plane of a data node", a.Replicator, dataNode),
		a.daemon("witness", "Run the third voter", a.Witness, witness),
		a.keeper(),
	}
}

// keeper is started by the replicator, and by nobody else.
func (a *app) keeper() *cobra.Command {
	return &cobra.Command{Use: "keeper DIRECTORY", Short: "Hold what a device needs while the replicator is restarted",
		Long: "Hold what a device needs while the replicator is restarted. The replicator starts it by itself; it ends\n" +
			"when there is nothing to hold.",
		Example: "  gemel keeper /run/gemel/frontend",
		Hidden:  true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.Keeper(cmd.Context(), args[0]) }}
}

// daemon is the command of one daemon: in the foreground, logging to stderr,
// until SIGTERM or SIGINT.
func (a *app) daemon(name, short string, run Daemon, fits func(*config.Config) error) *cobra.Command {
	var level string
	c := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs,
		Long: short + ", in the foreground, until SIGTERM. It logs to stderr.\n\n" +
			"Exit codes: 0 ended by a signal, 1 failed, 2 wrong usage, 3 this box is none for it.",
		Example: "  gemel " + name + "\n  gemel " + name + " --log-level debug",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if err := fits(cfg); err != nil {
				return err
			}
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return usagef("log level %q: write debug, info, warn or error", level)
			}
			sink := newLogSink(a.Err)
			defer sink.close(logEndWait)
			log := slog.New(slog.NewTextHandler(sink, &slog.HandlerOptions{Level: l}))
			return a.runDaemon(cmd.Context(), name, run, cfg, log)
		}}
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return c
}

func (a *app) runDaemon(ctx context.Context, name string, run Daemon, cfg *config.Config, log *slog.Logger) error {
	log.Info("starting", "daemon", name, "version", a.Version, "cluster", cfg.Cluster, "node", cfg.Node, "config", cfg.Path())
	if err := run(ctx, cfg, log); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	log.Info("stopped", "daemon", name)
	return nil
}
