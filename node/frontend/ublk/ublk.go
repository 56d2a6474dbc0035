// Package ublk shows a block.Device to the kernel through its ublk driver, with
// io_uring and nothing in between: several queues, flush, FUA, discard, zeroes.
// It needs root and a kernel of 6.5 or newer with ublk_drv, and never forks.
//
// The device outlives its process. When the process is killed, the kernel keeps
// the device and holds the requests, those that were under way too; the next
// Attach with the same name and private directory takes it over and they go on:
// a file system on it sees a pause and no error. What was under way is given to
// the new process again, so a write may arrive twice, with the same data. A
// device that nobody takes over holds its users for ever: whoever decides that
// it will not be served again must say so with Discard.
//
// Data is copied by the workers, with pread and pwrite on the device's control
// node, and not by the kernel before a request is handed over: copies run beside
// each other instead of in the one thread that a queue has, a buffer is needed
// only while a request is worked on, and what is written is copied once, so that
// it cannot change while it is on its way to two disks.
package ublk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/claim"
)

const (
	queuesMost = 4
	queueDepth = 64
	maxIO      = 512 << 10 // bytes of a request's data, and of its buffer
	maxErase   = 64 << 20  // bytes of a discard or of zeroes

	blockShift = 12
	maxIOShift = 19
)

// Attachment is a device shown through ublk.
type Attachment struct {
	opts      frontend.Options
	server    *server
	link      string
	recovered bool

	mu     sync.Mutex // one Detach at a time
	closed bool
}

var _ frontend.Survivor = (*Attachment)(nil)

// Attach shows dev as a block device with 4096-byte sectors. A device that an
// earlier process left under the same name and directory is taken over if it
// is not larger than dev; else it is removed first, and its users get errors.
func Attach(ctx context.Context, o frontend.Options, dev block.Device) (*Attachment, error) {
	a, err := attach(ctx, o, dev)
	if err != nil {
		return nil, fmt.Errorf("attach volume %q: %w", o.Name, err)
	}
	return a, nil
}

func attach(ctx context.Context, o frontend.Options, dev block.Device) (*Attachment, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if size := dev.SizeBytes(); size <= 0 || size%block.Size != 0 {
		return nil, fmt.Errorf("its size of %d bytes is not a multiple of %d", size, block.Size)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the private directory: %w", err)
	}
	a := &Attachment{opts: o}
	if err := a.takeOver(ctx, dev); err != nil {
		return nil, err
	}
	if !a.recovered {
		if err := a.add(ctx, dev); err != nil {
			return nil, err
		}
	}
	if err := a.publish(); err != nil {
		return nil, errors.Join(err, a.undo())
	}
	return a, nil
}

// takeOver goes on with the device of an earlier process, or makes room for a
// new one.
func (a *Attachment) takeOver(ctx context.Context, dev block.Device) error {
	old, found, err := find(ctx, a.opts)
	if err != nil || !found {
		return err
	}
	if err = a.recover(ctx, old, dev); err == nil {
		return nil
	}
	if !errors.Is(err, errOtherDevice) {
		return fmt.Errorf("take over %s: %w", blockNode(old.id), err)
	}
	if err := remove(ctx, old.id); err != nil && !errors.Is(err, frontend.ErrLingers) {
		return fmt.Errorf("remove the old %s: %w", blockNode(old.id), err)
	}
	return nil
}

// add makes a new device of the kernel.
func (a *Attachment) add(ctx context.Context, dev block.Device) error {
	cookie, err := newCookie(a.opts)
	if err != nil {
		return err
	}
	i := deviceInfo{queues: uint16(min(queuesMost, runtime.NumCPU())), depth: queueDepth, maxIO: maxIO, //nolint:gosec // at most 4
		id: noDevice, flags: wanted, cookie: cookie}
	if err := command(ctx, nrAdd, noDevice, 0, bytesOf(&i)); err != nil {
		return errors.Join(err, dropCookie(a.opts))
	}
	if err := a.start(ctx, i, dev); err != nil {
		return errors.Join(err, a.undoAdd(i.id))
	}
	return nil
}

func (a *Attachment) undoAdd(id uint32) error {
	if a.server != nil {
		return a.undo()
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoWait)
	defer cancel()
	return errors.Join(remove(ctx, id), dropCookie(a.opts))
}

