package ublk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A control command travels through a ring of its own: they are rare, some wait
// in the kernel until a device is gone, and a ring that is closed ends the wait.

// commandNames are for messages.
var commandNames = map[uint32]string{nrGetInfo: "GET_DEV_INFO", nrAdd: "ADD_DEV", nrDelete: "DEL_DEV",
	nrStart: "START_DEV", nrStop: "STOP_DEV", nrSetParams: "SET_PARAMS", nrGetParams: "GET_PARAMS",
	nrStartRecovery: "START_USER_RECOVERY", nrEndRecovery: "END_USER_RECOVERY", nrGetFeatures: "GET_FEATURES",
	nrUpdateSize: "UPDATE_SIZE"}

// pollStep is how often a waiting command looks whether its context has ended.
var pollStep = unix.Timespec{Nsec: 20e6}

// noDevice stands for a device that does not exist yet, or for none.
const noDevice = ^uint32(0)

// command sends one control command. payload goes to the kernel and comes back
// as it left it. When ctx ends first the error wraps errUnanswered; the command
// may still take effect.
func command(ctx context.Context, nr, device uint32, data uint64, payload []byte) error {
	err := send(ctx, nr, device, data, payload)
	if err != nil {
		return fmt.Errorf("ublk command %s: %w", commandNames[nr], err)
	}
	return nil
}

func send(ctx context.Context, nr, device uint32, data uint64, payload []byte) error {
	runtime.LockOSThread() // the kernel ties a ring's work to the thread that submits it
	defer runtime.UnlockOSThread()
	fd, err := unix.Open(controlPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", controlPath, err)
	}
	defer unix.Close(fd)
	r, err := newRing(4, 0)
	if err != nil {
		return err
	}
	defer r.close()
	// Apart from Go's memory: the kernel may write to it after we stopped waiting.
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("memory for a command: %w", err)
	}
	copy(page, payload)
	prepare(r.next(), fd, nr, device, data, page, len(payload))
	result, err := await(ctx, r)
	if err != nil {
		return err // page is left to the kernel
	}
	copy(payload, page)
	_ = unix.Munmap(page) // it was mapped
	if result < 0 {
		return unix.Errno(-result)
	}
	return nil
}

func prepare(s *submission, fd int, nr, device uint32, data uint64, page []byte, length int) {
	s.opcode, s.fd, s.op = opURingCmd, int32(fd), writeCommand(nr) //nolint:gosec // a descriptor
	switch nr {
	case nrGetInfo, nrGetParams, nrGetFeatures:
		s.op = readCommand(nr)
	}
	c := (*controlCommand)(unsafe.Pointer(&s.command))
	c.device, c.queue, c.data = device, 0xffff, data
	if length > 0 {
		c.addr, c.length = uint64(uintptr(unsafe.Pointer(&page[0]))), uint16(length) //nolint:gosec // below a page
	}
}

func await(ctx context.Context, r *ring) (int32, error) {
	for {
		if err := r.waitFor(&pollStep); err != nil {
			return 0, err
		}
		if c, ok := r.completed(); ok {
			return c.result, nil
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("%w: %w", errUnanswered, ctx.Err())
		}
	}
}

// bytesOf is the memory of a structure of the kernel's interface.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// info asks for a device's state.
func info(ctx context.Context, id uint32) (deviceInfo, error) {
	var i deviceInfo
	err := command(ctx, nrGetInfo, id, 0, bytesOf(&i))
	return i, err
}

// Usable says why this box cannot show devices through ublk; nil when it can.
func Usable(ctx context.Context) error {
	if _, err := os.Stat(controlPath); err != nil {
		return fmt.Errorf("%s is missing: the kernel has no ublk, or its module ublk_drv is not loaded", controlPath)
	}
	var features uint64
	err := command(ctx, nrGetFeatures, noDevice, 0, bytesOf(&features))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return errors.New("the kernel's ublk is too old; 6.5 or newer is needed")
	case err != nil:
		return err
	case features&wanted != wanted:
		return fmt.Errorf("the kernel's ublk lacks features (it has %#x, needed are %#x); 6.5 or newer is needed", features, uint64(wanted))
	}
	return nil
}
