package watchdog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// kernel is a device of the kernel's watchdog drivers. Nobody else can open it meanwhile.
type kernel struct{ fd int }

// openKernel opens the device, which starts its timer. No program that is started inherits it.
func openKernel(path string) (Device, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return kernel{fd}, nil
}

func (k kernel) Info() (Info, error) {
	raw, err := unix.IoctlGetWatchdogInfo(k.fd)
	if err != nil {
		return Info{}, fmt.Errorf("WDIOC_GETSUPPORT: %w", err)
	}
	name, _, _ := bytes.Cut(raw.Identity[:], []byte{0})
	info := Info{Identity: string(name), Magic: raw.Options&unix.WDIOF_MAGICCLOSE != 0}
	if flags, err := unix.IoctlGetInt(k.fd, unix.WDIOC_GETBOOTSTATUS); err == nil && flags > 0 {
		info.BitBefore = flags&unix.WDIOF_CARDRESET != 0
	}
	return info, nil
}

func (k kernel) SetTimeout(seconds int) error {
	return os.NewSyscallError("WDIOC_SETTIMEOUT", unix.IoctlSetPointerInt(k.fd, unix.WDIOC_SETTIMEOUT, seconds))
}

func (k kernel) Timeout() (int, error) {
	seconds, err := unix.IoctlGetInt(k.fd, unix.WDIOC_GETTIMEOUT)
	return seconds, os.NewSyscallError("WDIOC_GETTIMEOUT", err)
}

func (k kernel) Ping() error {
	return os.NewSyscallError("WDIOC_KEEPALIVE", unix.IoctlWatchdogKeepalive(k.fd))
}

func (k kernel) Disable() error {
	err := unix.IoctlSetPointerInt(k.fd, unix.WDIOC_SETOPTIONS, unix.WDIOS_DISABLECARD)
	if errors.Is(err, unix.EBUSY) {
		return ErrNoWayOut
	}
	return os.NewSyscallError("WDIOC_SETOPTIONS", err)
}

// Close writes the letter that tells a driver with magic close that this is on purpose.
func (k kernel) Close() error {
	_, wrote := unix.Write(k.fd, []byte{'V'})
	return errors.Join(os.NewSyscallError("write V", wrote), os.NewSyscallError("close", unix.Close(k.fd)))
}

// Found is what the kernel tells of a watchdog without opening it.
type Found struct {
	Identity string
	Active   bool // somebody has it open, or left it running
	NoWayOut bool // it cannot be stopped once it is open
}

const sysClass = "/sys/class/watchdog"

// Look tells of a watchdog without opening it, which would start its timer. It fails with the kernel's error where there is
// no device at path; where the kernel tells nothing more, Found is zero.
func Look(path string) (Found, error) { return lookIn(sysClass, path) }

func lookIn(class, path string) (Found, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Found{}, err
	}
	if st.Mode()&os.ModeCharDevice == 0 {
		return Found{}, fmt.Errorf("%s: %w", path, unix.ENOTTY)
	}
	name := filepath.Base(path)
	if name == "watchdog" {
		name = "watchdog0" // its other name
	}
	read := func(attribute string) string {
		raw, _ := os.ReadFile(filepath.Join(class, name, attribute)) // absent: not told
		return strings.TrimSpace(string(raw))
	}
	return Found{Identity: read("identity"), Active: read("state") == "active", NoWayOut: read("nowayout") == "1"}, nil
}

// Diagnose says what an error of opening the device at path means, and what to do.
func Diagnose(path string, err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Sprintf("there is no %s: no watchdog driver is loaded; load your board's (`modprobe iTCO_wdt`, `sp5100_tco`, `ipmi_watchdog`), or "+
			"`modprobe softdog`, a timer of the kernel, and name it in /etc/modules-load.d", path)
	case errors.Is(err, unix.EBUSY):
		return fmt.Sprintf("another program has %s open: look for RuntimeWatchdogSec in /etc/systemd/system.conf, or for it with `fuser -v %s`", path, path)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Sprintf("%s is there, and no driver behind it: %v; load one, such as softdog", path, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Sprintf("%s may not be opened: %v; the agent must be root, and a container must be given the device", path, err)
	case errors.Is(err, unix.ENOTTY):
		return fmt.Sprintf("%s is no device", path)
	}
	return fmt.Sprintf("%s cannot be opened: %v", path, err)
}
