package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gemel/lab/cluster"
)

func (a *app) up() *cobra.Command {
	options := cluster.Options{CableRate: cluster.Gigabit}
	var unthrottled, withTour bool
	var disk string
	command := &cobra.Command{
		Use:     "up",
		Short:   "Build the lab, or complete one that is half there",
		Example: "  lab up\n  lab up --tour\n  lab up --model 2004 --tour\n  lab up --fencing --witness-on mgmt\n  lab up --lab second --disk 256MiB --unthrottled\n  lab up --services nfs,samba,postgresql,web@second\n  lab up --arbiter etcd --tour",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			size, err := parseSize(disk)
			if err != nil {
				return err
			}
			options.DiskSize = size
			if unthrottled {
				options.CableRate = 0
			}
			if options.BinDir == "" {
				options.BinDir = ownDir()
			}
			options.Say = func(step string) { command.Println("lab " + a.lab + ": " + step) }
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				if err := lab.Up(command.Context(), options); err != nil || !withTour {
					return err
				}
				return showTour(command.Context(), lab)
			})
		},
	}
	command.SetOut(os.Stdout)
	flags := command.Flags()
	flags.StringVar(&disk, "disk", "1GiB", "size of each server's disk, such as 256MiB or 2GiB")
	flags.BoolVar(&unthrottled, "unthrottled", false, "private cables without a speed limit, instead of 1 Gbit/s")
	flags.StringVar(&options.Model, "model", "unthrottled", modelHelp)
	flags.BoolVar(&withTour, "tour", false, "form the cluster, then show a fail-over under load")
	settingFlags(flags, &options.Settings, cluster.Settings{Fencing: cluster.FencingOff, WitnessOn: cluster.LAN})
	flags.StringVar(&options.Arbiter, "arbiter", cluster.ByWitness, "third voter: witness, or etcd, which is three boxes of its own")
	flags.StringSliceVar(&options.Services, "services", []string{"nfs"}, "what the pair runs: nfs, samba, postgresql, web; "+
		"web@second is on a second volume with an address of its own (198.18.0.251)")
	flags.BoolVar(&options.Bare, "bare", false, "boxes that run nothing: only hardware and cables")
	flags.StringVar(&options.BinDir, "bin", "", "directory of the gemel binary (default: this command's own)")
	return command
}

func (a *app) files() *cobra.Command {
	options := cluster.Options{}
	command := &cobra.Command{
		Use:     "files",
		Short:   "Make a lab's disks, keys and configuration only, for boxes made by docker-compose",
		Example: "  lab files --lab compose --nic eth0",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			options.BinDir = ownDir()
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				return lab.Files(command.Context(), options)
			})
		},
	}
	command.Flags().StringVar(&options.LANNIC, "nic", "lan0", "NIC that gets the address of the cluster")
	return command
}

// ownDir is where this binary was built to; its neighbour is gemel.
func ownDir() string {
	own, err := os.Executable()
	if err != nil {
		return "bin"
	}
	return filepath.Dir(own)
}

// parseSize reads a size in MiB or GiB; at least 64 MiB.
func parseSize(text string) (int64, error) {
	number, unit, shift := text, "", 0
	for suffix, bits := range map[string]int{"MiB": 20, "GiB": 30} {
		if head, ok := strings.CutSuffix(text, suffix); ok {
			number, unit, shift = head, suffix, bits
		}
	}
	count, err := strconv.ParseInt(number, 10, 32)
	if err != nil || unit == "" || count<<shift < 64<<20 {
		return 0, fmt.Errorf("%w: size %q: write it like 256MiB or 2GiB, at least 64MiB", errUsage, text)
	}
	return count << shift, nil
}

