package cluster

import (
	"errors"
	"fmt"
	"os"

	"gemel/lab/drive/model"
)

// DrivesRoot holds one directory per drive that belongs to no lab.
const DrivesRoot = "/var/lib/gemel-drives"

// DriveDir returns the directory of a server's drive.
func DriveDir(lab, node string) string { return nodeDir(lab, node, "drive") }

// DriveName returns the name of a server's drive.
func DriveName(lab, node string) string { return lab + "." + node }

// Model returns the model of a disk: a ready-made one by name, or the one in a YAML file.
func Model(name string) (model.Params, error) {
	params, err := model.Named(name)
	if !errors.Is(err, model.ErrUnknown) {
		return params, err
	}
	text, readErr := os.ReadFile(name)
	if readErr != nil {
		return params, fmt.Errorf("%w, and no such file: %w", err, readErr)
	}
	return model.Parse(text)
}
