package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gemel/node/api"
	"gemel/node/failover"
	"gemel/node/replicator/control"
	"gemel/node/service"
)

// errReplicatorGone is wrapped by a Replica when no process answers: its device
// went with it.
var errReplicatorGone = errors.New("the replicator is not running")

// perform does one step. Every step that has nothing to do succeeds.
func (c *course) perform(ctx context.Context, run failover.Run) error {
	switch run.Step {
	case failover.StepFence:
		return c.powerOff(ctx, run)
	case failover.StepPromote:
		return c.promote(ctx, run)
	case failover.StepFsck:
		return c.check(ctx)
	case failover.StepMount:
		return c.mountVolume(ctx)
	case failover.StepAddress:
		return c.addresses.Claim(ctx)
	case failover.StepServices:
		return c.startServices(ctx, run.Stay)
	default:
		return c.performReverse(ctx, run)
	}
}

func (c *course) performReverse(ctx context.Context, run failover.Run) error {
	switch run.Step {
	case failover.StepDropAddress, failover.StepLetGoAddress:
		return c.addresses.Drop(ctx)
	case failover.StepStopServices:
		return c.services.Stop(ctx)
	case failover.StepUnmount:
		return c.mount.Unmount(ctx)
	case failover.StepDemote:
		return c.demote(ctx)
	case failover.StepLetGoServices:
		return c.services.Kill(ctx)
	case failover.StepLetGoUnmount:
		return c.mount.Detach(ctx)
	case failover.StepLetGoIO:
		return c.letGoIO(ctx)
	default:
		return fmt.Errorf("unknown step %d", int(run.Step))
	}
}

// startServices lets clients in when all services run; on a node that keeps the
// volume without some of them, when any does.
func (c *course) startServices(ctx context.Context, stay bool) error {
	err := c.services.Start(ctx)
	some := slices.ContainsFunc(c.services.State(), func(r api.Running) bool { return r.State == service.Running })
	if err != nil && !(stay && some) {
		return err
	}
	return errors.Join(err, c.openAddresses(ctx))
}

// powerOff has nothing to do for a peer that is heard: it let go by itself, or will.
func (c *course) powerOff(ctx context.Context, run failover.Run) error {
	if run.PeerAlive {
		return nil
	}
	if c.ask != nil { // beside the devices: nothing waits for the answer, and nothing rests on it
		c.wg.Go(func() { c.ask.away(context.WithoutCancel(ctx), c.vol.Name, run.Epoch) })
	}
	if c.fence == nil {
		return nil
	}
	return c.fence.out(ctx)
}

func (c *course) promote(ctx context.Context, run failover.Run) error {
	c.addresses.Ask() // answered while the file system is checked and mounted
	c.recall(run)
	device, err := c.replica.Promote(ctx, control.PromoteRequest{
		Volume: c.vol.Name, Chosen: run.Chosen, Birth: run.Birth, Forced: run.Forced})
	if err != nil {
		return fmt.Errorf("promote volume %s: %w", c.vol.Name, err)
	}
	c.mu.Lock()
	c.device = device
	c.mu.Unlock()
	return nil
}

// promoted returns the volume's block device.
func (c *course) promoted() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.device == "" {
		return "", fmt.Errorf("volume %s has no device: it was not promoted", c.vol.Name)
	}
	return c.device, nil
}

// check repairs the file system, or makes the volume's first one. A file
// system that is mounted already belongs to this reign: the agent restarted.
func (c *course) check(ctx context.Context) error {
	if c.vol.Mount.Path == "" {
		return nil
	}
	if mounted, err := c.mount.Mounted(); err != nil || mounted {
		return err
	}
	device, err := c.promoted()
	if err != nil {
		return err
	}
	if left := c.unformatted(); left != nil {
		return c.format(ctx, device, left)
	}
	did, err := c.mount.Check(ctx, device)
	if err != nil {
		return fmt.Errorf("check the file system on %s: %w", device, err)
	}
	if did != "" {
		c.note("mount.checked", fmt.Sprintf("The file system of volume %s was checked.", c.vol.Name), did)
	}
	return nil
}

func (c *course) mountVolume(ctx context.Context) error {
	if c.vol.Mount.Path == "" {
		return nil
	}
	device, err := c.promoted()
	if err != nil {
		return err
	}
	if err := c.mount.Mount(ctx, device); err != nil {
		return err
	}
	if c.mounted != nil {
		c.mounted()
	}
	return nil
}

func (c *course) demote(ctx context.Context) error {
	if err := c.replica.Demote(ctx, control.DemoteRequest{Volume: c.vol.Name, Clean: true}); err != nil {
		return fmt.Errorf("demote volume %s: %w", c.vol.Name, err)
	}
	c.forgetDevice()
	return nil
}

// letGoIO ends held I/O with an error. A replicator that is gone took its
// device with it, or left it waiting for the next one, which is not to come.
func (c *course) letGoIO(ctx context.Context) error {
	err := c.replica.Demote(ctx, control.DemoteRequest{Volume: c.vol.Name, Clean: false})
	switch {
	case errors.Is(err, errReplicatorGone):
		c.note("step.note", "The replicator is not running; its device goes with it.", err.Error())
	case err != nil:
		return fmt.Errorf("end the I/O of volume %s: %w", c.vol.Name, err)
	}
	if c.discard != nil {
		if err := c.discard(ctx); err != nil {
			return fmt.Errorf("end the I/O of volume %s: %w", c.vol.Name, err)
		}
	}
	c.forgetDevice()
	return nil
}

func (c *course) forgetDevice() {
	c.mu.Lock()
	c.device, c.left = "", nil
	c.mu.Unlock()
}
