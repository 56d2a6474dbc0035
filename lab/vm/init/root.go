package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gemel/lab/vm/plan"
)

// mount is one file system of the machine.
type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

func (m mount) do() error {
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
	}
	return nil
}

func doAll(all []mount) error {
	for _, m := range all {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

func firstMounts() error {
	return doAll([]mount{
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"devtmpfs", "/dev", "devtmpfs", 0, ""},
	})
}

// enterDisk makes the disk the root, read-only, with memory where programs
// write, and the test programs where they are found.
func enterDisk() error {
	const root = "/newroot"
	const tests = root + plan.Inside
	err := doAll([]mount{
		{"/dev/vda", root, "ext4", unix.MS_RDONLY, ""},
		{"/dev", root + "/dev", "", unix.MS_MOVE, ""},
		{"/proc", root + "/proc", "", unix.MS_MOVE, ""},
		{"/sys", root + "/sys", "", unix.MS_MOVE, ""},
		{"tmpfs", root + "/run", "tmpfs", 0, "mode=755"},
		{"tmpfs", root + "/tmp", "tmpfs", 0, ""},
		{"tmpfs", root + "/root", "tmpfs", 0, ""},
		{"tmpfs", root + "/var/tmp", "tmpfs", 0, ""},
		{"fusectl", root + "/sys/fs/fuse/connections", "fusectl", 0, ""},
		{plan.Tests, tests, "", unix.MS_BIND, ""},
	})
	if err != nil {
		return err
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter the disk: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("make the disk the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("make the disk the root: %w", err)
	}
	return unix.Chdir("/")
}

// loopback brings the one network interface of the machine up.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring the loopback up: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring the loopback up: %w", err)
	}
	return nil
}
