package cluster

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/testcontainers/testcontainers-go"
)

// createContainer makes a box's container, not started.
func (c *Cluster) createContainer(ctx context.Context, box Box, bare bool) error {
	environment := map[string]string{"LAB_ROLE": string(box.Role), "LAB_NICS": nics(box)}
	if bare {
		environment["LAB_DAEMONS"] = ""
	}
	image, err := c.image()
	if err != nil {
		return fmt.Errorf("create container of %s: %w", box.Name, err)
	}
	_, err = testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image:              image,
			Name:               ContainerName(c.lab, box.Name),
			Cmd:                []string{string(box.Role)},
			Env:                environment,
			Labels:             map[string]string{labelLab: c.lab, labelNode: box.Name},
			ConfigModifier:     func(config *container.Config) { config.Hostname = box.Name },
			HostConfigModifier: func(host *container.HostConfig) { c.hostConfig(box, host) },
		},
	})
	if err != nil {
		return fmt.Errorf("create container of %s: %w", box.Name, err)
	}
	return nil
}

// hostConfig gives a box its hardware. CAP_SYS_RESOURCE is what some hosts do not
// have to give, and nothing here needs it; asking for it would fail there.
func (c *Cluster) hostConfig(box Box, host *container.HostConfig) {
	host.NetworkMode = "none"
	host.CapAdd = []string{"NET_ADMIN"}
	host.Tmpfs = map[string]string{"/run": "exec,mode=0755,size=64m"}
	host.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "2"}}
	host.Binds = []string{
		nodeDir(c.lab, box.Name, "etc") + ":/etc/gemel:ro",
		nodeDir(c.lab, box.Name, "state") + ":/var/lib/gemel",
		nodeDir(c.lab, box.Name, "log") + ":/var/log/gemel",
		c.dir + "/bin:/opt/gemel/bin:ro",
	}
	for _, other := range Boxes() {
		host.ExtraHosts = append(host.ExtraHosts, other.Name+":"+other.Address(LAN).Addr().String())
	}
	host.ExtraHosts = append(host.ExtraHosts, "vip:"+VIP.String())
	if box.Role != Server {
		return
	}
	host.CapAdd = []string{"ALL"}
	host.CapDrop = []string{"SYS_RESOURCE"}
	host.SecurityOpt = []string{"seccomp=unconfined", "apparmor=unconfined"}
	host.MaskedPaths = []string{}
	host.ReadonlyPaths = []string{}
	host.Binds = append(host.Binds, "/dev:/dev")
	host.DeviceCgroupRules = []string{"b 7:* rmw", "c 10:* rmw"}
}

func nics(box Box) string {
	var names []string
	for _, sw := range box.Cables {
		names = append(names, NIC(sw))
	}
	return strings.Join(names, " ")
}

// inspect returns the state of a box's container; ErrNoLab when there is no container.
func (c *Cluster) inspect(ctx context.Context, node string) (container.InspectResponse, error) {
	found, err := c.engine.ContainerInspect(ctx, ContainerName(c.lab, node))
	if state, failed := loadState(c.dir); errdefs.IsNotFound(err) && failed == nil && !state.has(node) {
		return found, fmt.Errorf("%q: %w; lab %s has %s", node, ErrNoNode, c.lab, boxNames(state.boxes()))
	}
	if errdefs.IsNotFound(err) {
		return found, fmt.Errorf("%s of lab %s has no container: %w; next: lab up --lab %s", node, c.lab, ErrNoLab, c.lab)
	}
	if err != nil {
		return found, fmt.Errorf("look at %s: %w", node, err)
	}
	return found, nil
}

// ensureBox brings a box to running and cabled, from whatever it is now.
func (c *Cluster) ensureBox(ctx context.Context, box Box, bare bool) error {
	_, err := c.engine.ContainerInspect(ctx, ContainerName(c.lab, box.Name))
	if errdefs.IsNotFound(err) {
		err = c.createContainer(ctx, box, bare)
	}
	if err != nil {
		return err
	}
	return c.PowerOn(ctx, box.Name)
}
