package frontend

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Link makes the symbolic link of the volume in the device directory, with the
// directory where it is missing, and returns its path. Only a link is replaced.
func Link(o Options, target string) (string, error) {
	if err := os.MkdirAll(o.DeviceDir, 0o755); err != nil { //nolint:gosec // device names are no secret
		return "", fmt.Errorf("make the device directory: %w", err)
	}
	link := filepath.Join(o.DeviceDir, o.Name)
	if info, err := os.Lstat(link); err == nil && info.Mode()&os.ModeSymlink == 0 {
		return "", fmt.Errorf("make the link %s: something that is no link is in its place; remove it", link)
	}
	fresh := link + ".new"
	_ = os.Remove(fresh) // of an earlier life
	if err := os.Symlink(target, fresh); err != nil {
		return "", fmt.Errorf("make the link %s: %w", link, err)
	}
	if err := os.Rename(fresh, link); err != nil {
		return "", fmt.Errorf("make the link %s: %w", link, err)
	}
	return link, nil
}

// Unlink removes a link that Link made, unless somebody pointed it elsewhere.
func Unlink(link, target string) error {
	if to, err := os.Readlink(link); err != nil || to != target {
		return nil
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
