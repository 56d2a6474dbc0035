package server

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// marker says in the environment that the process was started anew in the mount
// namespace of that name.
const marker = "GEMEL_DRIVE_NAMESPACE"

const ownNamespace = "/proc/thread-self/ns/mnt"

// Enter starts this program again in a mount namespace of its own, unless it is in
// one: a file system on the drive must never be mounted where the drive's own FUSE
// file is, or the end of the one waits for the other. It returns in the new life only,
// or with an error.
func Enter() error {
	own, err := os.Readlink(ownNamespace)
	if err != nil {
		return fmt.Errorf("find the mount namespace: %w", err)
	}
	if os.Getenv(marker) == own {
		return nil
	}
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	// Never unlocked: the namespace belongs to this thread until exec makes it the only one.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w; it needs CAP_SYS_ADMIN, run it as root", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if own, err = os.Readlink(ownNamespace); err != nil {
		return fmt.Errorf("find the mount namespace: %w", err)
	}
	err = unix.Exec(executable, os.Args, append(os.Environ(), marker+"="+own)) //nolint:gosec // this program
	return fmt.Errorf("start %s in its mount namespace: %w", executable, err)
}

// leaveMounts unmounts everything that is not needed: a copy of a mount that belongs
// to somebody else would keep what is mounted there in use. It does nothing in a
// namespace that Enter did not make.
func leaveMounts(needed ...string) error {
	if own, err := os.Readlink(ownNamespace); err != nil || os.Getenv(marker) != own {
		return err
	}
	mounts, err := mountPoints()
	if err != nil {
		return fmt.Errorf("list the mounts: %w", err)
	}
	executable, _ := os.Executable()
	needed = append(needed, executable, "/dev/fuse", "/proc/self", "/sys/block")
	for _, mount := range slices.Backward(mounts) {
		if !slices.ContainsFunc(needed, func(path string) bool { return within(path, mount) }) {
			_ = unix.Unmount(mount, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // what stays harms somebody else at worst
		}
	}
	return nil
}

func within(path, mount string) bool {
	return mount == "/" || path == mount || strings.HasPrefix(path, mount+"/")
}

func mountPoints() ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var mounts []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts, lines.Err()
}
