package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"gemel/node/replicator/disk"
	"gemel/node/replicator/meta"
)

const dumpHelp = `Prints what a replica remembers on its backing device: both superblocks with flags, generations
and this node's vote, the past (last reign, last meeting with the peer, last verify), the activity log with its hot extents,
and how much the saved bitmap marks. It reads the device and nothing else: the replicator may run or not, and nothing is
changed. Every block has a checksum, so one that is met in the middle of a write is noticed and read again.
docs/ondisk.md explains the words.
Damaged metadata is printed as far as it can be read, with what is damaged and how to go on.

Exit codes: 0 printed, 1 the metadata cannot be used, or the device cannot be read.`

// dumpTries is how often damaged metadata is read anew: a running replicator may
// be in the middle of a write.
const dumpTries = 3

func (a *app) dumpCommand() *cobra.Command {
	var asJSON bool
	var device string
	c := &cobra.Command{Use: "dump-metadata [NAME]", Short: "Print what a replica remembers on its device", Long: dumpHelp,
		Args: cobra.MaximumNArgs(1), Example: "  gemel volume dump-metadata data\n  gemel volume dump-metadata --device /dev/sdb1 --json",
		RunE: func(_ *cobra.Command, args []string) error {
			path, inspect, err := a.deviceOf(device, args)
			if err != nil {
				return err
			}
			return a.dumpMetadata(path, inspect, asJSON)
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	c.Flags().StringVar(&device, "device", "", "look at this device instead of a configured volume's")
	return c
}

// deviceOf is the device that was named, or the one of the configured volume that
// holds its metadata, and how to look at it.
func (a *app) deviceOf(device string, args []string) (path string, inspect func(disk.Device) meta.Dump, err error) {
	if device != "" {
		if len(args) > 0 {
			return "", nil, usagef("give a volume's name or --device, not both")
		}
		return device, func(d disk.Device) meta.Dump { return meta.Inspect(d, 0) }, nil
	}
	cfg, err := a.load()
	if err != nil {
		return "", nil, err
	}
	name, err := pickVolume(cfg, args)
	if err != nil {
		return "", nil, err
	}
	if apart := cfg.Volume(name).Apart(); apart != "" {
		return apart, meta.InspectApart, nil
	}
	seen := disk.Seen(cfg.SizeFile(name))
	return cfg.Volume(name).Device, func(d disk.Device) meta.Dump { return meta.Inspect(d, seen...) }, nil
}

func (a *app) dumpMetadata(path string, inspect func(disk.Device) meta.Dump, asJSON bool) error {
	d, err := disk.Look(path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	dump := inspect(d)
	for range dumpTries - 1 {
		if dump.Err() == nil && dump.Note == "" && dump.Log.Known {
			break
		}
		dump = inspect(d)
	}
	if asJSON {
		if err := a.json(&dump); err != nil {
			return err
		}
	} else {
		a.printf("%s", dump.String())
	}
	if err := dump.Err(); err != nil {
		return fmt.Errorf("metadata on %s: %w", path, err)
	}
	return nil
}
