package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"

	"gemel/lab/chassis"
	"gemel/lab/drive"
	"gemel/lab/fuseconn"
)

// hangLimit is how long a killed box may take to be gone before its FUSE connections
// are aborted; a clean death takes a fifth of a second.
const hangLimit = 3 * time.Second

// goneLimit bounds the whole death of a box.
const goneLimit = 30 * time.Second

// PowerCut says what a box left behind when its power went.
type PowerCut struct {
	Took      time.Duration `json:"took_ns"`   // from the kill to the last process gone
	Frontends []string      `json:"frontends"` // loop devices taken away from the dead replicator
	Aborted   []uint32      `json:"aborted"`   // FUSE connections that had to be aborted, or it would hang
	Loss      *drive.Loss   `json:"loss"`      // what its drive lost; null: its drive kept its power, or it has none
}

// BootTime is how long a box takes from the reset button to its first program.
// Real servers need many times that; a container would need none, and be back
// before anybody noticed that it was gone.
const BootTime = 6 * time.Second

// PressReset kills everything in a box at once and starts it again after
// BootTime. Its drive keeps its power, and what it has in its cache.
func (c *Cluster) PressReset(ctx context.Context, node string) (PowerCut, error) {
	cut, err := c.kill(ctx, node, nil)
	if err != nil {
		return cut, fmt.Errorf("reset: %w", err)
	}
	select {
	case <-time.After(BootTime):
	case <-ctx.Done():
		return cut, fmt.Errorf("reset %s: it is off and stays off, switch it on with power-on: %w", node, context.Cause(ctx))
	}
	if err := c.PowerOn(ctx, node); err != nil {
		return cut, fmt.Errorf("reset: %w", err)
	}
	return cut, nil
}

// YankPower kills everything in a box at once; it stays off. Its drive loses about
// half of what it has not flushed, by a seed that the result tells. A box that is off
// already is no error.
func (c *Cluster) YankPower(ctx context.Context, node string) (PowerCut, error) {
	return c.YankPowerSo(ctx, node, drive.Cut{Seed: uint64(time.Now().UnixNano()), Keep: 0.5})
}

// YankPowerSo is YankPower that says what the drive loses.
func (c *Cluster) YankPowerSo(ctx context.Context, node string, cut drive.Cut) (PowerCut, error) {
	return c.kill(ctx, node, &cut)
}

func (c *Cluster) kill(ctx context.Context, node string, drive *drive.Cut) (PowerCut, error) {
	if _, err := boxNamed(node); err != nil {
		return PowerCut{}, err
	}
	unlock, err := c.lockPower(node)
	if err != nil {
		return PowerCut{}, err
	}
	defer unlock()
	found, err := c.inspect(ctx, node)
	if err != nil {
		return PowerCut{}, err
	}
	return c.cutPower(ctx, node, found, drive)
}

// lockPower lets one at a time switch a box: a pair that fences orders its power
// controls, processes of their own, while somebody else is at the switch.
func (c *Cluster) lockPower(node string) (unlock func(), err error) {
	unlock, err = lockFile(filepath.Join(c.dir, "power-"+node+".lock"))
	if err != nil {
		return nil, fmt.Errorf("switch %s: %w", node, err)
	}
	return unlock, nil
}

