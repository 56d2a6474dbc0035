package nbd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
)

// acceptPause is the time between tries to accept a client while that fails.
const acceptPause = 50 * time.Millisecond

// Socket is a device shown as an NBD server on a unix socket. It is no block
// device: it cannot be mounted.
type Socket struct {
	server   *server
	listener *net.UnixListener
	path     string // of the socket
	link     string
	done     chan struct{}

	mu     sync.Mutex // one Detach at a time
	closed bool
}

var _ frontend.Attachment = (*Socket)(nil)

// Listen serves dev on a unix socket in the private directory, which only this
// user may open, for as many as maxConns clients at a time. A link in the device
// directory leads to it. What an earlier life left is replaced.
func Listen(o frontend.Options, dev block.Device) (*Socket, error) {
	if err := checkDevice(o, dev); err != nil {
		return nil, err
	}
	a := &Socket{path: filepath.Join(o.Dir, "nbd-"+o.Name+".sock"), done: make(chan struct{})}
	if err := a.listen(o); err != nil {
		return nil, fmt.Errorf("serve volume %q over NBD: %w", o.Name, err)
	}
	a.server = newServer(o.Name, dev)
	go a.accept()
	return a, nil
}

func checkDevice(o frontend.Options, dev block.Device) error {
	if err := o.Check(); err != nil {
		return err
	}
	if size := dev.SizeBytes(); size <= 0 || size%block.Size != 0 {
		return fmt.Errorf("attach volume %q: its size of %d bytes is not a multiple of %d", o.Name, size, block.Size)
	}
	return nil
}

func (a *Socket) listen(o frontend.Options) error {
	if most := len(unix.RawSockaddrUnix{}.Path) - 1; len(a.path) > most {
		return fmt.Errorf("the socket's path %s is longer than the %d bytes the kernel takes; "+
			"choose a shorter run-dir", a.path, most)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("make the private directory: %w", err)
	}
	if err := os.Remove(a.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket of an earlier life: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: a.path, Net: "unix"})
	if err != nil {
		return err
	}
	if err = os.Chmod(a.path, 0o600); err == nil && o.DeviceDir != "" {
		a.link, err = frontend.Link(o, a.path)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	a.listener = l
	return nil
}

// accept serves clients until the listener is closed, and their requests to the end.
func (a *Socket) accept() {
	defer close(a.done)
	for {
		nc, err := a.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			time.Sleep(acceptPause) // out of descriptors, most likely: somebody will close some
			continue
		}
		if !a.server.start(nc, true) {
			_ = nc.Close()
		}
	}
	a.server.running.Wait()
}

// Path returns the link in the device directory, or the socket.
func (a *Socket) Path() string {
	if a.link != "" {
		return a.link
	}
	return a.path
}

// Device returns the path of the socket.
func (a *Socket) Device() string { return a.path }

// Done is closed when the last request has left the block.Device for good.
func (a *Socket) Done() <-chan struct{} { return a.done }

// LastError returns the newest error the block.Device answered with, or nil.
func (a *Socket) LastError() error { return a.server.lastError() }

// Detach closes the socket; see frontend.Attachment. A connected client is a
// user of the device. A forced one closes its connection: nothing lingers.
func (a *Socket) Detach(ctx context.Context, force bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	if force {
		a.server.cut()
	} else if err := a.server.closeIdle(ctx); err != nil {
		return fmt.Errorf("detach volume %q: %w: a client is still connected to %s: %w",
			a.server.export.name, frontend.ErrInUse, a.path, err)
	}
	a.closed = true
	err := a.listener.Close() // removes the socket
	if a.link != "" {
		err = errors.Join(err, frontend.Unlink(a.link, a.path))
	}
	return err
}
