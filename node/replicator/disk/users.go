package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// whoUses says who claimed a block device, from the mount table, the swap table
// and sysfs, with the next step. It is asked only after the kernel refused.
func whoUses(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "the kernel says it is busy"
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	table, _ := os.ReadFile("/proc/self/mountinfo")
	if point := mountedAt(string(table), number); point != "" {
		return fmt.Sprintf("it is mounted on %s; unmount it first", point)
	}
	if swap, _ := os.ReadFile("/proc/swaps"); swapsOn(string(swap), path) {
		return "it is swap space; swapoff it first"
	}
	if holders := holdersOf(number); holders != "" {
		return fmt.Sprintf("it is held by %s; release it there first", holders)
	}
	return "another process opened it exclusively (a running replicator, a mount in another namespace, " +
		"or a mounted partition of it); stop that first"
}

// mountedAt finds the mount point of the device number in a mountinfo table.
func mountedAt(table, number string) string {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 4 && f[2] == number {
			return f[4]
		}
	}
	return ""
}

func swapsOn(table, path string) bool {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path
	}
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 0 && (f[0] == path || f[0] == real) {
			return true
		}
	}
	return false
}

// holdersOf names the devices stacked on the device number, such as dm-0.
func holdersOf(number string) string {
	entries, err := os.ReadDir("/sys/dev/block/" + number + "/holders")
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, "/dev/"+e.Name())
	}
	return strings.Join(names, ", ")
}

// loopOver returns the loop device attached to the file fd; empty when there is
// none or loop devices cannot be asked. It compares device and inode: paths
// mean different files in different mount namespaces.
func loopOver(fd int) string {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return ""
	}
	attached, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, p := range attached {
		dev := "/dev/" + strings.Split(p, "/")[3]
		if loopHas(dev, &st) {
			return dev
		}
	}
	return ""
}

func loopHas(dev string, st *unix.Stat_t) bool {
	fd, err := openRetry(dev, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	info, err := unix.IoctlLoopGetStatus64(fd)
	return err == nil && info.Inode == st.Ino && info.Device == uint64(st.Dev)
}
