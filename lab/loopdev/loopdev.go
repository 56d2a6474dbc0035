// Package loopdev attaches, finds and detaches loop devices on the host.
//
// The lab uses them twice: under every node's backing disk, and to clean up the
// devices a killed replicator left behind. It is not the replicator's frontend.
package loopdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy says that no loop device could be had because others took them all first.
var ErrBusy = errors.New("every free loop device was taken first")

// attachTries bounds the race for a free device with other users of the host.
const attachTries = 50

// Device is an attached loop device.
type Device struct {
	Path    string `json:"path"`    // such as /dev/loop5
	Backing string `json:"backing"` // path of the backing file as the kernel shows it
	Label   string `json:"label"`   // name its maker gave it
	// FileSystem is the minor number of the file system that holds the backing file: for a
	// FUSE file it is also the name of its connection. 0: one on a block device.
	FileSystem uint32 `json:"file_system"`
}

// Attach attaches a file to a free loop device with direct I/O and returns its path.
func Attach(file string) (string, error) {
	backing, err := os.OpenFile(file, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("attach loop device: %w", err)
	}
	defer func() { _ = backing.Close() }()
	for range attachTries {
		path, err := attachOnce(backing)
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return path, err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return "", fmt.Errorf("attach %s: %w", file, ErrBusy)
}

func attachOnce(backing *os.File) (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("attach loop device: %w", err)
	}
	defer func() { _ = control.Close() }()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("free loop device: %w", err)
	}
	path := fmt.Sprintf("/dev/loop%d", number)
	device, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("attach loop device: %w", err)
	}
	defer func() { _ = device.Close() }()
	config := unix.LoopConfig{Fd: uint32(backing.Fd())}
	config.Info.Flags = unix.LO_FLAGS_DIRECT_IO
	copy(config.Info.File_name[:len(config.Info.File_name)-1], backing.Name())
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		return "", fmt.Errorf("attach %s to %s: %w", backing.Name(), path, err)
	}
	return path, nil
}

// Detach detaches a loop device. A device that is detached already is no error;
// one that is open elsewhere goes with its last user.
func Detach(path string) error {
	device, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("detach loop device: %w", err)
	}
	defer func() { _ = device.Close() }()
	err = unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0)
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("detach %s: %w", path, err)
	}
	return nil
}

// List returns every attached loop device of the host.
func List() ([]Device, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, fmt.Errorf("list loop devices: %w", err)
	}
	var devices []Device
	for _, file := range files {
		name := strings.Split(file, "/")[3]
		backing, err := os.ReadFile(file)
		if err != nil {
			continue // detached between the two looks
		}
		device := Device{Path: "/dev/" + name, Backing: strings.TrimSpace(string(backing))}
		if device.identify() != nil {
			continue
		}
		devices = append(devices, device)
	}
	return devices, nil
}

// identify asks the kernel what a device's path does not tell.
func (d *Device) identify() error {
	device, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = device.Close() }()
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	if err != nil {
		return err
	}
	d.Label = unix.ByteSliceToString(info.File_name[:])
	if unix.Major(info.Device) == 0 {
		d.FileSystem = unix.Minor(info.Device)
	}
	return nil
}
