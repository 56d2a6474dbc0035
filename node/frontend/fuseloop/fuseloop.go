// Package fuseloop shows a block.Device to the kernel as a loop device whose
// backing file is the one file of a FUSE file system served by this process.
// It works on any kernel with FUSE and loop, needs no module and no helper
// program, and never forks. It is not the fastest way where the kernel has ublk.
//
// Where a keeper runs in the private directory (package keeper) and the kernel is
// 6.9 or newer, the device outlives its process: its users wait, and the next
// Attach with the same name and private directory takes it over; what was under way
// is given to the new process again, so a write may arrive twice, with the same
// data. Otherwise the device of a process that was killed answers every request
// with an I/O error until it is unmounted, and the next Attach removes it.
//
// The FUSE file system's root is itself a regular file, mounted over an empty
// file in the private directory, so there is no directory to look up in. Run
// it in a mount namespace of its own: the namespace that mounts the volume must
// not see the FUSE mount, or the end of that namespace can wait for a server
// that is ending too.
//
// Two things about Go and FUSE matter here. The file is opened with a plain
// system call, never as os.File, so that the runtime's poller does not ask the
// server (this process) for readiness. And every system call that may need an
// answer from the server runs where the scheduler can take the processor away
// from it, so that the serving goroutines run on.
package fuseloop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/claim"
	"gemel/node/frontend/fuseloop/onefile"
	"gemel/node/frontend/keeper"
)

// Attachment is a device shown through FUSE and loop.
type Attachment struct {
	opts   frontend.Options
	mount  string // the file over which the FUSE file system is mounted
	server *onefile.Server
	loop   loop
	link   string
	fsdev  uint64        // device number of the FUSE file system
	served chan struct{} // closed when the server has ended

	keeper    *keeper.Client // has the connection as well; nil: it ends with this process
	recovered bool           // the device is that of an earlier process

	mu     sync.Mutex // one Detach at a time
	gone   bool       // the loop device is free or lingers
	closed bool       // everything is gone
}

var _ frontend.Survivor = (*Attachment)(nil)

// Attach shows dev as a block device with 4096-byte sectors. A device that waits
// under the same name and directory is taken over if it has the same size; what
// else an earlier life left is removed first. It needs root, /dev/fuse and
// /dev/loop-control.
func Attach(ctx context.Context, o frontend.Options, dev block.Device) (*Attachment, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if size := dev.SizeBytes(); size <= 0 || size%block.Size != 0 {
		return nil, fmt.Errorf("attach volume %q: its size of %d bytes is not a multiple of %d",
			o.Name, size, block.Size)
	}
	a := &Attachment{opts: o, mount: filepath.Join(o.Dir, "fuse-"+o.Name), served: make(chan struct{})}
	c, err := keeper.Dial(o.Dir)
	if err != nil { // then the device ends with this process
		c = nil
	}
	if err := a.begin(ctx, c, dev); err != nil {
		if c != nil {
			c.Close()
		}
		return nil, fmt.Errorf("attach volume %q: %w", o.Name, err)
	}
	if c != nil && a.keeper == nil {
		c.Close()
	}
	return a, nil
}

// begin goes on with a device that waits, or makes a new one.
func (a *Attachment) begin(ctx context.Context, c *keeper.Client, dev block.Device) error {
	if c != nil {
		taken, err := a.takeOver(ctx, c, dev)
		if errors.Is(err, errOther) {
			err = c.Drop(ctx, a.opts.Name)
		}
		if err != nil {
			return err
		}
		if taken {
			return a.orUndo(a.goOn(ctx))
		}
	}
	if err := sweep(ctx, a.opts); err != nil {
		return err
	}
	if err := a.serve(dev); err != nil {
		return err
	}
	err := claim.Bounded(ctx, "bind a loop device to the FUSE file", func() error { return a.bind(ctx) })
	if err == nil {
		err = a.publish()
	}
	if err == nil {
		_ = a.keep(c) // a keeper that fails is none: the device ends with this process
	}
	return a.orUndo(err)
}

func (a *Attachment) orUndo(err error) error {
	if err != nil {
		err = errors.Join(err, a.undo())
	}
	return err
}

// undo takes back a half-made attachment, whatever state it reached.
func (a *Attachment) undo() error {
	ctx, cancel := context.WithTimeout(context.Background(), undoWait)
	defer cancel()
	return a.Detach(ctx, true)
}

// serve mounts the FUSE file system and starts answering.
func (a *Attachment) serve(dev block.Device) error {
	if err := os.MkdirAll(a.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make the private directory: %w", err)
	}
	if err := os.WriteFile(a.mount, nil, 0o600); err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	server, err := mountFUSE(a.mount, loopName(a.opts), dev)
	if err != nil {
		return errors.Join(err, os.Remove(a.mount))
	}
	a.start(server)
	return nil
}

func (a *Attachment) start(server *onefile.Server) {
	a.server = server
	go func() {
		defer close(a.served)
		server.Serve()
	}()
}

func mountFUSE(path, source string, dev block.Device) (*onefile.Server, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/fuse (is FUSE there?): %w", err)
	}
	if err := mountFD(fd, path, source); err != nil {
		unix.Close(fd)
		return nil, err
	}
	server, err := onefile.Begin(fd, dev)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serve FUSE on %s: %w", path, err),
			unix.Unmount(path, unix.MNT_DETACH))
	}
	return server, nil
}

func mountFD(fd int, path, source string) error {
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,max_read=%d",
		fd, unix.S_IFREG, onefile.MaxWrite)
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME
	if err := unix.Mount(source, path, "fuse.gemel", flags, data); err != nil {
		return fmt.Errorf("mount FUSE on %s: %w", path, err)
	}
	return nil
}

// bind opens the FUSE file and puts a loop device over it. The loop device
// keeps the file; our descriptor goes.
func (a *Attachment) bind(ctx context.Context) error {
	fd, err := unix.Open(a.mount, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrapOpen(a.mount, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at %s: %w", a.mount, err)
	}
	l, err := configureLoop(ctx, fd, loopName(a.opts))
	if err != nil {
		return err
	}
	if ctx.Err() != nil { // nobody waits for this device any more
		return errors.Join(ctx.Err(), l.clear(false))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fsdev, a.loop = st.Dev, l
	return nil
}

// publish writes the record and the link.
func (a *Attachment) publish() error {
	if err := a.loop.record(a.opts.Dir, a.opts.Name); err != nil {
		return err
	}
	if a.opts.DeviceDir == "" {
		return nil
	}
	link, err := frontend.Link(a.opts, a.loop.path())
	if err != nil {
		return err
	}
	a.link = link
	return nil
}

// Path returns the link in the device directory, or the loop device.
func (a *Attachment) Path() string {
	if a.link != "" {
		return a.link
	}
	return a.loop.path()
}

// Device returns the loop device, such as /dev/loop3.
func (a *Attachment) Device() string { return a.loop.path() }

// Done is closed when the last request has left the block.Device for good.
func (a *Attachment) Done() <-chan struct{} { return a.served }

// Recovered reports whether the device is that of an earlier process.
func (a *Attachment) Recovered() bool { return a.recovered }

// LastError returns the newest error the block.Device answered with, or nil.
func (a *Attachment) LastError() error {
	return a.server.LastError()
}
