package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The size that a volume's backing device had when it was used last is kept in a
// small file elsewhere: the metadata lies at the end of the device, and is found
// with it when the device was enlarged meanwhile, while a device that became
// smaller can be told from a wrong one. Losing the file loses no more than that.

// Seen returns the size in bytes that Remember wrote to path, 0 if nobody knows.
func Seen(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || size < 0 {
		return 0
	}
	return size
}

// Remember notes the size in bytes of a backing device in the file at path.
func Remember(path string, size int64) error {
	if Seen(path) == size {
		return nil
	}
	err := os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // sizes are no secret
	if err == nil {
		err = os.WriteFile(path+".new", fmt.Appendln(nil, size), 0o644) //nolint:gosec // sizes are no secret
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("note the size of a backing device: %w", err)
	}
	return nil
}
