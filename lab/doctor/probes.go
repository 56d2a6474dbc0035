package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/docker/docker/client"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gemel/lab/cluster"
	"gemel/lab/ownthread"
)

// Least disk space and memory a lab is comfortable with, in bytes.
const (
	leastDisk   = 4 << 30
	leastMemory = 2 << 30
)

// HostProbes are the questions for this host.
func HostProbes() []Probe {
	return []Probe{
		{What: "root", Why: "network namespaces, loop devices and mounts are root's to make",
			Fix: "run it with sudo", Ask: askRoot},
		{What: "container engine", Why: "every box of the lab is a container",
			Fix: "run lab/prepare.sh; it installs and starts one", Ask: askEngine},
		{What: "node image", Why: "the boxes run from it", Fix: "run images/build.sh",
			Fallback: "make lab builds it", Ask: askImage},
		{What: "FUSE", Why: "a volume is shown to the kernel as a file in FUSE under a loop device",
			Fix: "modprobe fuse", Ask: askDevice("/dev/fuse")},
		{What: "loop devices", Why: "they are the backing disks, and the volume's block device",
			Fix: "modprobe loop", Ask: askDevice("/dev/loop-control")},
		{What: "veth, bridge, namespaces", Why: "cables and switches are made of them",
			Fix: "modprobe veth bridge; as root, in a host or VM of your own", Ask: askCables},
		{What: "tbf", Why: "it gives the private cables their speed of 1 Gbit/s", Fix: "modprobe sch_tbf",
			Fallback: "lab up --unthrottled: cables as fast as memory", Ask: askShaper},
		{What: "packet sockets", Why: "a relay carries the frames of a bad cable over them",
			Fix:      "run it as root with CAP_NET_RAW; CONFIG_PACKET in the kernel",
			Fallback: "cables can be pulled, but not degraded or cut", Ask: askPackets},
		{What: "engine API", Why: "the lab speaks API 1.41 or later to the engine",
			Fix: "upgrade the engine to 20.10 or later", Fallback: "", Ask: askAPI},
		{What: "memory limits", Why: "fill-memory gives a box less memory than the host has",
			Fix: "boot with cgroup_enable=memory", Fallback: "every verb but fill-memory", Ask: askMemoryGroups},
		{What: "wall clock", Why: "clock-jump moves it, for all boxes and this host, which share it",
			Fix:      "run it as root with CAP_SYS_TIME; in a virtual machine of its own, so that nobody else's clock jumps",
			Fallback: "every verb but clock-jump; leases live on a clock that cannot jump", Ask: askClock},
		{What: "other labs", Why: "what a killed lab left takes devices and memory",
			Fix: "see bin/lab leftovers; bin/lab down --lab NAME takes a lab away", Fallback: "labs side by side work, while memory lasts", Ask: askOthers},
		{What: "disk space", Why: "image, disks and logs", Fix: "free some space under /var/lib",
			Fallback: "smaller disks: lab up --disk 256MiB", Ask: askDisk},
		{What: "memory", Why: "four boxes and an engine", Fix: "close something large",
			Fallback: "it may be slow, and the kernel may kill a box", Ask: askMemory},
		{What: "addresses", Why: "the lab uses 198.18.0.0/22 inside its own network only",
			Fix:      "none is needed",
			Fallback: "the lab works; from the host itself these addresses mean something else", Ask: askAddresses},
		{What: "tools", Why: "they make the image and look into it",
			Fix: "run lab/prepare.sh", Fallback: "whatever is built already runs", Ask: askTools},
	}
}

func askRoot(context.Context) (string, error) {
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("user id %d", os.Geteuid())
	}
	return "user id 0", nil
}

func askEngine(ctx context.Context) (string, error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return "", err
	}
	defer func() { _ = engine.Close() }()
	version, err := engine.ServerVersion(ctx)
	if err != nil {
		return "", fmt.Errorf("none answers: %w", err)
	}
	return fmt.Sprintf("%s %s, API %s", version.Platform.Name, version.Version, version.APIVersion), nil
}

func askImage(ctx context.Context) (string, error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return "", err
	}
	defer func() { _ = engine.Close() }()
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	name := cluster.ImageOf(filepath.Dir(own))
	image, err := engine.ImageInspect(ctx, name)
	if err != nil {
		return "", errors.New("not built")
	}
	return fmt.Sprintf("%s, %d MiB", name, image.Size>>20), nil
}

func askDevice(path string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		return path, file.Close()
	}
}

// inScratchNetwork runs ask in a network namespace that lives as long as the call.
func inScratchNetwork(ask func() error) error {
	return ownthread.Do(func() error {
		ns, err := netns.New()
		if err != nil {
			return fmt.Errorf("network namespace: %w", err)
		}
		defer func() { _ = ns.Close() }()
		return ask()
	})
}

func addPair() (netlink.Link, error) {
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: "probe0"})
	pair.PeerName = "probe1"
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("veth: %w", err)
	}
	return netlink.LinkByName("probe0")
}

func askCables(context.Context) (string, error) {
	err := inScratchNetwork(func() error {
		if _, err := addPair(); err != nil {
			return err
		}
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "probe"}}); err != nil {
			return fmt.Errorf("bridge: %w", err)
		}
		return nil
	})
	return "made and removed a pair and a bridge", err
}

func askShaper(context.Context) (string, error) {
	err := inScratchNetwork(func() error {
		link, err := addPair()
		if err != nil {
			return err
		}
		return netlink.QdiscAdd(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			Rate:       cluster.Gigabit / 8, Limit: 1 << 20, Buffer: netlink.Xmittime(cluster.Gigabit/8, 1<<18),
		})
	})
	return "limits a link", err
}

func askDisk(context.Context) (string, error) {
	path := cluster.Root
	if _, err := os.Stat(path); err != nil {
		path = "/var/lib"
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return "", err
	}
	free := int64(stat.Bavail) * stat.Bsize
	if free < leastDisk {
		return "", fmt.Errorf("%d MiB free in %s, %d MiB wanted", free>>20, path, int64(leastDisk)>>20)
	}
	return fmt.Sprintf("%d GiB free in %s", free>>30, path), nil
}

func askMemory(context.Context) (string, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); err != nil {
			continue
		}
		if kib<<10 < leastMemory {
			return "", fmt.Errorf("%d MiB available, %d MiB wanted", kib>>10, int64(leastMemory)>>20)
		}
		return fmt.Sprintf("%d MiB available, %d CPUs", kib>>10, runtime.NumCPU()), nil
	}
	return "", errors.New("/proc/meminfo does not say")
}

func askAddresses(context.Context) (string, error) {
	network := netip.MustParsePrefix("198.18.0.0/22")
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err == nil && network.Overlaps(prefix) {
			return "", fmt.Errorf("the host has %s, inside %s", prefix, network)
		}
	}
	return network.String() + " is not in use on the host", nil
}

func askTools(context.Context) (string, error) {
	var missing []string
	tools := []string{"docker", "mmdebstrap", "ip", "nsenter", "losetup"}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("missing: %s", strings.Join(missing, ", "))
	}
	return strings.Join(tools, ", "), nil
}
