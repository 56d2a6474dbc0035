package cluster

import (
	"errors"
	"strings"

	"gemel/lab/fuseconn"
	"gemel/lab/loopdev"
	"gemel/node/frontend"
)

// frontendOf says whether a loop device was made by the replicator of a box: of any box
// where node is empty, of any lab where lab is. Its name tells, dead or alive.
func frontendOf(device loopdev.Device, lab, node string) bool {
	owner := frontend.OwnerOf(lab, node)
	switch {
	case lab == "":
		owner = frontend.OwnerPrefix
	case node != "":
		owner += ":"
	}
	return device.FileSystem != 0 && strings.HasPrefix(device.Label, owner)
}

// Orphans returns the loop devices of dead replicators of a lab, or of every lab where
// it is empty: no living process sees the FUSE file system under them.
func Orphans(lab string) ([]loopdev.Device, error) {
	devices, err := loopdev.List()
	if err != nil {
		return nil, err
	}
	living, err := fuseconn.Mounts()
	if err != nil {
		return nil, err
	}
	return orphansAmong(devices, living, lab), nil
}

func orphansAmong(devices []loopdev.Device, living map[uint32][]int, lab string) []loopdev.Device {
	var orphans []loopdev.Device
	for _, device := range devices {
		if _, alive := living[device.FileSystem]; !alive && frontendOf(device, lab, "") {
			orphans = append(orphans, device)
		}
	}
	return orphans
}

// detachOrphans takes away the loop devices of a lab's dead replicators.
func detachOrphans(lab string) ([]string, error) {
	orphans, err := Orphans(lab)
	if err != nil {
		return nil, err
	}
	return detachAll(orphans)
}

// detachFrontends takes away the loop devices of a box that has no process any more.
func detachFrontends(lab, node string) ([]string, error) {
	devices, err := loopdev.List()
	if err != nil {
		return nil, err
	}
	var dead []loopdev.Device
	for _, device := range devices {
		if frontendOf(device, lab, node) {
			dead = append(dead, device)
		}
	}
	return detachAll(dead)
}

func detachAll(devices []loopdev.Device) ([]string, error) {
	var detached []string
	var errs []error
	for _, device := range devices {
		if err := loopdev.Detach(device.Path); err != nil {
			errs = append(errs, err)
			continue
		}
		detached = append(detached, device.Path)
	}
	return detached, errors.Join(errs...)
}
