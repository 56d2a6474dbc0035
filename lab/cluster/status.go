package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gemel/lab/chassis"
	"gemel/lab/drive/server"
)

// NodeStatus is a box as the lab sees it from outside.
type NodeStatus struct {
	Name      string            `json:"name"`
	Role      Role              `json:"role"`
	On        bool              `json:"on"`
	Since     string            `json:"since,omitempty"` // time of the last start, RFC 3339
	Container string            `json:"container"`
	Addresses map[string]string `json:"addresses"` // by switch
	Cables    map[string]string `json:"cables"`    // by switch: "plugged", "pulled", "none", or what is wrong with it
	Disk      *Disk             `json:"disk,omitempty"`
	Drive     *server.Status    `json:"drive,omitempty"` // none: a plain disk
	BMC       string            `json:"bmc,omitempty"`   // "good", or what is wrong with the power control
}

// Status is a lab as seen from outside; what the cluster thinks of itself is
// `gemel status`'s to say.
type Status struct {
	Lab       string       `json:"lab"`
	VIP       string       `json:"vip"`
	CableRate uint64       `json:"cable_rate"`
	DiskSize  int64        `json:"disk_size"`
	Nodes     []NodeStatus `json:"nodes"`
}

// Status looks at every box; ErrNoLab when the lab is down.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	state, err := loadState(c.dir)
	if err != nil {
		return Status{}, err
	}
	cables, err := c.cables()
	if err != nil {
		return Status{}, err
	}
	status := Status{Lab: c.lab, VIP: VIP.String(), CableRate: state.CableRate, DiskSize: state.DiskSize}
	for _, box := range state.boxes() {
		node, err := c.nodeStatus(ctx, box, state, cables)
		if err != nil {
			return Status{}, fmt.Errorf("status of lab %s: %w", c.lab, err)
		}
		status.Nodes = append(status.Nodes, node)
	}
	return status, nil
}

// Traffic returns what every cable has carried, by "box/switch", in bytes to and from the box.
func (c *Cluster) Traffic() (map[string][2]uint64, error) {
	cables, err := c.cables()
	if err != nil {
		return nil, err
	}
	carried := map[string][2]uint64{}
	for _, cable := range cables {
		carried[cableKey(cable.Node, cable.Switch)] = [2]uint64{cable.In, cable.Out}
	}
	return carried, nil
}

func (c *Cluster) cables() ([]chassis.CableState, error) {
	rack, err := chassis.Open(c.lab)
	if errors.Is(err, chassis.ErrNoChassis) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer rack.Close()
	return rack.Cables()
}

func (c *Cluster) nodeStatus(ctx context.Context, box Box, state *State, cables []chassis.CableState) (NodeStatus, error) {
	node := NodeStatus{
		Name: box.Name, Role: box.Role, Container: ContainerName(c.lab, box.Name),
		Addresses: map[string]string{}, Cables: map[string]string{},
	}
	for _, sw := range box.Cables {
		node.Addresses[sw] = box.Address(sw).Addr().String()
		node.Cables[sw] = cableWord(box.Name, sw, state, cables)
	}
	if disk, ok := state.Loops[box.Name]; ok {
		node.Disk, node.Drive = &disk, c.driveStatus(ctx, state, box.Name)
		node.BMC = state.BMC[box.Name].String()
	}
	found, err := c.inspect(ctx, box.Name)
	if errors.Is(err, ErrNoLab) {
		return node, nil
	}
	if err != nil {
		return node, err
	}
	node.On, node.Since = found.State.Running, found.State.StartedAt
	return node, nil
}

func cableWord(node, sw string, state *State, cables []chassis.CableState) string {
	if state.Pulled[cableKey(node, sw)] {
		return "pulled"
	}
	wired := slices.ContainsFunc(cables, func(s chassis.CableState) bool {
		return s.Node == node && s.Switch == sw && s.Plugged
	})
	if both, bad := state.Bad[cableKey(node, sw)]; bad {
		return "bad (" + both.String() + ")"
	}
	if wired {
		return "plugged"
	}
	return "none"
}
