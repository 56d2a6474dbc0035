// Package fuseconn finds the FUSE connections of a box's processes and aborts
// those a dead box left hanging.
//
// A killed node dies cleanly when its replicator's FUSE mount lives in a mount
// namespace of its own; this is the net below. It serves no file system.
package fuseconn

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gemel/lab/ownthread"
)

// controlDir is where the kernel shows its FUSE connections, once mounted.
const controlDir = "/sys/fs/fuse/connections"

// Mounts maps every FUSE connection that some process can see mounted to the
// process ids (one per mount namespace) that see it.
func Mounts() (map[uint32][]int, error) {
	return mounts(func(int) bool { return true })
}

// OfBox returns the connections mounted in any mount namespace of the processes
// that share the process namespace of pid, such as a container's first process.
func OfBox(pid int) ([]uint32, error) {
	box, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		return nil, fmt.Errorf("FUSE connections of process %d: %w", pid, err)
	}
	found, err := mounts(func(other int) bool {
		space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", other))
		return err == nil && space == box
	})
	if err != nil {
		return nil, err
	}
	var connections []uint32
	for connection := range found {
		connections = append(connections, connection)
	}
	slices.Sort(connections)
	return connections, nil
}

func mounts(wanted func(pid int) bool) (map[uint32][]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("FUSE mounts: %w", err)
	}
	found := map[uint32][]int{}
	seen := map[string]bool{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !wanted(pid) {
			continue
		}
		// Processes come and go; one that is gone has no mounts.
		space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		if err != nil || seen[space] {
			continue
		}
		seen[space] = true
		for _, connection := range readMounts(pid) {
			found[connection] = append(found[connection], pid)
		}
	}
	return found, nil
}

func readMounts(pid int) []uint32 {
	file, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	var connections []uint32
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if connection, ok := parseMount(lines.Text()); ok {
			connections = append(connections, connection)
		}
	}
	return connections
}

// parseMount returns the connection of a mountinfo line that shows a FUSE mount.
func parseMount(line string) (uint32, bool) {
	front, back, ok := strings.Cut(line, " - ")
	if !ok {
		return 0, false
	}
	kind, _, _ := strings.Cut(back, " ")
	fields := strings.Fields(front)
	if len(fields) < 3 || (kind != "fuse" && !strings.HasPrefix(kind, "fuse.")) {
		return 0, false
	}
	_, minor, ok := strings.Cut(fields[2], ":")
	number, err := strconv.ParseUint(minor, 10, 32)
	return uint32(number), ok && err == nil
}

// List returns every FUSE connection the kernel has.
func List() ([]uint32, error) {
	var connections []uint32
	err := withControl(func() error {
		entries, err := os.ReadDir(controlDir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if number, err := strconv.ParseUint(entry.Name(), 10, 32); err == nil {
				connections = append(connections, uint32(number))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list FUSE connections: %w", err)
	}
	slices.Sort(connections)
	return connections, nil
}

// Abort ends connections: whoever waits on one gets an error at once. It returns
// those that were still there to be aborted.
func Abort(connections ...uint32) ([]uint32, error) {
	if len(connections) == 0 {
		return nil, nil
	}
	var aborted []uint32
	err := withControl(func() error {
		for _, connection := range connections {
			file := filepath.Join(controlDir, strconv.FormatUint(uint64(connection), 10), "abort")
			err := os.WriteFile(file, []byte("1"), 0)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			aborted = append(aborted, connection)
		}
		return nil
	})
	if err != nil {
		return aborted, fmt.Errorf("abort FUSE connections: %w", err)
	}
	return aborted, nil
}

// withControl runs do where the control file system is mounted: in a mount namespace
// that lives as long as the call, so that the host's mounts stay as they are.
func withControl(do func() error) error {
	return ownthread.Do(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("fusectl", controlDir, "fusectl", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount FUSE control: %w", err)
		}
		return do()
	})
}