func (a *app) down() *cobra.Command {
	return &cobra.Command{
		Use:     "down",
		Short:   "Remove the lab with everything it made on this host",
		Example: "  lab down --lab second",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				removal, err := lab.Down(command.Context())
				fmt.Printf("lab %s: removed %d containers, %d disks, %d frontends, %d mounts\n", a.lab, len(removal.Containers),
					len(removal.Loops)+len(removal.Drives), len(removal.Frontends), len(removal.Mounts))
				if len(removal.Aborted) > 0 {
					fmt.Printf("lab %s: a dead box hung until its FUSE connections %v were aborted\n", a.lab, removal.Aborted)
				}
				return err
			})
		},
	}
}

func (a *app) cable(use, short, done string, act func(*cluster.Cluster, string, string) error) *cobra.Command {
	return &cobra.Command{
		Use:     use + " BOX CABLE",
		Short:   short,
		Example: "  lab " + use + " server1 priv",
		Args:    args("BOX", "CABLE"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				if err := act(lab, given[0], given[1]); err != nil {
					return err
				}
				fmt.Printf("lab %s: %s cable of %s %s\n", a.lab, given[1], given[0], done)
				return nil
			})
		},
	}
}

type powerVerb func(*cluster.Cluster, context.Context, string) (cluster.PowerCut, error)

func (a *app) power(use, short string, act powerVerb) *cobra.Command {
	return &cobra.Command{
		Use:     use + " BOX",
		Short:   short,
		Example: "  lab " + use + " server1",
		Args:    args("BOX"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				cut, err := act(lab, command.Context(), given[0])
				if err != nil {
					return err
				}
				fmt.Println(cutWords(a.lab, use, given[0], cut))
				return nil
			})
		},
	}
}

func cutWords(lab, verb, node string, cut cluster.PowerCut) string {
	words := fmt.Sprintf("lab %s: %s %s: everything in it was dead after %v", lab, verb, node, cut.Took.Round(time.Millisecond))
	if cut.Took == 0 {
		words = fmt.Sprintf("lab %s: %s %s: it was off already", lab, verb, node)
	}
	if len(cut.Frontends) > 0 {
		words += fmt.Sprintf("; took away its devices %v", cut.Frontends)
	}
	if len(cut.Aborted) > 0 {
		words += fmt.Sprintf("; it hung until its FUSE connections %v were aborted", cut.Aborted)
	}
	return words
}

func (a *app) powerOn() *cobra.Command {
	return &cobra.Command{
		Use:     "power-on BOX",
		Short:   "Switch a box on that is off",
		Example: "  lab power-on server1",
		Args:    args("BOX"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				if err := lab.PowerOn(command.Context(), given[0]); err != nil {
					return err
				}
				fmt.Printf("lab %s: %s is on\n", a.lab, given[0])
				return nil
			})
		},
	}
}

func (a *app) exec() *cobra.Command {
	var terminal bool
	command := &cobra.Command{
		Use:     "exec BOX -- COMMAND...",
		Short:   "Run a command in a box; its exit code is this one's",
		Example: "  lab exec server1 -- gemel status\n  lab exec -t client bash",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(command *cobra.Command, given []string) error {
			if given[1] == "--" {
				given = append(given[:1:1], given[2:]...)
			}
			if len(given) < 2 {
				return fmt.Errorf("%w: no command after --", errUsage)
			}
			if terminal {
				return a.shell(given)
			}
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				code, err := lab.Stream(command.Context(), given[0], os.Stdout, os.Stderr, given[1:]...)
				if err == nil && code != 0 {
					command.SilenceErrors = true
					return exitCode(code)
				}
				return err
			})
		},
	}
	command.Flags().SetInterspersed(false)
	command.Flags().BoolVarP(&terminal, "terminal", "t", false, "with this terminal as the command's")
	return command
}

// shell hands the terminal to the engine's own client.
func (a *app) shell(given []string) error {
	docker, err := exec.LookPath("docker")
	if err != nil {
		return fmt.Errorf("a terminal in %s: %w", given[0], err)
	}
	line := append([]string{"docker", "exec", "-it", cluster.ContainerName(a.lab, given[0])}, given[1:]...)
	return unix.Exec(docker, line, os.Environ())
}
