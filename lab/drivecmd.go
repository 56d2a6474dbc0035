package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gemel/lab/cluster"
	"gemel/lab/drive"
	"gemel/lab/drive/faults"
	"gemel/lab/drive/model"
	"gemel/lab/drive/server"
)

// drive is everything about one simulated disk; it needs no lab.
func (a *app) drive() *cobra.Command {
	command := &cobra.Command{
		Use:   "drive",
		Short: "A disk that behaves like one: slow, volatile, and able to fail; alone or as a server's",
		Long: `A disk that behaves like one: a loop device over a FUSE file, with a model of platters, cache
and bus, faults on demand, and power cuts that take unflushed writes. It needs root, FUSE and loop, no container.

A drive of a lab is called LAB.BOX, such as gemel.server1.`,
		Example: "  lab drive attach d1 --model platter-2004\n  lab drive fault d1 bad-sector --at 1MiB --length 4KiB --on read\n" +
			"  lab drive power-cut d1 --seed 7\n  lab drive detach d1",
	}
	command.AddCommand(a.driveModels(), a.driveAttach(), a.driveDetach(), a.driveServe(), a.driveStatus(), a.driveFault(),
		a.driveHeal(), a.drivePowerCut(), a.driveAct("power-on", "Give the power back after a power cut", (*server.Client).PowerOn),
		a.driveAct("reset", "Drop the requests under way, as a reset does; the cache stays", (*server.Client).Reset),
		a.driveSwap(), a.driveMeasure())
	return command
}

// driveDir returns the directory of a drive by its name.
func driveDir(name string) (string, error) {
	if lab, box, ok := strings.Cut(name, "."); ok {
		return cluster.DriveDir(lab, box), cluster.CheckName(lab)
	}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || name == "" || len(name) > 40 {
		return "", fmt.Errorf("%w: drive name %q: small letters, digits and dashes; of a lab: LAB.BOX", errUsage, name)
	}
	return filepath.Join(cluster.DrivesRoot, name), nil
}

// driveVerb makes a command whose first argument is a drive.
func (a *app) driveVerb(use, short, example string, names []string,
	do func(ctx context.Context, drive *server.Client, given []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example, Args: args(names...),
		RunE: func(command *cobra.Command, given []string) error {
			dir, err := driveDir(given[0])
			if err != nil {
				return err
			}
			return do(command.Context(), server.NewClient(dir), given)
		},
	}
}

func (a *app) driveModels() *cobra.Command {
	return &cobra.Command{
		Use:     "models [NAME]",
		Short:   "List the ready-made models, or print one as YAML to change",
		Example: "  lab drive models\n  lab drive models platter-2004 > mine.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, given []string) error {
			if len(given) == 1 {
				text, err := model.Text(given[0])
				fmt.Print(string(text))
				return err
			}
			table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
			for _, name := range model.Names() {
				params, err := model.Named(name)
				if err != nil {
					return err
				}
				fmt.Fprintf(table, "%s\t%s\n", name, params.Description)
			}
			return table.Flush()
		},
	}
}

func (a *app) driveAttach() *cobra.Command {
	var modelName, image, size string
	command := &cobra.Command{
		Use:   "attach NAME",
		Short: "Start a drive; it stays until it is detached, and prints its device",
		Example: "  lab drive attach d1 --model platter-2004 --size 256MiB\n" +
			"  lab drive attach d2 --model mine.yaml --image /data/d2.img --json",
		Args: args("NAME"),
		RunE: func(command *cobra.Command, given []string) error {
			dir, err := driveDir(given[0])
			if err != nil {
				return err
			}
			if strings.Contains(given[0], ".") {
				return fmt.Errorf("%w: drive %s belongs to a lab; next: lab up", errUsage, given[0])
			}
			params, bytes, err := modelAndSize(modelName, size)
			if err != nil {
				return err
			}
			if image == "" {
				image = filepath.Join(dir, "disk.img")
			}
			if image, err = filepath.Abs(image); err != nil {
				return err
			}
			binary, err := os.Executable()
			if err != nil {
				return err
			}
			config := server.Config{Name: given[0], Image: image, Size: bytes, Model: params}
			status, err := server.Start(command.Context(), dir, binary, config)
			if err != nil {
				return err
			}
			return a.showDrives(status)
		},
	}
	flags := command.Flags()
	flags.StringVar(&modelName, "model", "unthrottled", "a ready-made model, or a YAML file")
	flags.StringVar(&image, "image", "", "the backing file, made when missing (default: one that detach removes)")
	flags.StringVar(&size, "size", "1GiB", "size of a backing file that is made")
	return a.jsonFlag(command)
}

