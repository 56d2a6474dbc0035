package nbd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/claim"
)

const (
	// maxKernelConns bounds the connections of one kernel device, which are its
	// queues; more than the processors that can fill them help nobody.
	maxKernelConns = 4
	// holdSeconds is how long a request may be held (frozen I/O) before the
	// kernel gives its connection up. With more than one connection the kernel
	// cannot be told to wait for ever; this is a week.
	holdSeconds = 7 * 24 * 3600
)

// Kernel is a device shown as /dev/nbdN. When this process dies, or one of the
// connections ends unasked, every request ends with an I/O error: the kernel
// would send a request again that may still be inside the block.Device, where
// the older copy could overtake a newer write.
type Kernel struct {
	opts   frontend.Options
	server *server
	number int
	link   string
	done   chan struct{} // closed when the server has ended

	mu     sync.Mutex // one Detach at a time
	gone   bool       // the kernel has let go of the device, or it lingers
	closed bool       // everything is gone
}

var _ frontend.Attachment = (*Kernel)(nil)

// Attach shows dev as a kernel nbd device with 4096-byte sectors. What an
// earlier life left under the same name and directory is removed first. It needs
// root and the kernel's nbd driver (see Usable).
func Attach(ctx context.Context, o frontend.Options, dev block.Device) (*Kernel, error) {
	if err := checkDevice(o, dev); err != nil {
		return nil, err
	}
	a := &Kernel{opts: o, server: newServer(o.Name, dev), number: -1, done: make(chan struct{})}
	err := claim.Bounded(ctx, "attach an nbd device", func() error { return a.attach(ctx) })
	if err != nil {
		return nil, fmt.Errorf("attach volume %q: %w", o.Name, err)
	}
	return a, nil
}

func (a *Kernel) attach(ctx context.Context) error {
	if err := os.MkdirAll(a.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make the private directory: %w", err)
	}
	if err := sweep(a.opts); err != nil {
		return err
	}
	a.server.ofKernel = true
	err := a.connect()
	go func() {
		defer close(a.done)
		a.server.running.Wait()
	}()
	if err == nil {
		err = a.publish()
	}
	if err == nil && ctx.Err() != nil { // nobody waits for this device any more
		err = ctx.Err()
	}
	if err != nil {
		return errors.Join(err, a.undo())
	}
	return nil
}

// connect gives the kernel the other ends of connections that are served.
func (a *Kernel) connect() error {
	o := order{size: a.server.size.Load(), blockSize: block.Size, offer: a.server.export.offer,
		timeout: holdSeconds, backend: backendOf(a.opts.Name)}
	defer func() {
		for _, fd := range o.sockets {
			_ = unix.Close(fd) // the kernel holds its own
		}
	}()
	for range min(runtime.GOMAXPROCS(0), maxKernelConns) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make a socket pair: %w", err)
		}
		_ = unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sockBuffer) // as far as it is allowed
		o.sockets = append(o.sockets, fds[0])
		nc, err := connOf(fds[1])
		if err != nil {
			return err
		}
		a.server.start(nc, false)
	}
	number, err := connect(o)
	if err == nil {
		a.number = number
	}
	return err
}

// publish writes the record, makes the node where /dev is not the kernel's own,
// and the link.
func (a *Kernel) publish() error {
	if err := writeRecord(a.opts, a.number); err != nil {
		return err
	}
	if err := ensureNode(a.number); err != nil || a.opts.DeviceDir == "" {
		return err
	}
	var err error
	a.link, err = frontend.Link(a.opts, a.Device())
	return err
}

// undo takes back a half-made attachment, whatever state it reached.
func (a *Kernel) undo() error {
	ctx, cancel := context.WithTimeout(context.Background(), undoWait)
	defer cancel()
	return a.Detach(ctx, true)
}

// Path returns the link in the device directory, or the nbd device.
func (a *Kernel) Path() string {
	if a.link != "" {
		return a.link
	}
	return a.Device()
}

// Device returns the nbd device, such as /dev/nbd3.
func (a *Kernel) Device() string { return devicePath(a.number) }

// Done is closed when the last request has left the block.Device for good.
func (a *Kernel) Done() <-chan struct{} { return a.done }

// LastError returns the newest error the block.Device answered with, or nil.
func (a *Kernel) LastError() error { return a.server.lastError() }

func devicePath(number int) string { return fmt.Sprintf("/dev/nbd%d", number) }

// ensureNode makes the device node where /dev lacks it.
func ensureNode(number int) error {
	path := devicePath(number)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text, err := os.ReadFile(sysPath(number, "dev"))
	if err != nil {
		return fmt.Errorf("find the number of %s: %w", path, err)
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
		return fmt.Errorf("find the number of %s in %q: %w", path, text, err)
	}
	err = unix.Mknod(path, unix.S_IFBLK|0o660, int(unix.Mkdev(major, minor))) //nolint:gosec // a device number
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make the device node %s: %w", path, err)
	}
	return nil
}

func sysPath(number int, file string) string {
	return filepath.Join("/sys/block", fmt.Sprintf("nbd%d", number), file)
}
