package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Mounted is one line of the kernel's table of mounts.
type Mounted struct {
	Source string // such as /dev/loop3
	Path   string
	Type   string
	Dev    string // "major:minor" of the file system
}

// At returns what is mounted at the path, the topmost if there are several.
// It asks the table, never the file system, so it cannot hang on a dead one.
func At(path string) (Mounted, bool, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Mounted{}, false, fmt.Errorf("read the table of mounts: %w", err)
	}
	path = filepath.Clean(path)
	var found Mounted
	for _, line := range strings.Split(string(table), "\n") {
		if m, ok := parseLine(line); ok && m.Path == path {
			found = m
		}
	}
	return found, found.Path != "", nil
}

// parseLine reads: ID parent major:minor root path options [tags] - type source super.
func parseLine(line string) (Mounted, bool) {
	left, right, ok := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !ok || len(l) < 6 || len(r) < 2 {
		return Mounted{}, false
	}
	return Mounted{Source: unescape(r[1]), Path: unescape(l[4]), Type: r[0], Dev: l[2]}, true
}

// unescape undoes the kernel's octal escapes, such as \040 for a space.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
