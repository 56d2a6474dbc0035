package cluster

import (
	"slices"
	"strings"

	"gemel/lab/fuseconn"
	"gemel/lab/loopdev"
)

// frontendLabel starts the name a replicator gives its loop devices.
const frontendLabel = "gemel:"

// Orphans returns the loop devices of replicators that are dead: no living process
// sees the FUSE file system under them, or it is one of the given, known dead.
func Orphans(dead ...uint32) ([]loopdev.Device, error) {
	devices, err := loopdev.List()
	if err != nil {
		return nil, err
	}
	living, err := fuseconn.Mounts()
	if err != nil {
		return nil, err
	}
	return orphansAmong(devices, living, dead), nil
}

func orphansAmong(devices []loopdev.Device, living map[uint32][]int, dead []uint32) []loopdev.Device {
	var orphans []loopdev.Device
	for _, device := range devices {
		if device.FileSystem == 0 || !strings.HasPrefix(device.Label, frontendLabel) {
			continue
		}
		_, alive := living[device.FileSystem]
		if !alive || slices.Contains(dead, device.FileSystem) {
			orphans = append(orphans, device)
		}
	}
	return orphans
}
