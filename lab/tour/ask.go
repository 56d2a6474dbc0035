package tour

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gemel/node/api"
	"gemel/node/event"
	"gemel/node/replicator/control"
)

var servers = []string{"server1", "server2"}

// otherOf names the other server.
func otherOf(node string) string {
	if node == servers[0] {
		return servers[1]
	}
	return servers[0]
}

// command runs a command in a box; one that fails is an error with its last words.
func (t *tour) command(ctx context.Context, limit time.Duration, node string, line ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	result, err := t.lab.Exec(ctx, node, line...)
	if err != nil {
		return "", err
	}
	if result.Code != 0 {
		return result.Stdout, fmt.Errorf("%q in %s: exit code %d: %s",
			strings.Join(line, " "), node, result.Code, strings.TrimSpace(result.Stderr))
	}
	return result.Stdout, nil
}

// view is one look at the pair from one of its nodes.
type view struct {
	status api.Status
	volume api.Volume
}

// look asks one server; an error when it does not answer in time.
func (t *tour) look(ctx context.Context, node string) (view, error) {
	out, err := t.command(ctx, 4*time.Second, node, "gemel", "status", "--json")
	if err != nil {
		return view{}, err
	}
	return parseView([]byte(out))
}

func parseView(data []byte) (view, error) {
	v := view{}
	if err := json.Unmarshal(data, &v.status); err != nil {
		return v, fmt.Errorf("status: %w", err)
	}
	for _, found := range v.status.Volumes {
		if found.Name == volume {
			v.volume = found
			return v, nil
		}
	}
	return v, fmt.Errorf("status of %s: there is no volume %s", v.status.Node, volume)
}

// primary names the Primary as this node knows it, "" when it knows of none.
func (v view) primary() string {
	switch control.Primary {
	case v.volume.Role:
		return v.status.Node
	case v.volume.PeerRole:
		return v.status.Peer.Name
	}
	return ""
}

// missing says what keeps the pair from being healthy, "" when nothing does.
func (v view) missing() string {
	vol := v.volume
	switch {
	case v.status.ReplicatorProblem != "":
		return v.status.ReplicatorProblem
	case vol.Problem != "":
		return vol.Problem
	case !v.status.Peer.Alive:
		return v.status.Peer.Name + " is not heard"
	case !v.status.Witness.Reachable:
		return "the witness does not answer"
	case v.primary() == "":
		return strings.TrimSpace("no server is Primary (" + vol.Phase + ") " + vol.Refusal)
	case vol.Connection != control.Connected:
		return strings.TrimSpace("replication is " + vol.Connection + " " + vol.ConnectionReason)
	case vol.Resync != nil:
		return "the disks are being synchronised"
	case len(vol.InSyncBy) != 2 || vol.Disk != control.UpToDate || vol.PeerDisk != control.UpToDate:
		return "the disks are not in sync yet"
	}
	return ""
}

// events asks a server what happened; what it cannot tell now it tells next time.
func (t *tour) events(ctx context.Context, node string) []event.Event {
	out, err := t.command(ctx, 3*time.Second, node, "gemel", "events", "--json", "--count", "100")
	if err != nil {
		return nil
	}
	return parseEvents(out)
}

// parseEvents reads one event per line and skips what is none.
func parseEvents(text string) []event.Event {
	var events []event.Event
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event.Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Kind != "" {
			events = append(events, e)
		}
	}
	return events
}

// sleep waits; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
