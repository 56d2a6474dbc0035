package ublk

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/frontend"
	"gemel/node/frontend/claim"
)

// A device is found again by a random number, the cookie, that the driver keeps
// with it, and that a file in the private directory holds from before the device
// is made until it is removed. Device numbers would not do: the kernel gives
// them to others.

func cookiePath(o frontend.Options) string { return filepath.Join(o.Dir, "ublk-"+o.Name) }

func newCookie(o frontend.Options) (uint64, error) {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails
	cookie := binary.LittleEndian.Uint64(raw[:])
	if err := os.WriteFile(cookiePath(o), []byte(strconv.FormatUint(cookie, 16)+"\n"), 0o600); err != nil {
		return 0, fmt.Errorf("remember the device: %w", err)
	}
	return cookie, nil
}

func dropCookie(o frontend.Options) error {
	if err := os.Remove(cookiePath(o)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// find looks for the device of an earlier process.
func find(ctx context.Context, o frontend.Options) (deviceInfo, bool, error) {
	text, err := os.ReadFile(cookiePath(o))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return deviceInfo{}, false, err
	}
	cookie, err := strconv.ParseUint(strings.TrimSpace(string(text)), 16, 64)
	if err != nil {
		return deviceInfo{}, false, dropCookie(o) // it was not written whole, so no device was made
	}
	entries, err := os.ReadDir(classDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return deviceInfo{}, false, err
	}
	for _, e := range entries {
		id, err := strconv.ParseUint(strings.TrimPrefix(e.Name(), "ublkc"), 10, 32)
		if err != nil {
			continue
		}
		i, err := info(ctx, uint32(id))
		if err == nil && i.cookie == cookie {
			return i, true, nil
		}
		if ctx.Err() != nil {
			return deviceInfo{}, false, err
		}
	}
	return deviceInfo{}, false, nil
}

// Left reports whether an earlier process left a device that Attach would take
// over, or Discard remove.
func Left(ctx context.Context, o frontend.Options) (bool, error) {
	if err := o.Check(); err != nil {
		return false, err
	}
	_, found, err := find(ctx, o)
	if err != nil {
		err = fmt.Errorf("look for a device left by an earlier process of volume %q: %w", o.Name, err)
	}
	return found, err
}

// Discard removes a device that an earlier process left, so that its users get
// errors instead of waiting for ever. It does nothing if there is none, and
// refuses while a process serves the device. The error is frontend.ErrLingers if
// somebody still has the device open.
func Discard(ctx context.Context, o frontend.Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	i, found, err := find(ctx, o)
	if err == nil && found {
		if err = awaitNoServer(ctx, i.id); err == nil {
			err = remove(ctx, i.id)
		}
	}
	if err == nil || errors.Is(err, frontend.ErrLingers) {
		err = errors.Join(err, dropCookie(o))
		if o.DeviceDir != "" && found {
			err = errors.Join(err, frontend.Unlink(filepath.Join(o.DeviceDir, o.Name), blockNode(i.id)))
		}
	}
	if err != nil {
		return fmt.Errorf("remove the device left by an earlier process of volume %q: %w", o.Name, err)
	}
	return nil
}

// serverWait is how long the kernel may take to notice that a server died.
const serverWait = 3 * time.Second

// awaitNoServer returns once the kernel has done with the device's last server.
func awaitNoServer(ctx context.Context, id uint32) error {
	ctx, cancel := context.WithTimeout(ctx, serverWait)
	defer cancel()
	for {
		i, err := info(ctx, id)
		if err != nil || i.state != stateLive {
			return err
		}
		if err := claim.Pause(ctx); err != nil {
			return fmt.Errorf("process %d still serves %s; end it first: %w", i.pid, blockNode(id), err)
		}
	}
}

// remove stops a device that nobody serves and deletes it.
func remove(ctx context.Context, id uint32) error {
	if err := command(ctx, nrStop, id, 0, nil); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return deleteSoon(ctx, id)
}

// deleteSoon deletes a stopped device that others may have open.
func deleteSoon(ctx context.Context, id uint32) error {
	ctx, cancel := context.WithTimeout(ctx, lingerWait)
	defer cancel()
	return deleteDevice(ctx, id)
}

// deleteDevice deletes a stopped device. The kernel deletes it in any case; the
// command only waits, until ctx ends, for the last user to go.
func deleteDevice(ctx context.Context, id uint32) error {
	err := command(ctx, nrDelete, id, 0, nil)
	switch {
	case errors.Is(err, errUnanswered):
		return fmt.Errorf("%s: every request on it fails from now on, but somebody still has it open or mounted: %w",
			blockNode(id), frontend.ErrLingers)
	case errors.Is(err, unix.ENODEV):
		return nil
	}
	return err
}
