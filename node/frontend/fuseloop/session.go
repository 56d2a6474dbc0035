package fuseloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/claim"
	"gemel/node/frontend/fuseloop/onefile"
	"gemel/node/frontend/keeper"
)

// A FUSE connection ends when the last descriptor of it is closed. Where a keeper
// runs in the private directory it has one, so that the connection outlives this
// process: what the kernel asks meanwhile waits, and what this process had read and
// not answered is asked again of the next one, which tells the kernel so. That takes
// Linux 6.9.

// errOther: what was left is not the device that is to be shown.
var errOther = errors.New("the device left by an earlier process cannot be taken over")

// note is what the next process needs to know of a connection.
type note struct {
	Session onefile.Session `json:"session"`
	FSDev   uint64          `json:"fsdev"`
	Number  int             `json:"number"` // of the loop device
	Dev     uint64          `json:"dev"`
	Inode   uint64          `json:"inode"`
}

// keep gives the connection to the keeper. Without a keeper, or on a kernel that
// would not ask again, the device ends with this process.
func (a *Attachment) keep(c *keeper.Client) error {
	if c == nil || !a.server.Session().Resend {
		return nil
	}
	text, err := json.Marshal(note{Session: a.server.Session(), FSDev: a.fsdev,
		Number: a.loop.number, Dev: a.loop.dev, Inode: a.loop.inode})
	if err != nil {
		return err
	}
	err = a.server.With(func(fd int) error { return c.Keep(a.opts.Name, fd, text) })
	if err != nil {
		return err
	}
	a.keeper = c
	return nil
}

// Survives reports whether the device outlives this process.
func (a *Attachment) Survives() bool { return a.keeper != nil }

// takeOver goes on with the device of an earlier process, if there is one that
// waits. It returns errOther when there is one that cannot be taken over.
func (a *Attachment) takeOver(ctx context.Context, c *keeper.Client, dev block.Device) (bool, error) {
	fd, text, err := c.Take(ctx, a.opts.Name)
	if errors.Is(err, keeper.ErrNothing) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var n note
	err = json.Unmarshal(text, &n)
	if err == nil && (n.Session.MaxWrite <= 0 || n.Session.MaxWrite > onefile.MaxWrite) {
		err = errors.New("its note is not ours")
	}
	l := loop{number: n.Number, dev: n.Dev, inode: n.Inode, name: loopName(a.opts)}
	if err != nil || l.size() == 0 || l.size() > dev.SizeBytes() {
		unix.Close(fd)
		return false, errors.Join(errOther, err)
	}
	server, err := onefile.Resume(fd, dev, n.Session)
	if err != nil {
		return false, err // the device waits on; whoever decides may try again
	}
	a.loop, a.fsdev, a.keeper, a.recovered = l, n.FSDev, c, true
	a.start(server)
	return true, nil
}

// goOn brings what is around the connection up to date: its mount, which went with
// the namespace of the earlier process, the names, and the size, where the volume
// became larger at the wrong moment.
func (a *Attachment) goOn(ctx context.Context) error {
	if err := claim.Bounded(ctx, "mount the FUSE connection anew", a.remount); err != nil {
		return err
	}
	if err := a.publish(); err != nil {
		return err
	}
	if size := a.server.Size(); size > a.loop.size() {
		return a.Resize(ctx, size)
	}
	return nil
}

// remount mounts the connection again: the kernel finds its file system.
func (a *Attachment) remount() error {
	var st unix.Stat_t
	err := unix.Stat(a.mount, &st)
	if err == nil && st.Dev == a.fsdev {
		return nil // the same namespace
	}
	if errors.Is(err, unix.ENOENT) {
		err = os.WriteFile(a.mount, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	return a.server.With(func(fd int) error { return mountFD(fd, a.mount, loopName(a.opts)) })
}

// Leave lets the device wait for the next process; see frontend.Survivor. The
// caller's process is to end: until then the keeper gives the device to nobody.
func (a *Attachment) Leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.closed = true
	_ = a.server.Mute() // it ends with the process otherwise
}

// Left reports whether an earlier process left a device that Attach would take
// over, or Discard remove.
func Left(ctx context.Context, o frontend.Options) (bool, error) {
	if err := o.Check(); err != nil {
		return false, err
	}
	c, err := keeper.Dial(o.Dir)
	if errors.Is(err, keeper.ErrNobody) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer c.Close()
	return c.Has(ctx, o.Name)
}

// Discard removes a device that an earlier process left to the keeper, so that its
// users get errors instead of waiting for ever. It does nothing if there is none,
// and refuses while a process serves the device. The error is frontend.ErrLingers
// if somebody still has the device open.
func Discard(ctx context.Context, o frontend.Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	c, err := keeper.Dial(o.Dir)
	if errors.Is(err, keeper.ErrNobody) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	fd, _, err := c.Take(ctx, o.Name)
	if errors.Is(err, keeper.ErrNothing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the device left by an earlier process of volume %q: %w", o.Name, err)
	}
	unix.Close(fd)
	l, found := leftover(o)
	// The last descriptor goes with the keeper's: every request ends with an error.
	err = errors.Join(c.Drop(ctx, o.Name), sweep(ctx, o))
	if err == nil && found {
		err = l.forgotten(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("remove the device left by an earlier process of volume %q: %w", o.Name, err)
	}
	return nil
}

// forgotten removes the names of a device that was cut off, and waits a little for
// it to go.
func (l loop) forgotten(ctx context.Context, o frontend.Options) error {
	ctx, cancel := context.WithTimeout(ctx, lingerWait)
	defer cancel()
	var err error
	if l.waitGone(ctx) != nil {
		err = fmt.Errorf("%s: every request on it fails from now on, but somebody still has it open or mounted: %w",
			l.path(), frontend.ErrLingers)
	} else {
		err = claim.Remove(recordPath(o.Dir, o.Name))
	}
	if o.DeviceDir != "" {
		err = errors.Join(err, frontend.Unlink(o.DeviceDir+"/"+o.Name, l.path()))
	}
	return err
}
