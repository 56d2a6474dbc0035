package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The size that a volume's backing device had when it was used last is kept in a
// small file elsewhere: the metadata lies at the end of the device, and is found
// with it when the device was enlarged meanwhile, while a device that became
// smaller can be told from a wrong one. Losing the file loses no more than that.

// Seen returns the sizes in bytes that Remember wrote to path, none if nobody
// knows.
func Seen(path string) (sizes []int64) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	for _, line := range strings.Fields(string(text)) {
		size, err := strconv.ParseInt(line, 10, 64)
		if err != nil || size < 0 {
			return nil
		}
		sizes = append(sizes, size)
	}
	return sizes
}

// Remember notes the size in bytes of a backing device in the file at path: two,
// the newer one first, while the metadata is on its way from one end to the other.
func Remember(path string, sizes ...int64) error {
	if slices.Equal(Seen(path), sizes) {
		return nil
	}
	var text []byte
	for _, size := range sizes {
		text = fmt.Appendln(text, size)
	}
	err := os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // sizes are no secret
	if err == nil {
		err = os.WriteFile(path+".new", text, 0o644) //nolint:gosec // sizes are no secret
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("note the size of a backing device: %w", err)
	}
	return nil
}
