package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sys/unix"

	"gemel/lab/chassis"
	"gemel/lab/drive/server"
	"gemel/lab/loopdev"
)

// Removal says what Down found and took away, so that nobody has to trust it.
type Removal struct {
	Containers []string `json:"containers"`
	Loops      []string `json:"loops"`
	Drives     []string `json:"drives"` // directories of those that ran, devices of those that were dead
	Frontends  []string `json:"frontends"`
	Aborted    []uint32 `json:"aborted"`
	Mounts     []string `json:"mounts"`
}

// Down takes the whole lab away: boxes, cables, disks and state. It needs no state
// file and goes by labels and names, so that it works after a harness was killed;
// what is not there is no error.
func (c *Cluster) Down(ctx context.Context) (Removal, error) {
	removal := Removal{}
	errs := []error{c.removeContainers(ctx, &removal)}
	// Before their cables: what waits in a namespace keeps it alive.
	errs = append(errs, endAttendants(ctx, func(a Attendant) bool { return a.Lab == c.lab }))
	errs = append(errs, chassis.Remove(c.lab))
	frontends, err := detachOrphans(c.lab)
	removal.Frontends = append(removal.Frontends, frontends...)
	errs = append(errs, err, removal.stopDrives(ctx, c.lab), removal.unmountUnder(c.dir+"/"), removal.detachUnder(c.dir+"/"))
	// A harness that was killed may have asked for a container that was not there a moment ago.
	errs = append(errs, c.removeContainers(ctx, &removal))
	// Whatever could not be taken away is still described by the state: it stays, for the next try.
	if err := errors.Join(errs...); err != nil {
		return removal, fmt.Errorf("lab down: %w", err)
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return removal, fmt.Errorf("lab down: %w", err)
	}
	return removal, nil
}

func (c *Cluster) removeContainers(ctx context.Context, removal *Removal) error {
	list, err := c.engine.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", labelLab+"="+c.lab)),
	})
	if err != nil {
		return fmt.Errorf("find the lab's containers: %w", err)
	}
	var errs []error
	for _, summary := range list {
		errs = append(errs, c.removeContainer(ctx, summary.ID, summary.Labels[labelNode], removal))
	}
	return errors.Join(errs...)
}

func (c *Cluster) removeContainer(ctx context.Context, id, node string, removal *Removal) error {
	found, err := c.engine.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", node, err)
	}
	cut, err := c.cutPower(ctx, node, found, nil)
	removal.Frontends = append(removal.Frontends, cut.Frontends...)
	removal.Aborted = append(removal.Aborted, cut.Aborted...)
	if err != nil {
		return err
	}
	err = c.engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove container of %s: %w", node, err)
	}
	removal.Containers = append(removal.Containers, strings.TrimPrefix(found.Name, "/"))
	return nil
}

// stopDrives ends the lab's drives and takes away the devices of dead ones.
func (r *Removal) stopDrives(ctx context.Context, lab string) error {
	stopped, detached, err := server.StopAll(ctx, Dir(lab)+"/", ownsDrive(lab))
	for _, process := range stopped {
		r.Drives = append(r.Drives, process.Dir)
	}
	r.Drives = append(r.Drives, detached...)
	return err
}

// detachUnder detaches the loop devices whose files are in the lab's directory.
func (r *Removal) detachUnder(prefix string) error {
	devices, err := loopdev.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, device := range devices {
		if !strings.HasPrefix(device.Backing, prefix) {
			continue
		}
		errs = append(errs, loopdev.Detach(device.Path))
		r.Loops = append(r.Loops, device.Path)
	}
	return errors.Join(errs...)
}

// unmountUnder unmounts what is mounted in the lab's directory, innermost first.
func (r *Removal) unmountUnder(prefix string) error {
	mounts, err := MountsUnder(prefix)
	if err != nil {
		return err
	}
	slices.Reverse(mounts)
	var errs []error
	for _, mount := range mounts {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", mount, err))
		}
		r.Mounts = append(r.Mounts, mount)
	}
	return errors.Join(errs...)
}

// MountsUnder returns the host's mount points that start with prefix, in mount order.
func MountsUnder(prefix string) ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer func() { _ = file.Close() }()
	var mounts []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[4], prefix) {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts, lines.Err()
}