func modelAndSize(name, size string) (model.Params, int64, error) {
	params, err := cluster.Model(name)
	if err != nil {
		return params, 0, err
	}
	bytes, err := model.ParseSize(size)
	if err == nil && bytes < 1<<20 {
		err = fmt.Errorf("%q is too small: at least 1MiB", size)
	}
	if err != nil {
		return params, 0, fmt.Errorf("%w: size: %w", errUsage, err)
	}
	return params, int64(bytes), nil
}

func (a *app) driveDetach() *cobra.Command {
	return &cobra.Command{
		Use:     "detach NAME",
		Short:   "Write what is cached, take the device away, and remove all of the drive but an image of yours",
		Example: "  lab drive detach d1",
		Args:    args("NAME"),
		RunE: func(command *cobra.Command, given []string) error {
			dir, err := driveDir(given[0])
			if err != nil {
				return err
			}
			if strings.Contains(given[0], ".") {
				return fmt.Errorf("%w: drive %s belongs to a lab; next: lab down", errUsage, given[0])
			}
			stopped, detached, err := server.StopAll(command.Context(), dir+"/", func(name string) bool { return name == given[0] })
			if err != nil {
				return err
			}
			if len(stopped)+len(detached) == 0 {
				fmt.Printf("drive %s: it was not there\n", given[0])
			} else {
				fmt.Printf("drive %s: detached\n", given[0])
			}
			return os.RemoveAll(dir)
		},
	}
}

func (a *app) driveServe() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use:     "serve --dir DIR",
		Short:   "Be the server of a drive; attach and lab up start it",
		Example: "  lab drive serve --dir /var/lib/gemel-drives/d1",
		Hidden:  true,
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			if dir == "" {
				return fmt.Errorf("%w: --dir is missing", errUsage)
			}
			if err := server.Enter(); err != nil {
				return err
			}
			return server.Serve(command.Context(), dir, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		},
	}
	command.Flags().StringVar(&dir, "dir", "", "directory of the drive")
	return command
}

func (a *app) driveStatus() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:     "status [NAME]",
		Short:   "Show one drive, or all that run on this host",
		Example: "  lab drive status\n  lab drive status gemel.server1 --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, given []string) error {
			dirs, err := driveDirs(given)
			if err != nil {
				return err
			}
			var drives []server.Status
			for _, dir := range dirs {
				status, err := server.NewClient(dir).Status(command.Context())
				if err != nil {
					return err
				}
				drives = append(drives, status)
			}
			return a.showDrives(drives...)
		},
	})
}

func driveDirs(given []string) ([]string, error) {
	if len(given) == 1 {
		dir, err := driveDir(given[0])
		return []string{dir}, err
	}
	var dirs []string
	for _, root := range []string{cluster.Root, cluster.DrivesRoot} {
		processes, err := server.Processes(root + "/")
		if err != nil {
			return nil, err
		}
		for _, process := range processes {
			dirs = append(dirs, process.Dir)
		}
	}
	return dirs, nil
}

func (a *app) showDrives(drives ...server.Status) error {
	if a.json {
		if drives == nil {
			drives = []server.Status{}
		}
		return printJSON(drives)
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "DRIVE\tDEVICE\tMODEL\tPOWER\tUNFLUSHED\tWRITTEN\tREAD\tFLUSHES\tERRORS\tFAULTS")
	for _, d := range drives {
		power := "off"
		if d.On {
			power = "on"
		}
		var wrong []string
		for _, f := range d.Faults {
			wrong = append(wrong, fmt.Sprintf("#%d %s", f.ID, f))
		}
		if d.Broken != "" {
			wrong = append(wrong, d.Broken)
		}
		if wrong == nil {
			wrong = []string{"none"}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d writes, %d KiB\t%d MiB\t%d MiB\t%d\t%d\t%s\n", d.Name, d.Device, d.Model.Name,
			power, d.Cached, d.CachedBytes>>10, d.Stats.BytesWritten>>20, d.Stats.BytesRead>>20, d.Stats.Flushes,
			d.Stats.Errors, strings.Join(wrong, "; "))
	}
	return table.Flush()
}

