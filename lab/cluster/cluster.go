package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/docker/docker/client"
	"github.com/testcontainers/testcontainers-go"

	"gemel/lab/chassis"
)

// What callers decide on.
var (
	ErrNoLab   = errors.New("no such lab")
	ErrNoNode  = errors.New("no such box")
	ErrNoCable = errors.New("no such cable")
	ErrOff     = errors.New("the box is off")
	// ErrNoSetting is for a setting that has no such value.
	ErrNoSetting = errors.New("no such setting")
)

// Labels on everything the lab makes in the engine.
const (
	labelLab  = "gemel.lab"
	labelNode = "gemel.lab.node"
)

// Cluster is an open lab. Its methods may be used from several goroutines; two
// verbs for the same box at the same time are the caller's mistake.
type Cluster struct {
	lab    string
	dir    string
	engine *testcontainers.DockerClient
}

// Open opens a lab by name, whether it is up or not. Close it after use.
func Open(ctx context.Context, lab string) (*Cluster, error) {
	if err := CheckName(lab); err != nil {
		return nil, err
	}
	// The sweeper container testcontainers starts by default needs a registry, and would
	// take the lab away when the command ends; the lab sweeps by its own labels.
	if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
		return nil, fmt.Errorf("open lab %s: %w", lab, err)
	}
	engine, err := testcontainers.NewDockerClientWithOpts(ctx, client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("open lab %s: container engine: %w", lab, err)
	}
	if _, err := engine.Ping(ctx); err != nil {
		_ = engine.Close()
		return nil, fmt.Errorf("open lab %s: no container engine answers: %w; next: run lab/prepare.sh", lab, err)
	}
	return &Cluster{lab: lab, dir: Dir(lab), engine: engine}, nil
}

// Close closes the connection to the engine; the lab stays as it is.
func (c *Cluster) Close() error { return c.engine.Close() }

// Lab returns the lab's name.
func (c *Cluster) Lab() string { return c.lab }

// LogDir returns the directory on the host that holds a box's logs, over resets.
func (c *Cluster) LogDir(node string) string { return nodeDir(c.lab, node, "log") }

// ConfigFile returns the host's path of a box's gemel.yaml; a box reads a change at
// its next start.
func (c *Cluster) ConfigFile(node string) string { return nodeDir(c.lab, node, "etc", "gemel.yaml") }

// Disk returns a server's backing disk.
func (c *Cluster) Disk(node string) (Disk, error) {
	state, err := loadState(c.dir)
	if err != nil {
		return Disk{}, err
	}
	disk, ok := state.Loops[node]
	if !ok {
		return Disk{}, fmt.Errorf("disk of %q: %w with a disk; server1 and server2 have one", node, ErrNoNode)
	}
	return disk, nil
}

// PullCable takes the plug of a box's cable, such as "lan" or "priv", out.
func (c *Cluster) PullCable(node, cable string) error {
	return c.setCable(node, cable, true, (*chassis.Chassis).Pull)
}

// PlugCable puts the plug of a box's cable back.
func (c *Cluster) PlugCable(node, cable string) error {
	return c.setCable(node, cable, false, (*chassis.Chassis).Plug)
}

// setCable remembers the plug first: a box that is off has no cable to act on, and
// gets it as it was left when it comes back.
func (c *Cluster) setCable(node, cable string, pulled bool, act func(*chassis.Chassis, string, string) error) error {
	box, err := boxNamed(node)
	if err != nil {
		return err
	}
	sw, err := box.cable(cable)
	if err != nil {
		return err
	}
	was := pulled
	err = changeState(c.dir, func(s *State) {
		was = s.Pulled[cableKey(node, sw)]
		if pulled {
			s.Pulled[cableKey(node, sw)] = true
		} else {
			delete(s.Pulled, cableKey(node, sw))
		}
	})
	if err != nil {
		return err
	}
	if pulled && !was {
		c.Note("pull-cable", "The %s cable of %s is pulled.", sw, node)
	} else if was && !pulled {
		c.Note("plug-cable", "The %s cable of %s is plugged.", sw, node)
	}
	rack, err := chassis.Open(c.lab)
	if err != nil {
		return err
	}
	defer rack.Close()
	if err := act(rack, node, sw); err != nil && !errors.Is(err, chassis.ErrNoCable) {
		return err
	}
	return nil
}

// wire cables a running box to the chassis.
func (c *Cluster) wire(ctx context.Context, box Box, pid int) error {
	state, err := loadState(c.dir)
	if err != nil {
		return err
	}
	rack, err := chassis.Open(c.lab)
	if err != nil {
		return err
	}
	defer rack.Close()
	for _, sw := range box.Cables {
		cable := chassis.Cable{
			Node: box.Name, Switch: sw, NIC: NIC(sw),
			MAC: box.mac(sw), Address: box.Address(sw),
			Pulled: state.Pulled[cableKey(box.Name, sw)],
		}
		if shaped(sw) {
			cable.Rate = state.CableRate
		}
		if err := rack.Wire(fmt.Sprintf("/proc/%d/ns/net", pid), cable); err != nil {
			return err
		}
		if _, bad := state.Bad[cableKey(box.Name, sw)]; bad {
			if err := c.spoil(ctx, rack, box.Name, sw); err != nil {
				return err
			}
		}
	}
	return nil
}
