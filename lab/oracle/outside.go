package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gemel/lab/checker"
	"gemel/lab/cluster"
	"gemel/lab/leftovers"
)

// serviceProcess is the process that the lab's service is made of.
const serviceProcess = "ganesha.nfsd"

// OneAddressHolder finds who answers for the cluster's address: the kernel of one
// server has it, and one MAC answers when the client asks the network.
func (o *Oracle) OneAddressHolder(ctx context.Context) error {
	var holders []string
	for _, name := range Servers {
		has, err := o.hasAddress(ctx, name)
		if err != nil {
			return err
		}
		if has {
			holders = append(holders, name)
		}
	}
	macs, err := o.answeringMACs(ctx)
	if err != nil {
		return err
	}
	if len(holders) != 1 || len(macs) != 1 {
		return fmt.Errorf("%w: %s is configured on %v and answered by %v, want one of each",
			ErrBroken, cluster.VIP, holders, macs)
	}
	return nil
}

func (o *Oracle) hasAddress(ctx context.Context, name string) (bool, error) {
	said, err := o.exec(ctx, name, "ip", "-o", "-4", "address", "show", "to", cluster.VIP.String())
	if err != nil {
		return false, err
	}
	return strings.Contains(said.Stdout, cluster.VIP.String()), nil
}

// answeringMACs asks three times from the client and returns who answered.
func (o *Oracle) answeringMACs(ctx context.Context) ([]string, error) {
	said, err := o.exec(ctx, "client", "arping", "-r", "-c", "3", "-W", "0.2", "-w", "3",
		"-I", cluster.NIC(cluster.LAN), cluster.VIP.String())
	if err != nil {
		return nil, err
	}
	macs := strings.Fields(said.Stdout)
	slices.Sort(macs)
	return slices.Compact(macs), nil
}

// ServicesOnce counts the processes of the service on both servers.
func (o *Oracle) ServicesOnce(ctx context.Context) error {
	counts := map[string]int{}
	total := 0
	for _, name := range Servers {
		said, err := o.exec(ctx, name, "pgrep", "-c", "-x", serviceProcess)
		if err != nil {
			return err
		}
		count, err := strconv.Atoi(strings.TrimSpace(said.Stdout))
		if err != nil {
			return fmt.Errorf("count %s on %s: %w", serviceProcess, name, err)
		}
		counts[name] = count
		total += count
	}
	if total != 1 {
		return fmt.Errorf("%w: %s runs %d times %v, want once", ErrBroken, serviceProcess, total, counts)
	}
	return nil
}

// Acknowledged proves from the client that every record of an acknowledgement log
// is there. The report is valid with ErrBroken, too.
func (o *Oracle) Acknowledged(ctx context.Context, ackLog string) (checker.VerifyReport, error) {
	var report checker.VerifyReport
	said, err := o.lab.Exec(ctx, "client", "/opt/gemel/bin/lab", "check", "verify",
		"--ack-log", ackLog, "--limit", "30s")
	if err != nil {
		return report, err
	}
	lines := strings.Split(strings.TrimSpace(said.Stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &report); err != nil {
		return report, fmt.Errorf("verify %s (exit code %d): %s: %w", ackLog, said.Code, strings.TrimSpace(said.Stderr), err)
	}
	if said.Code != 0 || !report.OK() {
		return report, fmt.Errorf("%w: of %d acknowledged records %d found, %d missing, %d corrupt: %s",
			ErrBroken, report.Acked, report.Found, report.MissingN, report.CorruptN, strings.TrimSpace(said.Stderr))
	}
	return report, nil
}

// NothingLeaked compares what the lab owns on the host now with what it owned when
// it was whole. A box that just died may be a moment before it is swept.
func (o *Oracle) NothingLeaked(ctx context.Context, whole leftovers.Snapshot) error {
	now, err := leftovers.Take(ctx)
	if err != nil {
		return err
	}
	if added := now.Of(o.lab.Lab()).Since(whole); len(added) > 0 {
		return fmt.Errorf("%w: leaked on the host: %q", ErrBroken, added)
	}
	return nil
}

// exec runs a short command. Its exit code is the caller's to judge.
func (o *Oracle) exec(ctx context.Context, box string, command ...string) (cluster.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return o.lab.Exec(ctx, box, command...)
}