// undo takes back a half-made attachment, whatever state it reached.
func (a *Attachment) undo() error {
	ctx, cancel := context.WithTimeout(context.Background(), undoWait)
	defer cancel()
	return a.Detach(ctx, true)
}

func (a *Attachment) start(ctx context.Context, i deviceInfo, dev block.Device) (err error) {
	if i.flags&wanted != wanted {
		return fmt.Errorf("the kernel's ublk lacks features: it has %#x, needed are %#x", i.flags, uint64(wanted))
	}
	p := paramsOf(dev)
	if err := command(ctx, nrSetParams, i.id, 0, bytesOf(&p)); err != nil {
		return err
	}
	if a.server, err = serve(i, dev); err != nil {
		return err
	}
	return command(ctx, nrStart, i.id, uint64(os.Getpid()), nil) //nolint:gosec // positive
}

func paramsOf(dev block.Device) params {
	p := params{types: paramBasic}
	p.length = uint32(len(bytesOf(&p))) //nolint:gosec // about a hundred
	b := &p.basic
	b.attrs = attrVolatileCache | attrFUA // without them the kernel sends no flush
	b.logical, b.physical, b.minimal, b.optimal = blockShift, blockShift, blockShift, maxIOShift
	b.maxSectors = maxIO >> sectorShift
	b.sectors = uint64(dev.SizeBytes()) >> sectorShift //nolint:gosec // checked
	_, discards := dev.(block.Discarder)
	_, zeroes := dev.(block.Zeroer)
	if discards || zeroes {
		p.types |= paramDiscard
		p.discard.alignment, p.discard.granularity = block.Size, block.Size
		p.discard.maxSectors, p.discard.maxSegments = maxErase>>sectorShift, 1
	}
	if zeroes {
		p.discard.maxZeroSectors = maxErase >> sectorShift
	}
	return p
}

// errOtherDevice: what was left is not the device that is to be shown.
var errOtherDevice = errors.New("the device left by an earlier process cannot be taken over")

// recover takes over the device of a process that is gone.
func (a *Attachment) recover(ctx context.Context, i deviceInfo, dev block.Device) error {
	var p params
	p.length = uint32(len(bytesOf(&p))) //nolint:gosec // about a hundred
	if err := command(ctx, nrGetParams, i.id, 0, bytesOf(&p)); err != nil {
		return err
	}
	if i.state == stateDead || i.flags&wanted != wanted || p.basic.sectors > uint64(dev.SizeBytes())>>sectorShift { //nolint:gosec // checked
		return errOtherDevice
	}
	if err := startRecovery(ctx, i.id); err != nil {
		return err
	}
	s, err := serve(i, dev)
	if err != nil {
		return err // the device waits on; whoever decides may try again
	}
	if err := command(ctx, nrEndRecovery, i.id, uint64(os.Getpid()), nil); err != nil { //nolint:gosec // positive
		s.cutOff()
		s.end()
		return err
	}
	a.server, a.recovered = s, true
	if p.basic.sectors < uint64(dev.SizeBytes())>>sectorShift { //nolint:gosec // checked
		_ = a.Resize(ctx, dev.SizeBytes()) // where the kernel cannot, the device is as good as it was
	}
	return nil
}

// startRecovery waits until the kernel has done with the process that died.
func startRecovery(ctx context.Context, id uint32) error {
	for {
		err := command(ctx, nrStartRecovery, id, 0, nil)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if err := claim.Pause(ctx); err != nil {
			return fmt.Errorf("the kernel has not done with the process that served it, or that still does: %w", err)
		}
	}
}

// publish makes the link.
func (a *Attachment) publish() (err error) {
	if a.opts.DeviceDir != "" {
		a.link, err = frontend.Link(a.opts, a.Device())
	}
	return err
}

// Path returns the link in the device directory, or the device.
func (a *Attachment) Path() string {
	if a.link != "" {
		return a.link
	}
	return a.Device()
}

// Device returns the kernel's device, such as /dev/ublkb0.
func (a *Attachment) Device() string { return blockNode(a.server.info.id) }

// Recovered reports whether the device is that of an earlier process.
func (a *Attachment) Recovered() bool { return a.recovered }

// Done is closed when the last request has left the block.Device for good.
func (a *Attachment) Done() <-chan struct{} { return a.server.served }

// LastError returns the newest error the block.Device answered with, or nil.
func (a *Attachment) LastError() error {
	if p := a.server.last.Load(); p != nil {
		return *p
	}
	return nil
}
