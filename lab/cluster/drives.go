package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gemel/lab/drive"
	"gemel/lab/drive/faults"
	"gemel/lab/drive/model"
	"gemel/lab/drive/server"
)

// DrivesRoot holds one directory per drive that belongs to no lab.
const DrivesRoot = "/var/lib/gemel-drives"

// PlainDisk is the model of a disk that is no drive but a file under a loop device:
// nothing between it and the host, no faults, and no power cut takes a write from it.
const PlainDisk = "plain"

// ErrNoDrive says that a box's disk cannot be troubled, because it is no simulated one.
var ErrNoDrive = errors.New("the disk is a plain one")

// DriveDir returns the directory of a server's drive.
func DriveDir(lab, node string) string { return nodeDir(lab, node, "drive") }

// DriveName returns the name of a server's drive. No lab's name is the start of
// another's with the dot behind it.
func DriveName(lab, node string) string { return lab + "." + node }

// ownsDrive says whether a drive of a name belongs to a lab.
func ownsDrive(lab string) func(name string) bool {
	return func(name string) bool { return strings.HasPrefix(name, lab+".") }
}

// Model returns the model of a disk: a ready-made one by name, or the one in a YAML file.
func Model(name string) (model.Params, error) {
	params, err := model.Named(name)
	if !errors.Is(err, model.ErrUnknown) {
		return params, err
	}
	text, readErr := os.ReadFile(name)
	if readErr != nil {
		return params, fmt.Errorf("%w, and no such file: %w", err, readErr)
	}
	return model.Parse(text)
}

// driveModel returns the model a new lab's disks have; nil: plain ones.
func driveModel(name string) (*model.Params, error) {
	if name == "" || name == PlainDisk {
		return nil, nil
	}
	params, err := Model(name)
	return &params, err
}

// startDrive starts a server's drive, unless it runs, and returns its disk. The server
// is the lab's own copy of this program, so that a build disturbs no lab.
func (c *Cluster) startDrive(ctx context.Context, state *State, node string) (Disk, error) {
	image := nodeDir(c.lab, node, "disk.img")
	if known := state.Loops[node].Image; known != "" {
		image = known // another one was swapped in
	}
	config := server.Config{Name: DriveName(c.lab, node), Image: image, Size: state.DiskSize, Model: *state.Model}
	status, err := server.Start(ctx, DriveDir(c.lab, node), filepath.Join(c.dir, "bin", "lab"), config)
	return Disk{Image: image, Loop: status.Device}, err
}

// Drive returns the client of a server's drive; ErrNoDrive when the lab has plain disks.
func (c *Cluster) Drive(node string) (*server.Client, error) {
	state, err := loadState(c.dir)
	if err != nil {
		return nil, err
	}
	if _, ok := state.Loops[node]; !ok {
		return nil, fmt.Errorf("disk of %q: %w with a disk; server1 and server2 have one", node, ErrNoNode)
	}
	if state.Model == nil {
		return nil, fmt.Errorf("disk of %s: %w; next: make a lab with lab up --model unthrottled", node, ErrNoDrive)
	}
	return server.NewClient(DriveDir(c.lab, node)), nil
}

// FailDisk makes a server's disk worse, in any way the drive knows, and returns the
// fault with its number. HealDisk undoes it.
func (c *Cluster) FailDisk(ctx context.Context, node string, f faults.Fault) (faults.Fault, error) {
	client, err := c.Drive(node)
	if err != nil {
		return f, err
	}
	return client.Fault(ctx, f)
}

// FailSector makes n bytes at off of a server's disk unreadable, unwritable or both.
func (c *Cluster) FailSector(ctx context.Context, node string, off, n int64, on faults.Access) (faults.Fault, error) {
	return c.FailDisk(ctx, node, faults.Fault{Kind: faults.BadSector, Off: off, Len: n, On: on})
}

