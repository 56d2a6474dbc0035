package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"gemel/lab/badcable"
	"gemel/lab/bmc"
	"gemel/lab/chassis"
	"gemel/lab/loopdev"
)

// Gigabit is the speed of the article's private cable, in bits per second.
const Gigabit = 1_000_000_000

// Options say how a new lab is built. A lab that exists keeps its own.
type Options struct {
	BinDir    string // holds the built gemel and lab; copied, so that a later build disturbs no lab
	DiskSize  int64  // bytes of each server's disk; 0: 1 GiB
	Model     string // of the servers' drives: a name, a YAML file, or PlainDisk; empty: PlainDisk
	CableRate uint64 // bits per second of a private cable; 0: unthrottled
	Bare      bool   // the boxes run no daemons, and need no gemel
	LANNIC    string // NIC that gets the VIP; empty: the chassis's lan0
	Arbiter   string // third voter: ByWitness or ByEtcd; empty: ByWitness
	// Settings of the configuration; Cluster.Reconfigure changes them later.
	Settings
	// Services that the pair runs, by the names of the recipes: nfs, samba, postgresql,
	// web. One with "@second" behind it is on a second volume of that name, which has an
	// address of its own. Empty: nfs.
	Services []string
	Say      func(string) // told each step in words; may be nil
}

const defaultDiskSize = 1 << 30

// Up builds the lab, or completes one that is half there: every box on, every
// cable wired. It returns when the boxes run, not when the cluster serves.
func (c *Cluster) Up(ctx context.Context, options Options) error {
	say := options.Say
	if say == nil {
		say = func(string) {}
	}
	if err := c.checkImage(ctx, ImageOf(options.BinDir)); err != nil {
		return fmt.Errorf("lab up: %w", err)
	}
	if err := checkArbiter(options); err != nil {
		return fmt.Errorf("lab up: %w", err)
	}
	if err := options.check(); err != nil {
		return fmt.Errorf("lab up: %w", err)
	}
	if _, err := volumesOf(options.Services, ""); err != nil {
		return fmt.Errorf("lab up: %w", err)
	}
	state, err := c.prepareState(ctx, options)
	if err != nil {
		return fmt.Errorf("lab up: %w", err)
	}
	say(diskWords(state))
	rack, err := chassis.Create(c.lab, Switches...)
	if err != nil {
		return fmt.Errorf("lab up: %w", err)
	}
	rack.Close()
	say("chassis: " + chassis.Name(c.lab) + " with switches " + strings.Join(Switches, ", ") + rateWords(state.CableRate))
	if !state.Bare {
		if err := c.writeIdentity(ctx, state); err != nil {
			return fmt.Errorf("lab up: %w", err)
		}
		say("configuration and keys: " + filepath.Join(c.dir, "nodes"))
	}
	if err := c.startAll(ctx, state); err != nil {
		return fmt.Errorf("lab up: %w; next: lab status --lab %s, or lab down --lab %s", err, c.lab, c.lab)
	}
	if err := c.checkAllOn(ctx, state); err != nil {
		return fmt.Errorf("lab up: %w", err)
	}
	say("boxes: " + boxNames(state.boxes()) + " are on and cabled")
	if state.Bare {
		return nil
	}
	if err := c.startBMCs(ctx); err != nil {
		return fmt.Errorf("lab up: %w", err)
	}
	say("power controls: Redfish at 198.18.3.11 and 198.18.3.12, fencing " + string(state.settings().Fencing) +
		"; see lab bmc --lab " + c.lab)
	return nil
}

func diskWords(state *State) string {
	kind := PlainDisk
	if state.Model != nil {
		kind = state.Model.Name
	}
	return fmt.Sprintf("disks: %s and %s, %d MiB each, model %s", state.Loops["server1"].Loop, state.Loops["server2"].Loop,
		state.DiskSize>>20, kind)
}

func rateWords(rate uint64) string {
	if rate == 0 {
		return ", unthrottled"
	}
	return fmt.Sprintf(", private cables at %d Mbit/s", rate/1_000_000)
}

func (c *Cluster) writeIdentity(ctx context.Context, state *State) error {
	if err := writeKeys(ctx, c.lab, state); err != nil {
		return err
	}
	if err := writeBMCs(c.lab); err != nil {
		return err
	}
	return writeConfig(c.lab, state)
}

// Files makes only what boxes find on their disks: directories, binaries, backing
// disks, configuration and keys. Somebody else makes the boxes, such as docker-compose;
// Down takes all of it away again.
func (c *Cluster) Files(ctx context.Context, options Options) error {
	state, err := c.prepareState(ctx, options)
	if err != nil {
		return fmt.Errorf("lab files: %w", err)
	}
	if err := c.writeIdentity(ctx, state); err != nil {
		return fmt.Errorf("lab files: %w", err)
	}
	return nil
}

