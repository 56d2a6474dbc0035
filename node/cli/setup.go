package cli

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"gemel/node/config"
	"gemel/node/identity"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check and show the configuration", Args: cobra.NoArgs,
		Example: "  gemel config check\n  gemel config show",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	check := &cobra.Command{Use: "check [FILE]", Short: "List every mistake at once", Args: cobra.MaximumNArgs(1),
		Long:    "Reads the configuration and lists every mistake, each with file and line.\n\nExit codes: 0 no mistake, 1 there are mistakes.",
		Example: "  gemel config check\n  gemel config check ./gemel.yaml",
		RunE:    func(_ *cobra.Command, args []string) error { return a.checkConfig(args) }}
	var defaults bool
	show := &cobra.Command{Use: "show", Short: "Print the values in effect", Args: cobra.NoArgs,
		Long: "Prints the configuration in effect, each value with where it comes from: default, file or environment.\n\n" +
			"Exit codes: 0 shown, 1 the configuration has mistakes.",
		Example: "  gemel config show\n  gemel config show --defaults",
		RunE: func(*cobra.Command, []string) error {
			if defaults {
				a.printf("%s", config.Defaults())
				return nil
			}
			cfg, err := a.load()
			if err != nil {
				return err
			}
			a.printf("%s", cfg.YAML())
			return nil
		}}
	show.Flags().BoolVar(&defaults, "defaults", false, "print every key with its default, unit and meaning instead")
	c.AddCommand(check, show)
	return c
}

func (a *app) checkConfig(args []string) error {
	path := config.Path(a.configPath)
	if len(args) == 1 {
		path = args[0]
	}
	cfg, err := config.Load(path)
	var mistakes config.Mistakes
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			a.printf("%s\n", m)
		}
		a.printf("%d mistakes.\n", len(mistakes))
		return &quietError{ExitFailed}
	}
	if err != nil {
		return err
	}
	a.printf("%s is in order: cluster %s, %d volumes; this box is %s.\n", path, cfg.Cluster, len(cfg.Volumes), describe(cfg))
	if cfg.Replication.Plain() {
		a.printf("Warning: replication.encryption is plain: whoever can reach the links can read and change the volumes.\n")
	}
	a.checkWatchdog(cfg)
	return nil
}

func describe(cfg *config.Config) string {
	switch {
	case cfg.IsWitness():
		return cfg.Node + ", the witness"
	case cfg.SelfIndex() >= 0:
		return fmt.Sprintf("%s, data node %d", cfg.Node, cfg.SelfIndex())
	}
	return cfg.Node + ", neither a data node nor the witness"
}

const keysHelp = `Makes the keys of a whole cluster: a new authority, and for every box a directory with
ca.pem, cert.pem and key.pem. Copy each directory to its box, as /etc/gemel/keys. Keep DIR/ca, which can make
more keys, away from the boxes. Names not given are taken from the configuration.

Exit codes: 0 made, 1 failed, 3 refused: there are keys already.`

func (a *app) keysCommand() *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "Make the keys of a cluster", Args: cobra.NoArgs,
		Example: "  gemel keys init --dir ./keys --cluster lab --node server1 --node server2 --witness witness",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var dir string
	var plan identity.Plan
	init := &cobra.Command{Use: "init", Short: "Make a new authority and a certificate per box", Long: keysHelp, Args: cobra.NoArgs,
		Example: "  gemel keys init --dir ./keys --cluster lab --node server1 --node server2 --witness witness --client admin",
		RunE:    func(*cobra.Command, []string) error { return a.initKeys(dir, plan) }}
	f := init.Flags()
	f.StringVar(&dir, "dir", "keys", "where to make the directories")
	f.StringVar(&plan.Cluster, "cluster", "", "name of the cluster")
	f.StringArrayVar(&plan.Nodes, "node", nil, "name of a data node; give it twice")
	f.StringVar(&plan.Witness, "witness", "", "name of the witness")
	f.StringArrayVar(&plan.Admins, "client", nil, "name of a box for status and orders only; may be given often")
	f.BoolVar(&plan.Force, "force", false, "overwrite keys; boxes with the old ones are locked out")
	c.AddCommand(init)
	return c
}

func (a *app) initKeys(dir string, plan identity.Plan) error {
	if plan.Cluster == "" || len(plan.Nodes) == 0 {
		cfg, err := a.load()
		if err != nil {
			return usagef("give --cluster and --node twice, or a configuration to take the names from (%w)", err)
		}
		fillPlan(&plan, cfg)
	}
	made, err := identity.Init(dir, plan)
	if errors.Is(err, identity.ErrExists) {
		return &exitError{ExitRefused, err}
	}
	if err != nil {
		return err
	}
	a.printf("%s  the authority: keep it safe, away from the boxes\n", pad(made[0], 30))
	for _, place := range made[1:] {
		a.printf("%s  copy to %s as /etc/gemel/keys\n", pad(place, 30), filepath.Base(place))
	}
	return nil
}

// fillPlan takes what was not given from the configuration.
func fillPlan(plan *identity.Plan, cfg *config.Config) {
	if plan.Cluster == "" {
		plan.Cluster = cfg.Cluster
	}
	if len(plan.Nodes) == 0 {
		plan.Nodes = cfg.NodeNames()
	}
	if plan.Witness == "" && cfg.HasWitness() {
		plan.Witness = cfg.Witness.Name
	}
}
