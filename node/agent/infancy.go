package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gemel/node/arbiter"
	"gemel/node/failover"
)

// infancy says that a volume's first reign has not finished its file system. It lies
// on this node's disk from before the replica is promoted until the file system
// is made, which is before anybody can mount it. So a reign that follows directly on
// the one of Epoch knows that nothing was ever stored on the volume, and may
// make the file system after all.
type infancy struct {
	Epoch arbiter.Epoch `json:"epoch"` // of the newest reign that left it so
	// Formatting: the device was seen to be blank, and what is on it now is an
	// unfinished file system of ours.
	Formatting bool `json:"formatting"`
}

// cradle keeps the infancy of one volume.
type cradle struct{ path string }

func newCradle(dir, volume string) cradle {
	return cradle{filepath.Join(dir, "unformatted-"+volume+".json")}
}

// load returns what was kept; nil when nothing was, or nothing that can be read.
func (k cradle) load() *infancy {
	raw, err := os.ReadFile(k.path)
	i := &infancy{}
	if err != nil || json.Unmarshal(raw, i) != nil || i.Epoch == 0 {
		return nil
	}
	return i
}

// save returns when i is on stable storage.
func (k cradle) save(i *infancy) error {
	raw, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("keep that the volume is not formatted: %w", err)
	}
	if err := keepFile(k.path, append(raw, '\n')); err != nil {
		return fmt.Errorf("keep that the volume is not formatted: %w", err)
	}
	return nil
}

// clear returns when nothing is kept on stable storage.
func (k cradle) clear() error {
	err := os.Remove(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err = errors.Join(err, syncDir(filepath.Dir(k.path))); err != nil {
		return fmt.Errorf("forget that the volume is not formatted: %w", err)
	}
	return nil
}

// recall finds out, before the replica is promoted, whether the file system is still
// to be made: in the volume's first reign, and in one that follows directly on a
// reign that did not come so far. An operator's word is no proof of what was before.
func (c *course) recall(run failover.Run) {
	if !c.vol.Mount.FormatIfNew || c.vol.Mount.Path == "" {
		return
	}
	left := c.cradle.load()
	switch {
	case run.Birth:
		left = &infancy{}
	case run.Forced || run.Before == 0:
		left = nil
	case left != nil && left.Epoch == run.Before:
	case c.peerLeft != nil && c.peerLeft(run.Before):
		left = &infancy{} // how far the peer came, the device tells
	default:
		left = nil
	}
	err := error(nil)
	if left == nil {
		err = c.cradle.clear()
	} else {
		left.Epoch = run.Chosen.Epoch
		err = c.cradle.save(left)
	}
	if err != nil { // a note of another epoch says nothing to anybody
		c.note("mount.note-lost", fmt.Sprintf("Whether volume %s has a file system could not be written down.", c.vol.Name),
			err.Error())
	}
	c.mu.Lock()
	c.left = left
	c.mu.Unlock()
}

// unformatted returns what recall found; nil when there is a file system, or one is
// not ours to make.
func (c *course) unformatted() *infancy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

// format makes the file system, unless the volume carries something that was there
// before its first reign.
func (c *course) format(ctx context.Context, device string, left *infancy) error {
	again := left.Formatting
	if !again {
		blank, err := c.mount.Blank(ctx, device)
		if err != nil {
			return fmt.Errorf("look for a file system on %s: %w", device, err)
		}
		if !blank {
			c.note("mount.kept", fmt.Sprintf("Volume %s carries data already and was not formatted.", c.vol.Name), "")
			return c.grown()
		}
		if err := c.cradle.save(&infancy{Epoch: left.Epoch, Formatting: true}); err != nil {
			return err
		}
	}
	if err := c.mount.Format(ctx, device, again); err != nil {
		return fmt.Errorf("format %s: %w", device, err)
	}
	why := "it is new and format-if-new is set"
	if again {
		why = "an earlier reign began it and was interrupted, and nobody has mounted the volume since"
	}
	c.note("mount.formatted", fmt.Sprintf("Volume %s was formatted with %s.", c.vol.Name, c.vol.Mount.Type), why)
	return c.grown()
}

// grown ends the volume's infancy, before anything is mounted.
func (c *course) grown() error {
	if err := c.cradle.clear(); err != nil {
		return err
	}
	c.mu.Lock()
	c.left = nil
	c.mu.Unlock()
	return nil
}

// peerLeft reports whether the peer said, as Primary of epoch and to the last, that
// the file system was not made.
func (o *owner) peerLeft(epoch arbiter.Epoch) bool {
	heard := o.heard.Load()
	return heard != nil && heard.Role == rolePrimary && heard.Unformatted && heard.Epoch == epoch
}