// prepareState makes the lab's directory, binaries and disks, and records them.
func (c *Cluster) prepareState(ctx context.Context, options Options) (*State, error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	unlock, err := lockDir(c.dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	state, err := loadState(c.dir)
	if errors.Is(err, ErrNoLab) {
		state = newState(c.lab, options)
		state.Model, err = driveModel(options.Model)
	}
	if err != nil {
		return nil, err
	}
	state.Image = ImageOf(options.BinDir)
	for _, box := range state.boxes() {
		for _, part := range []string{"etc", "state", "log"} {
			if err := os.MkdirAll(nodeDir(c.lab, box.Name, part), 0o755); err != nil {
				return nil, fmt.Errorf("make the lab's directory: %w", err)
			}
		}
	}
	if err := copyBinaries(options.BinDir, filepath.Join(c.dir, "bin"), state.Bare); err != nil {
		return nil, err
	}
	if err := copyEtcd(options.BinDir, filepath.Join(c.dir, "bin"), state); err != nil {
		return nil, err
	}
	if err := errors.Join(c.attachDisks(ctx, state), makeSecond(c.lab, state)); err != nil {
		return nil, err
	}
	return state, state.save(c.dir)
}

func newState(lab string, options Options) *State {
	size := options.DiskSize
	if size == 0 {
		size = defaultDiskSize
	}
	nic := options.LANNIC
	if nic == "" {
		nic = NIC(LAN)
	}
	return &State{
		Lab: lab, DiskSize: size, CableRate: options.CableRate, Bare: options.Bare,
		Loops: map[string]Disk{}, Pulled: map[string]bool{}, LANNIC: nic,
		WitnessOn: options.WitnessOn, Arbiter: options.Arbiter, Fencing: options.Fencing, Services: options.Services,
		Bad: map[string]badcable.Both{}, BMC: map[string]bmc.Faults{}, Full: map[string]bool{},
	}
}

// attachDisks attaches every server's image, unless it still is: loop devices do
// not survive a reboot of the host, the images do.
func (c *Cluster) attachDisks(ctx context.Context, state *State) error {
	for _, box := range Boxes() {
		if box.Role != Server {
			continue
		}
		attach := c.attachPlain
		if state.Model != nil {
			attach = c.startDrive
		}
		disk, err := attach(ctx, state, box.Name)
		if err != nil {
			return fmt.Errorf("disk of %s: %w; next: lab doctor, or lab up --model %s", box.Name, err, PlainDisk)
		}
		state.Loops[box.Name] = disk
		// Saved at once: a loop device nobody remembers is a leftover.
		if err := state.save(c.dir); err != nil {
			return err
		}
	}
	return nil
}

// attachPlain puts a loop device over a server's image.
func (c *Cluster) attachPlain(_ context.Context, state *State, node string) (Disk, error) {
	image := nodeDir(c.lab, node, "disk.img")
	if err := makeImage(image, state.DiskSize); err != nil {
		return Disk{}, err
	}
	attached, err := loopdev.List()
	if err != nil {
		return Disk{}, err
	}
	if at := slices.IndexFunc(attached, func(d loopdev.Device) bool { return d.Backing == image }); at >= 0 {
		return Disk{Image: image, Loop: attached[at].Path}, nil
	}
	loop, err := loopdev.Attach(image)
	return Disk{Image: image, Loop: loop}, err
}

func makeImage(path string, size int64) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// Allocated, so that the pair is not measured by the host finding room block by block.
	err = unix.Fallocate(int(file.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = file.Truncate(size)
	}
	return errors.Join(err, file.Close())
}

func copyBinaries(from, to string, bare bool) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("copy the binaries: %w", err)
	}
	for _, name := range []string{"gemel", "lab"} {
		err := copyFile(filepath.Join(from, name), filepath.Join(to, name))
		if errors.Is(err, os.ErrNotExist) && bare {
			continue
		}
		if err != nil {
			return fmt.Errorf("copy the binaries: %w; next: make build", err)
		}
	}
	return nil
}

// copyFile replaces the target in one step: a box may be running the old one.
func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if err = errors.Join(err, target.Close()); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

func (c *Cluster) startAll(ctx context.Context, state *State) error {
	boxes := state.boxes()
	errs := make([]error, len(boxes))
	var started sync.WaitGroup
	for i, box := range boxes {
		started.Go(func() { errs[i] = c.ensureBox(ctx, box, state.Bare) })
	}
	started.Wait()
	return errors.Join(errs...)
}

// checkAllOn finds a box whose first process ended right after its start.
func (c *Cluster) checkAllOn(ctx context.Context, state *State) error {
	for _, box := range state.boxes() {
		found, err := c.inspect(ctx, box.Name)
		if err != nil {
			return err
		}
		if !found.State.Running {
			return fmt.Errorf("%s ended with code %d: %w; next: docker logs %s",
				box.Name, found.State.ExitCode, ErrOff, ContainerName(c.lab, box.Name))
		}
	}
	return nil
}
