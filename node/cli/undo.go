package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/block"
	"gemel/node/config"
	"gemel/node/replicator/control"
	"gemel/node/replicator/undo"
)

func (a *app) undoCommand() *cobra.Command {
	c := &cobra.Command{Use: "undo", Short: "See and bring back what a replica lost", Args: cobra.NoArgs,
		Long: "Undo files keep the blocks that a replica lost when it gave its changes up (gemel resolve). They lie on the node\n" +
			"that lost them, in undo-dir. Nobody removes them but you.",
		Example: "  gemel undo list\n  gemel undo show FILE\n  gemel undo restore FILE --to /srv/old.img",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(a.undoListCommand(), a.undoShowCommand(), a.undoRestoreCommand())
	return c
}

// undoFile is what list and show print as JSON.
type undoFile struct {
	Path   string        `json:"path"`
	Volume string        `json:"volume,omitempty"`
	Node   string        `json:"node,omitempty"`
	Time   time.Time     `json:"time"`
	Bytes  int64         `json:"bytes"` // kept
	Size   int64         `json:"size"`  // of the volume
	Error  string        `json:"error,omitempty"`
	Ranges []block.Range `json:"ranges,omitempty"`
}

func describeUndo(cfg *config.Config, path string, h undo.Header, err error) undoFile {
	f := undoFile{Path: path, Volume: h.Volume, Bytes: h.Marked, Size: h.Size}
	if names := cfg.NodeNames(); int(h.Node) < len(names) {
		f.Node = names[h.Node]
	}
	if h.Time != 0 {
		f.Time = time.Unix(0, h.Time).UTC()
	}
	if err != nil {
		f.Error = err.Error()
	}
	return f
}

func (a *app) undoListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "list", Short: "One line per undo file on this node", Args: cobra.NoArgs,
		Long:    "Shows the undo files of this node, oldest first.\n\nExit codes: 0 shown, 1 failed.",
		Example: "  gemel undo list\n  gemel undo list --json",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			found, err := undo.List(cfg.UndoDirectory())
			if err != nil {
				return err
			}
			files := make([]undoFile, 0, len(found))
			for _, e := range found {
				files = append(files, describeUndo(cfg, e.Path, e.Header, e.Err))
			}
			if asJSON {
				return a.json(files)
			}
			a.printUndoList(cfg, files)
			return nil
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return c
}

func (a *app) printUndoList(cfg *config.Config, files []undoFile) {
	if len(files) == 0 {
		a.printf("There are no undo files in %s on this node.\n", cfg.UndoDirectory())
		return
	}
	a.printf("%s%s%sFILE\n", pad("WHEN", 22), pad("VOLUME", 14), pad("KEPT", 14))
	for _, f := range files {
		if f.Error != "" {
			a.printf("%s (%s)\n", f.Path, f.Error)
			continue
		}
		a.printf("%s%s%s%s\n", pad(moment(f.Time), 22), pad(f.Volume, 14), pad(size(f.Bytes), 14), f.Path)
	}
}

func (a *app) undoShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "show FILE", Short: "Show which ranges an undo file keeps", Args: cobra.ExactArgs(1),
		Long:    "Reads a whole undo file, checks every byte, and shows what it keeps.\n\nExit codes: 0 shown and whole, 1 damaged.",
		Example: "  gemel undo show /var/lib/gemel/undo/data-20260804T101500Z-a0a1a2a3.undo",
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			h, ranges, err := undoRanges(args[0])
			f := describeUndo(cfg, args[0], h, err)
			f.Ranges = ranges
			if asJSON {
				return errors.Join(a.json(f), err)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			a.printf("%s: %s of volume %s (%s) as %s had it at %s, in %d ranges:\n", f.Path, size(f.Bytes), f.Volume, size(f.Size),
				f.Node, moment(f.Time), len(ranges))
			for _, r := range ranges {
				a.printf("  %s%d bytes\n", pad(fmt.Sprintf("at %d", r.Off), 24), r.Len)
			}
			return nil
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return c
}

// undoRanges reads the file at path to its end; neighbours are told as one.
func undoRanges(path string) (undo.Header, []block.Range, error) {
	f, err := os.Open(path)
	if err != nil {
		return undo.Header{}, nil, err
	}
	defer f.Close()
	var ranges []block.Range
	h, err := undo.Read(f, func(r block.Range, _ []byte) error {
		if n := len(ranges); n > 0 && ranges[n-1].End() == r.Off {
			ranges[n-1].Len += r.Len
		} else {
			ranges = append(ranges, r)
		}
		return nil
	})
	return h, ranges, err
}

const restoreHelp = `Brings back what an undo file keeps.

With --to PATH it writes an image of the whole volume as the node that lost saw it: the blocks of this node's backing
device, and over them the kept ones. Mount it read-only (mount -o loop,ro) and copy what you miss. Blocks that neither
side had changed while they were apart are taken as they are now, so do it before much is written to the volume.

With --onto-volume it writes the kept blocks onto the running volume: on the Primary, and only while its device is not
mounted. That undoes the other side's changes to these blocks. Check the file system before you mount it.

Exit codes: 0 restored, 1 failed, 3 refused (with the reason), 4 no agent answers.`