func (a *app) driveFault() *cobra.Command {
	var place placeFlags
	fault := faults.Fault{}
	command := a.driveVerb("fault NAME KIND", "Make a drive worse, until it is healed",
		"  lab drive fault d1 bad-sector --at 1MiB --length 4KiB --on read\n  lab drive fault d1 slow --factor 20\n"+
			"  lab drive fault d1 stuck\n  lab drive fault d1 lying-flush", []string{"NAME", "KIND"},
		func(ctx context.Context, drive *server.Client, given []string) error {
			fault.Kind = faults.Kind(given[1])
			if err := place.fill(&fault); err != nil {
				return err
			}
			made, err := drive.Fault(ctx, fault)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(made)
			}
			fmt.Printf("drive %s: #%d %s; undo: lab drive heal %s %d\n", given[0], made.ID, made, given[0], made.ID)
			return nil
		})
	command.Long = fmt.Sprintf("Make a drive worse, until it is healed. Kinds: %v.", faults.Kinds())
	place.add(command)
	flags := command.Flags()
	flags.StringVar((*string)(&fault.On), "on", "", "bad-sector: read, write or both (default both)")
	flags.Float64Var(&fault.Factor, "factor", 0, "slow: everything takes so many times as long")
	flags.DurationVar(&fault.Latency, "latency", 0, "slow: added to every request")
	flags.Uint64Var(&fault.Seed, "seed", 0, "corrupt: chooses the wrong bits")
	return a.jsonFlag(command)
}

// placeFlags are where on a disk something is wrong.
type placeFlags struct{ at, length, by string }

func (p *placeFlags) add(command *cobra.Command) {
	p.addRange(command)
	command.Flags().StringVar(&p.by, "by", "1MiB", "misdirected: how far off writes land")
}

func (p *placeFlags) addRange(command *cobra.Command) {
	command.Flags().StringVar(&p.at, "at", "0", "first byte, such as 1MiB; a multiple of 512")
	command.Flags().StringVar(&p.length, "length", "4KiB", "how many bytes")
}

func (p *placeFlags) fill(f *faults.Fault) error {
	for _, field := range []struct {
		text string
		to   *int64
		kind []faults.Kind
	}{
		{p.at, &f.Off, []faults.Kind{faults.BadSector, faults.Corrupt, faults.Misdirected}},
		{p.length, &f.Len, []faults.Kind{faults.BadSector, faults.Corrupt, faults.Misdirected}},
		{p.by, &f.By, []faults.Kind{faults.Misdirected}},
	} {
		for _, kind := range field.kind {
			if kind != f.Kind {
				continue
			}
			bytes, err := model.ParseSize(field.text)
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			*field.to = int64(bytes)
		}
	}
	return nil
}

func (a *app) driveHeal() *cobra.Command {
	command := a.driveVerb("heal NAME [ID]", "Take one fault away, or all of them", "  lab drive heal d1\n  lab drive heal d1 3",
		nil, func(ctx context.Context, drive *server.Client, given []string) error {
			id, err := faultNumber(given[1:])
			if err != nil {
				return err
			}
			healed, err := drive.Heal(ctx, id)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(healed)
			}
			fmt.Printf("drive %s: healed %d faults\n", given[0], len(healed))
			return nil
		})
	command.Args = cobra.RangeArgs(1, 2)
	return a.jsonFlag(command)
}

// faultNumber reads the number of a fault; 0 when none is given.
func faultNumber(given []string) (int, error) {
	if len(given) == 0 {
		return 0, nil
	}
	id, err := strconv.Atoi(strings.TrimPrefix(given[0], "#"))
	if err != nil || id < 1 {
		return 0, fmt.Errorf("%w: %q is no number of a fault", errUsage, given[0])
	}
	return id, nil
}

