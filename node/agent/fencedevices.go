package agent

import (
	"fmt"
	"os"
	"strings"

	"gemel/node/config"
	"gemel/node/fencing"
	"gemel/node/fencing/command"
	"gemel/node/fencing/ipmi"
	"gemel/node/fencing/redfish"
)

// fenceDevices makes the devices that can switch the peer and prove it.
func fenceDevices(peer *config.Node) ([]fencing.Device, error) {
	var devices []fencing.Device
	for i, d := range peer.Fence {
		if d.Driver == config.FenceWatchdog || d.Driver == config.FencePeerReboot { // the peer's own, and its word: no proofs
			continue
		}
		device, err := fenceDevice(peer.Name, d)
		if err != nil {
			return nil, fmt.Errorf("fencing device %d of %s: %w", i+1, peer.Name, err)
		}
		devices = append(devices, device)
	}
	return devices, nil
}

func fenceDevice(node string, d config.FenceDevice) (fencing.Device, error) {
	if d.Driver == config.FenceCommand {
		return command.New(node, d.Command)
	}
	password, err := firstLine(d.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	switch d.Driver {
	case config.FenceIPMI:
		return ipmi.New(ipmi.Options{Host: d.Address, Port: d.Port, User: d.User, Password: password})
	case config.FenceRedfish:
		opt := redfish.Options{Endpoint: d.Address, User: d.User, Password: password, System: d.System, Insecure: d.Insecure}
		if d.CA != "" {
			if opt.CA, err = os.ReadFile(d.CA); err != nil {
				return nil, fmt.Errorf("read the certificates: %w", err)
			}
		}
		return redfish.New(opt)
	}
	return nil, fmt.Errorf("there is no driver %q", d.Driver)
}

func firstLine(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	return strings.TrimRight(line, "\r"), nil
}
