package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"

	"gemel/lab/chassis"
)

// oldestAPI is the engine's API that the lab is tested with.
const oldestAPI = "1.41"

// mostLabs is how many labs side by side go without a word.
const mostLabs = 3

func askPackets(context.Context) (string, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("packet socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return "", fmt.Errorf("packet socket without its own frames (kernel 4.20 and later): %w", err)
	}
	return "opened one", nil
}

func askAPI(ctx context.Context) (string, error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return "", err
	}
	defer func() { _ = engine.Close() }()
	version, err := engine.ServerVersion(ctx)
	if err != nil {
		return "", fmt.Errorf("no engine answers: %w", err)
	}
	if older(version.APIVersion, oldestAPI) {
		return "", fmt.Errorf("the engine speaks %s", version.APIVersion)
	}
	return version.APIVersion, nil
}

// older compares versions such as "1.9" and "1.41".
func older(a, b string) bool {
	major := func(v string) (int, int) {
		head, tail, _ := strings.Cut(v, ".")
		x, _ := strconv.Atoi(head)
		y, _ := strconv.Atoi(tail)
		return x, y
	}
	ax, ay := major(a)
	bx, by := major(b)
	return ax < bx || ax == bx && ay < by
}

func askMemoryGroups(context.Context) (string, error) {
	if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); err == nil {
		return "control groups, first version", nil
	}
	data, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err == nil && strings.Contains(string(data), "memory") {
		return "control groups, second version", nil
	}
	return "", errors.New("the kernel limits no group's memory")
}

// capSysTime is the number of CAP_SYS_TIME.
const capSysTime = 25

func askClock(context.Context) (string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(status)) {
		hex, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		have, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err == nil && have>>capSysTime&1 == 1 {
			return "can be moved, for this whole host", nil
		}
	}
	return "", errors.New("CAP_SYS_TIME is missing")
}

func askOthers(context.Context) (string, error) {
	labs, err := chassis.List()
	if err != nil {
		return "", err
	}
	words := fmt.Sprintf("%d on this host %v", len(labs), labs)
	if len(labs) > mostLabs {
		return "", errors.New(words)
	}
	return words, nil
}
