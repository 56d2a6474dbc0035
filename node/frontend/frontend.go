// Package frontend is the common face of the ways to show a block.Device to
// the kernel as a block device. Each way (fuseloop; others later) is a package
// of its own below this one and passes the suite in frontendtest. It is not a
// data path: no request goes through this package.
package frontend

import (
	"context"
	"errors"
	"fmt"
)

// Options say under which names a device appears.
type Options struct {
	// Name of the volume: a path element of 1 to 48 bytes.
	Name string
	// Dir is a private directory, such as the run directory, in which the
	// frontend keeps what it needs to find the leftovers of an earlier life.
	// It is made when missing.
	Dir string
	// DeviceDir receives a symbolic link Name to the kernel's device node;
	// empty: no link.
	DeviceDir string
	// Owner begins the name under which the kernel lists the device, where the
	// frontend gives it one; empty: "gemel". Whoever sweeps by names needs his own.
	Owner string
}

// OwnerOf returns the Owner of what a node of a cluster shows. Several clusters may
// share a kernel, and with it the list of these devices, as labs do.
func OwnerOf(cluster, node string) string { return OwnerPrefix + cluster + "." + node }

// OwnerPrefix begins every OwnerOf.
const OwnerPrefix = "gemel."

// Attachment is a device shown to the kernel.
type Attachment interface {
	// Path is what users of the device open or mount: the link in DeviceDir,
	// or Device when there is none.
	Path() string
	// Device is the kernel's own node, such as /dev/loop3.
	Device() string
	// Detach takes the device away. Without force it refuses, and changes
	// nothing, while a file system is mounted on the device (ErrInUse), and
	// waits for other openers until ctx ends. With force every request in
	// flight ends with an I/O error and nothing is waited for but the kernel;
	// the caller makes its Device fail what is blocked inside it. If somebody
	// still has the device open, it can serve nothing but errors, goes away at
	// the last close, and the error is ErrLingers. Detach may be called again
	// after an error; after success it does nothing.
	Detach(ctx context.Context, force bool) error
	// Done is closed when no request is inside the block.Device any more and
	// none can come.
	Done() <-chan struct{}
}

// Survivor is an Attachment whose device may outlive the process that serves it:
// its users wait, and the next Attach with the same options takes it over.
type Survivor interface {
	Attachment
	// Survives reports whether it does, which may depend on the box. It does not
	// change.
	Survives() bool
	// Leave ends the serving and leaves the device to the next process. From
	// then on nothing that the block.Device answers reaches a user; requests
	// that were under way are asked of the next process again.
	Leave()
}

// Resizer is an Attachment that can give its device another size while it is in
// use: its users see the new size, and nothing else.
type Resizer interface {
	// Resize makes the device larger, to size bytes, a multiple of block.Size,
	// which the block.Device must serve already. The error wraps ErrFixedSize when
	// this kernel cannot.
	Resize(ctx context.Context, size int64) error
}

// What callers decide on.
var (
	// ErrInUse: a file system is mounted on the device, or somebody has it
	// open; it still works.
	ErrInUse = errors.New("device is in use")
	// ErrFixedSize: the size of a device in use cannot be changed here.
	ErrFixedSize = errors.New("this kernel cannot change the size of a device in use")
	// ErrLingers: the device is cut off, but stays visible until its last user
	// closes it.
	ErrLingers = errors.New("device lingers until its last user closes it")
)

// MaxName is the longest volume name in bytes that every frontend can show.
const MaxName = 48

// Check reports what is wrong with the options, in words.
func (o Options) Check() error {
	if o.Dir == "" {
		return fmt.Errorf("attach %q: no private directory was given", o.Name)
	}
	return CheckName(o.Name)
}

// CheckName refuses a volume name that cannot be a path element or is too long.
func CheckName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > MaxName {
		return fmt.Errorf("volume name %q: must have 1 to %d bytes", name, MaxName)
	}
	for _, c := range name {
		if c == '/' || c <= ' ' || c == 0x7f {
			return fmt.Errorf("volume name %q: slashes, spaces and control characters are not allowed",
				name)
		}
	}
	return nil
}
