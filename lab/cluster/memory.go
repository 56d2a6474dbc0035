package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/container"
)

const (
	// hogSlack is the memory a box has left when the hog begins.
	hogSlack = 256 << 20
	// hogPID is where the loop that keeps the hog going notes its number.
	hogPID = "/run/lab-hog.pid"
	// noLimit is more than any box has; engines cannot take a limit away again.
	noLimit = 1 << 46
)

// FillMemory gives a box no more memory than it uses and a quarter of a gibibyte, and
// fills that, again and again: whenever the kernel has killed the hog, the next one
// begins. Whether it kills somebody else is the kernel's choice. FreeMemory ends it.
func (c *Cluster) FillMemory(ctx context.Context, node string) error {
	found, err := c.inspect(ctx, node)
	if err != nil {
		return err
	}
	if !found.State.Running {
		return fmt.Errorf("fill the memory of %s: %w", node, ErrOff)
	}
	used, err := c.memoryUsed(ctx, node)
	if err != nil {
		return fmt.Errorf("fill the memory of %s: %w", node, err)
	}
	if err := c.limitMemory(ctx, found.ID, used+hogSlack); err != nil {
		return fmt.Errorf("fill the memory of %s: this host cannot limit a box's memory: %w", node, err)
	}
	// tail keeps a line that never ends.
	hog := "[ -e " + hogPID + " ] && exit 0; setsid sh -c 'echo $$ >" + hogPID + "; while :; do tail /dev/zero; sleep 0.2; done' >/dev/null 2>&1 &"
	done, err := c.Exec(ctx, node, "sh", "-c", hog)
	if err == nil && done.Code != 0 {
		err = errors.New(strings.TrimSpace(done.Stderr))
	}
	if err != nil {
		return fmt.Errorf("fill the memory of %s: %w", node, err)
	}
	return changeState(c.dir, func(s *State) { s.Full[node] = true })
}

// FreeMemory ends FillMemory. A box whose memory is not filled is no error.
func (c *Cluster) FreeMemory(ctx context.Context, node string) error {
	found, err := c.inspect(ctx, node)
	if err != nil {
		return err
	}
	// The limit first: what ends the hog needs memory itself.
	if err := c.limitMemory(ctx, found.ID, noLimit); err != nil {
		return fmt.Errorf("free the memory of %s: %w", node, err)
	}
	if found.State.Running {
		const end = "[ -e " + hogPID + " ] && kill -KILL -- -$(cat " + hogPID + "); rm -f " + hogPID
		if _, err := c.Exec(ctx, node, "sh", "-c", end); err != nil && !errors.Is(err, ErrOff) {
			return fmt.Errorf("free the memory of %s: %w", node, err)
		}
	}
	return changeState(c.dir, func(s *State) { delete(s.Full, node) })
}

// memoryUsed is what a box's processes have resident, in bytes.
func (c *Cluster) memoryUsed(ctx context.Context, node string) (int64, error) {
	said, err := c.Exec(ctx, node, "sh", "-c", `ps -eo rss= | awk '{s += $1} END {print s * 1024}'`)
	if err != nil {
		return 0, err
	}
	var used int64
	if _, err := fmt.Sscan(said.Stdout, &used); err != nil {
		return 0, fmt.Errorf("sum of the processes' memory: %w: %s", err, said.Stderr)
	}
	return used, nil
}

func (c *Cluster) limitMemory(ctx context.Context, id string, bytes int64) error {
	_, err := c.engine.ContainerUpdate(ctx, id, container.UpdateConfig{
		Resources: container.Resources{Memory: bytes, MemorySwap: bytes},
	})
	return err
}