func (a *app) drivePowerCut() *cobra.Command {
	cut := drive.Cut{}
	command := a.driveVerb("power-cut NAME", "Take the drive's power: unflushed writes are lost, kept or torn, as the seed says",
		"  lab drive power-cut d1 --seed 7\n  lab drive power-cut d1 --keep 0 --json", []string{"NAME"},
		func(ctx context.Context, drive *server.Client, given []string) error {
			loss, err := drive.CutPower(ctx, cut)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(loss)
			}
			printLoss(given[0], loss)
			return nil
		})
	cutFlags(command, &cut)
	return a.jsonFlag(command)
}

func printLoss(name string, loss drive.Loss) {
	fmt.Printf("drive %s: power cut, seed %d: of %d unflushed writes (%d KiB) %d are lost or torn (%d KiB)\n", name,
		loss.Seed, loss.Cached, loss.CachedBytes>>10, len(loss.Writes), loss.LostBytes>>10)
	for _, w := range loss.Writes {
		words := "lost"
		if w.Len < w.Of {
			words = fmt.Sprintf("torn after %d bytes", w.Of-w.Len)
		}
		if !w.Acknowledged {
			words += ", not acknowledged yet"
		}
		fmt.Printf("  %d+%d %s\n", w.Off, w.Len, words)
	}
}

func (a *app) driveAct(use, short string, act func(*server.Client, context.Context) (server.Status, error)) *cobra.Command {
	return a.jsonFlag(a.driveVerb(use+" NAME", short, "  lab drive "+use+" d1", []string{"NAME"},
		func(ctx context.Context, drive *server.Client, _ []string) error {
			status, err := act(drive, ctx)
			if err != nil {
				return err
			}
			return a.showDrives(status)
		}))
}

func (a *app) driveSwap() *cobra.Command {
	return a.jsonFlag(a.driveVerb("swap NAME IMAGE", "Put another disk in its place; a missing image is made blank",
		"  lab drive swap d1 /var/lib/spare.img", []string{"NAME", "IMAGE"},
		func(ctx context.Context, drive *server.Client, given []string) error {
			image, err := filepath.Abs(given[1])
			if err != nil {
				return err
			}
			status, err := drive.Swap(ctx, image)
			if err != nil {
				return err
			}
			return a.showDrives(status)
		}))
}

func (a *app) driveMeasure() *cobra.Command {
	var modelName string
	command := &cobra.Command{
		Use:     "measure",
		Short:   "Measure a model on this host in real time, beside what it says; makes a drive and removes it",
		Example: "  lab drive measure --model 2004",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			params, err := cluster.Model(modelName)
			if err != nil {
				return err
			}
			measured, err := measureModel(command.Context(), params)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(measured)
			}
			return printMeasured(measured)
		},
	}
	command.Flags().StringVar(&modelName, "model", "platter-2004", "a ready-made model, or a YAML file")
	return a.jsonFlag(command)
}

func measureModel(ctx context.Context, params model.Params) (measured server.Measured, err error) {
	const size = 1 << 30
	name := fmt.Sprintf("measure-%d", os.Getpid())
	dir := filepath.Join(cluster.DrivesRoot, name)
	binary, err := os.Executable()
	if err != nil {
		return measured, err
	}
	defer func() {
		_, _, stopErr := server.StopAll(context.WithoutCancel(ctx), dir+"/", func(n string) bool { return n == name })
		err = errors.Join(err, stopErr, os.RemoveAll(dir))
	}()
	config := server.Config{Name: name, Image: filepath.Join(dir, "disk.img"), Size: size, Model: params}
	status, err := server.Start(ctx, dir, binary, config)
	if err != nil {
		return measured, err
	}
	return server.Measure(ctx, status.Device, size, params)
}

func printMeasured(m server.Measured) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "%s\tmeasured\tmodel\t\n", m.Model)
	for _, row := range []struct {
		what      string
		got, said float64
	}{{"burst", m.Burst, m.BurstSaid}, {"sustained", m.Sustained, m.SustainedSaid}, {"read", m.Read, m.ReadSaid}} {
		said := "no limit"
		if row.said > 0 {
			said = fmt.Sprintf("%.1f MB/s", row.said/1e6)
		}
		fmt.Fprintf(table, "%s\t%.1f MB/s\t%s\t\n", row.what, row.got/1e6, said)
	}
	fmt.Fprintf(table, "4 KiB and a flush, elsewhere\t%v\t%v\t\n", m.Flush.Round(time.Microsecond), m.FlushSaid)
	return table.Flush()
}