// SlowDisk makes everything on a server's disk take factor times as long, and latency more.
func (c *Cluster) SlowDisk(ctx context.Context, node string, factor float64, latency time.Duration) (faults.Fault, error) {
	return c.FailDisk(ctx, node, faults.Fault{Kind: faults.Slow, Factor: factor, Latency: latency})
}

// StickDisk keeps a server's disk from answering, until it is healed or the box is reset.
func (c *Cluster) StickDisk(ctx context.Context, node string) (faults.Fault, error) {
	return c.FailDisk(ctx, node, faults.Fault{Kind: faults.Stuck})
}

// CorruptBlock makes a server's disk return n wrong bytes at off without saying so.
func (c *Cluster) CorruptBlock(ctx context.Context, node string, off, n int64, seed uint64) (faults.Fault, error) {
	return c.FailDisk(ctx, node, faults.Fault{Kind: faults.Corrupt, Off: off, Len: n, Seed: seed})
}

// HealDisk takes every fault of a server's disk away and returns them. A plain disk has none.
func (c *Cluster) HealDisk(ctx context.Context, node string) ([]faults.Fault, error) {
	client, err := c.Drive(node)
	if errors.Is(err, ErrNoDrive) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return client.Heal(ctx, 0)
}

// SwapDisk puts a blank disk into a server that is off, or with back the one it was
// made with, and heals what was wrong. It returns the image now in use; the other
// image stays.
func (c *Cluster) SwapDisk(ctx context.Context, node string, back bool) (string, error) {
	client, err := c.Drive(node)
	if err != nil {
		return "", err
	}
	found, err := c.inspect(ctx, node)
	if err != nil {
		return "", err
	}
	if found.State.Running {
		return "", fmt.Errorf("swap the disk of %s: the box is on; next: lab yank-power %s, then again", node, node)
	}
	image := nodeDir(c.lab, node, "disk.img")
	if !back {
		image = nodeDir(c.lab, node, "spare-"+time.Now().UTC().Format("20060102T150405.000")+".img")
	}
	if _, err := client.Swap(ctx, image); err != nil {
		return "", err
	}
	return image, changeState(c.dir, func(s *State) {
		disk := s.Loops[node]
		disk.Image = image
		s.Loops[node] = disk
	})
}

// cutDrive does to a box's drive what happens to the box: a reset drops what is under
// way, a power cut takes the cache as well. A drive that does not run has lost it all.
func (c *Cluster) cutDrive(ctx context.Context, node string, cut *drive.Cut) (*drive.Loss, error) {
	client, err := c.Drive(node)
	if errors.Is(err, ErrNoDrive) || errors.Is(err, ErrNoNode) || errors.Is(err, ErrNoLab) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if cut == nil {
		_, err = client.Reset(ctx)
		return nil, ignoreDead(err)
	}
	loss, err := client.CutPower(ctx, *cut)
	if err != nil {
		return nil, ignoreDead(err)
	}
	return &loss, nil
}

func ignoreDead(err error) error {
	if errors.Is(err, server.ErrNoDrive) {
		return nil
	}
	return err
}

// powerDrive gives a box's drive its power, before the box starts.
func (c *Cluster) powerDrive(ctx context.Context, node string) error {
	client, err := c.Drive(node)
	if errors.Is(err, ErrNoDrive) || errors.Is(err, ErrNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := client.PowerOn(ctx); err != nil {
		return fmt.Errorf("disk of %s: %w; next: lab up --lab %s", node, err, c.lab)
	}
	return nil
}

// driveStatus returns the state of a server's drive; nil when it has none. A dead one is broken.
func (c *Cluster) driveStatus(ctx context.Context, state *State, node string) *server.Status {
	if _, ok := state.Loops[node]; !ok || state.Model == nil {
		return nil
	}
	status, err := server.NewClient(DriveDir(c.lab, node)).Status(ctx)
	if err != nil {
		status.Name, status.Model, status.Broken = DriveName(c.lab, node), *state.Model, "its process is dead; next: lab up"
	}
	return &status
}