func (a *app) undoRestoreCommand() *cobra.Command {
	var to string
	var onto, yes bool
	c := &cobra.Command{Use: "restore FILE", Short: "Bring back what an undo file keeps", Long: restoreHelp, Args: cobra.ExactArgs(1),
		Example: "  gemel undo restore FILE --to /srv/old.img\n  gemel undo restore FILE --onto-volume",
		RunE: func(cmd *cobra.Command, args []string) error {
			if onto == (to != "") {
				return usagef("say either --to PATH or --onto-volume")
			}
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if onto {
				return a.restoreOnto(cmd.Context(), cfg, args[0], yes)
			}
			return a.restoreTo(cfg, args[0], to)
		}}
	c.Flags().StringVar(&to, "to", "", "write an image of the volume into this new file")
	c.Flags().BoolVar(&onto, "onto-volume", false, "write the blocks onto the running volume")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask, for scripts")
	return c
}

// restoreTo writes an image of the volume as the loser saw it. A file that was
// not finished is removed.
func (a *app) restoreTo(cfg *config.Config, path, to string) error {
	h, err := undo.ReadHeader(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	vol := cfg.Volume(h.Volume)
	if vol == nil {
		return refusedf("%s is of volume %q, which is not configured here", path, h.Volume)
	}
	base, err := os.Open(vol.Device)
	if err != nil {
		return err
	}
	defer base.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	err = image(out, base, h.Size, path)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(fmt.Errorf("write the image %s: %w", to, err), os.Remove(to))
	}
	a.printf("%s holds volume %s (%s) as it was at %s; mount it with -o loop,ro.\n", to, h.Volume, size(h.Size), moment(time.Unix(0, h.Time)))
	return nil
}

// image writes base, sparsely, and the kept blocks over it.
func image(out *os.File, base io.ReaderAt, length int64, path string) error {
	if err := out.Truncate(length); err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); off < length; off += int64(len(buf)) {
		part := buf[:min(int64(len(buf)), length-off)]
		if _, err := base.ReadAt(part, off); err != nil {
			return err
		}
		if err := sparsely(out, part, off); err != nil {
			return err
		}
	}
	return writeKept(out, path)
}

// sparsely leaves blocks of zeroes out.
func sparsely(out *os.File, p []byte, off int64) error {
	for len(p) > 0 {
		n := min(len(p), block.Size)
		for _, c := range p[:n] {
			if c == 0 {
				continue
			}
			if _, err := out.WriteAt(p[:n], off); err != nil {
				return err
			}
			break
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// writeKept writes the blocks of the undo file at path.
func writeKept(out io.WriterAt, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	zeroes := make([]byte, 1<<20)
	_, err = undo.Read(f, func(r block.Range, data []byte) error {
		if data == nil {
			data = zeroes[:r.Len]
		}
		_, err := out.WriteAt(data, r.Off)
		return err
	})
	return err
}

// restoreOnto writes the kept blocks onto the volume's device: ordinary writes,
// replicated like any other.
func (a *app) restoreOnto(ctx context.Context, cfg *config.Config, path string, yes bool) error {
	h, ranges, err := undoRanges(path) // whole and right before the first block is written
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s, err := a.ask(ctx, "")
	if err != nil {
		return err
	}
	v := volumeOf(&s, h.Volume)
	switch {
	case v == nil:
		return refusedf("%s is of volume %q, which %s does not know", path, h.Volume, s.Node)
	case v.Role != control.Primary || v.Device == "":
		return refusedf("%s is not Primary for %s here; copy the file to the Primary and run it there", s.Node, h.Volume)
	case v.Mount != "":
		return refusedf("%s is mounted at %s; take the mount out of the configuration or unmount it first", h.Volume, v.Mount)
	case v.Size != h.Size:
		return refusedf("%s is %s large now, the undo file is of a volume of %s", h.Volume, size(v.Size), size(h.Size))
	}
	if !yes {
		stakes := fmt.Sprintf("%s in %d ranges of %s will be overwritten on both nodes.", size(h.Marked), len(ranges), h.Volume)
		if err := a.confirm(stakes, h.Volume); err != nil {
			return err
		}
	}
	device, err := os.OpenFile(v.Device, os.O_WRONLY|os.O_EXCL, 0) // the kernel refuses while it is in use
	if err != nil {
		return fmt.Errorf("open the volume's device: %w", err)
	}
	err = writeKept(device, path)
	if err == nil {
		err = device.Sync()
	}
	if err = errors.Join(err, device.Close()); err != nil {
		return fmt.Errorf("write onto %s: %w", v.Device, err)
	}
	a.printf("%s of %s are back as they were at %s. Check the file system before you mount it.\n",
		size(h.Marked), h.Volume, moment(time.Unix(0, h.Time)))
	return nil
}
