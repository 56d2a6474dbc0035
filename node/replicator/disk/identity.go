package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Identity names the device whatever its path is and however often the box was
// started: the identity of a logical volume, or the serial name of a disk, with
// the partition. It is empty for what has no such name, such as a file.
func (d *Disk) Identity() string {
	var st unix.Stat_t
	if unix.Fstat(d.fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return ""
	}
	return identity(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
}

// identity reads what sysfs says of a block device.
func identity(dir string) string {
	if name := line(filepath.Join(dir, "dm/uuid")); name != "" {
		return "dm " + name
	}
	whole, part := dir, ""
	if number := line(filepath.Join(dir, "partition")); number != "" {
		whole = filepath.Join(dir, "..")
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			whole = filepath.Dir(real)
		}
		part = fmt.Sprintf(" partition %s at %s", number, line(filepath.Join(dir, "start")))
	}
	for _, file := range []string{"wwid", "device/wwid"} {
		if name := line(filepath.Join(whole, file)); name != "" {
			return "disk " + name + part
		}
	}
	return ""
}

func line(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
