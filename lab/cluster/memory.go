package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"
)

const (
	// hogSlack is the memory a box has left when the hog begins.
	hogSlack = 256 << 20
	// hogPID is where the loop that keeps the hog going notes its number.
	hogPID = "/run/lab-hog.pid"
	// noLimit is more than any box has; engines cannot take a limit away again.
	noLimit = 1 << 46
	// memoryGroups is where the kernel shows groups of processes that share a limit, first version.
	memoryGroups = "/sys/fs/cgroup/memory"
	// fullGroup is the lab's own below a box's.
	fullGroup = "lab-full"
	// hogMost is what a hog takes at most, in KiB. Between the end of a limit and that of the
	// hog, or where whoever set the limit was killed, it would take the host's memory.
	hogMost = 1 << 20
)

// FillMemory gives a box no more memory than it uses and a quarter of a gibibyte, and
// fills that, again and again: whenever the kernel has killed the hog, the next one
// begins. Whether it kills somebody else is the kernel's choice. FreeMemory ends it.
//
// On hosts with the first version of control groups the box's init and replicator are
// spared. There, whoever is at a limit waits for pages that are on their way to a disk; the
// replicator would wait for pages on their way through itself, for ever. No real box has
// such a limit.
func (c *Cluster) FillMemory(ctx context.Context, node string) error {
	found, err := c.inspect(ctx, node)
	if err != nil {
		return err
	}
	if !found.State.Running {
		return fmt.Errorf("fill the memory of %s: %w", node, ErrOff)
	}
	c.Note("fill-memory", "The memory of %s is being filled.", node)
	err = changeState(c.dir, func(s *State) { s.Full[node] = true })
	if err == nil {
		err = c.startHog(ctx, found)
	}
	if err != nil {
		return fmt.Errorf("fill the memory of %s: %w", node, err)
	}
	return nil
}

func (c *Cluster) startHog(ctx context.Context, box container.InspectResponse) error {
	node := box.Config.Labels[labelNode]
	// tail keeps a line that never ends. It waits for its group, so that it never eats without one.
	hog := fmt.Sprintf("[ -e %[1]s ] && exit 0; setsid sh -c 'echo $$ >%[1]s; ulimit -v %[2]d; "+
		"sleep 1; while :; do tail /dev/zero; sleep 0.2; done' >/dev/null 2>&1 & sleep 0.2", hogPID, hogMost)
	done, err := c.Exec(ctx, node, "sh", "-c", hog)
	if err == nil && done.Code != 0 {
		err = errors.New(strings.TrimSpace(done.Stderr))
	}
	if err != nil {
		return err
	}
	if group := groupOf(box.ID); group != "" {
		return limitGroup(group, box.State.Pid)
	}
	used, err := c.memoryUsed(ctx, node)
	if err != nil {
		return err
	}
	return c.limitMemory(ctx, box.ID, used+hogSlack)
}

// FreeMemory ends FillMemory. A box whose memory is not filled is no error.
func (c *Cluster) FreeMemory(ctx context.Context, node string) error {
	found, err := c.inspect(ctx, node)
	if err != nil {
		return err
	}
	c.Note("free-memory", "The memory of %s is freed.", node)
	// The limit first: what ends the hog needs memory itself.
	if group := groupOf(found.ID); group != "" {
		err = freeGroup(group)
	} else {
		err = c.limitMemory(ctx, found.ID, noLimit)
	}
	if err != nil {
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
	if err != nil {
		return fmt.Errorf("this host cannot limit a box's memory: %w", err)
	}
	return nil
}

// groupOf returns a container's group of the first version; empty: it has none.
func groupOf(id string) string {
	group := filepath.Join(memoryGroups, "docker", id)
	if _, err := os.Stat(group); err != nil {
		return ""
	}
	return group
}

// limitGroup moves a box's processes, but for its init and what lives in a mount namespace
// of its own as the replicator does, into a group with a limit.
func limitGroup(group string, init int) error {
	full := filepath.Join(group, fullGroup)
	if err := os.Mkdir(full, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("group with a limit: %w", err)
	}
	if err := writeGroup(full, "memory.limit_in_bytes", hogSlack); err != nil {
		return err
	}
	members, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("members of the box's group: %w", err)
	}
	home, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", init))
	if err != nil {
		return fmt.Errorf("the box's first process: %w", err)
	}
	for _, member := range strings.Fields(string(members)) {
		space, err := os.Readlink("/proc/" + member + "/ns/mnt")
		if err != nil || space != home || member == strconv.Itoa(init) {
			continue
		}
		// One that has ended meanwhile needs no limit.
		err = os.WriteFile(filepath.Join(full, "cgroup.procs"), []byte(member), 0)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("limit process %s: %w", member, err)
		}
	}
	return nil
}

func freeGroup(group string) error {
	full := filepath.Join(group, fullGroup)
	if _, err := os.Stat(full); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return writeGroup(full, "memory.limit_in_bytes", noLimit)
}

func writeGroup(group, name string, value int64) error {
	if err := os.WriteFile(filepath.Join(group, name), []byte(strconv.FormatInt(value, 10)), 0); err != nil {
		return fmt.Errorf("set %s to %d: %w", name, value, err)
	}
	return nil
}