// cutPower ends everything in a box. drive says what its drive loses; nil: it keeps its power.
func (c *Cluster) cutPower(ctx context.Context, node string, box container.InspectResponse, drive *drive.Cut) (PowerCut, error) {
	if !box.State.Running {
		return PowerCut{}, nil
	}
	connections, err := fuseconn.OfBox(box.State.Pid)
	if err != nil {
		return PowerCut{}, fmt.Errorf("cut power of %s: %w", node, err)
	}
	c.Note("power-cut", "The power of %s is cut.", node)
	started := time.Now()
	// The end of a process namespace's first process is the end of all of it, at once;
	// the engine's own kill would wait on its way.
	if err := unix.Kill(box.State.Pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return PowerCut{}, fmt.Errorf("cut power of %s: %w", node, err)
	}
	if err := c.darken(node); err != nil {
		return PowerCut{}, fmt.Errorf("cut power of %s: %w", node, err)
	}
	cut := PowerCut{}
	// At once: a drive that went on emptying its cache would have kept its power. The
	// cables are dark, so nobody hears of the errors that whoever still dies may see.
	if cut.Loss, err = c.cutDrive(ctx, node, drive); err != nil {
		return cut, fmt.Errorf("cut power of %s: %w", node, err)
	}
	if err := c.waitDead(ctx, node, box.ID, drive == nil); err != nil {
		if cut.Aborted, err = fuseconn.Abort(connections...); err != nil {
			return cut, fmt.Errorf("cut power of %s: it hangs: %w", node, err)
		}
		if err := c.waitOff(ctx, box.ID, goneLimit); err != nil {
			return cut, fmt.Errorf("cut power of %s: it does not die, even with FUSE connections %v aborted: %w",
				node, cut.Aborted, err)
		}
	}
	cut.Took = time.Since(started)
	cut.Frontends, err = detachFrontends(c.lab, node)
	if err != nil {
		return cut, fmt.Errorf("cut power of %s: %w", node, err)
	}
	return cut, nil
}

// darken takes the light from every cable of a box: without power its network
// cards are silent at once, while a namespace goes on answering ARP until the last
// of its processes is gone, which can take seconds on a busy host.
func (c *Cluster) darken(node string) error {
	box, err := boxNamed(node)
	if err != nil {
		return err
	}
	rack, err := chassis.Open(c.lab)
	if err != nil {
		return err
	}
	defer rack.Close()
	for _, sw := range box.Cables {
		if err := rack.Pull(node, sw); err != nil && !errors.Is(err, chassis.ErrNoCable) {
			return err
		}
	}
	return nil
}

// dropAgain is how often a drive that keeps its power drops what waits in it.
const dropAgain = 200 * time.Millisecond

// waitDead waits until a killed box is off. What its kernel had queued in front of a
// disk that does not answer comes after what was dropped at first, and would keep the
// box from dying.
func (c *Cluster) waitDead(ctx context.Context, node, id string, powered bool) error {
	if !powered {
		return c.waitOff(ctx, id, hangLimit)
	}
	for end := time.Now().Add(hangLimit); ; {
		err := c.waitOff(ctx, id, dropAgain)
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		if _, err := c.cutDrive(ctx, node, nil); err != nil {
			return err
		}
	}
}

func (c *Cluster) waitOff(ctx context.Context, id string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done, failed := c.engine.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case <-done:
		return nil
	case err := <-failed:
		return fmt.Errorf("not off after %v: %w", limit, err)
	}
}

// PowerOn starts a box that is off and plugs its NICs in. A box that is on is no error.
func (c *Cluster) PowerOn(ctx context.Context, node string) error {
	box, err := boxNamed(node)
	if err != nil {
		return err
	}
	unlock, err := c.lockPower(node)
	if err != nil {
		return err
	}
	defer unlock()
	found, err := c.inspect(ctx, node)
	if err != nil {
		return err
	}
	if found.State.Running {
		return nil
	}
	// What a box leaves that ended by itself, as by "reboot -f", nobody took away yet.
	if _, err := detachFrontends(c.lab, node); err != nil {
		return fmt.Errorf("power on %s: %w", node, err)
	}
	if err := c.powerDrive(ctx, node); err != nil {
		return fmt.Errorf("power on %s: %w", node, err)
	}
	c.Note("power-on", "%s is switched on.", node)
	if err := c.engine.ContainerStart(ctx, found.ID, container.StartOptions{}); err != nil {
		return fmt.Errorf("power on %s: %w", node, err)
	}
	if found, err = c.inspect(ctx, node); err != nil {
		return err
	}
	if !found.State.Running {
		return fmt.Errorf("power on %s: it ended at once with code %d; next: docker logs %s",
			node, found.State.ExitCode, ContainerName(c.lab, node))
	}
	if err := c.wire(ctx, box, found.State.Pid); err != nil {
		return fmt.Errorf("power on %s: %w", node, err)
	}
	return nil
}
