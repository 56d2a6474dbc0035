// Package leftovers counts what labs own on this host, so that a test can compare
// before and after. It takes nothing away; that is `lab down`.
package leftovers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/vishvananda/netlink"

	"gemel/lab/chassis"
	"gemel/lab/cluster"
	"gemel/lab/drive/server"
	"gemel/lab/loopdev"
	"gemel/node/frontend"
)

// Snapshot is what labs own now: names by kind, sorted.
type Snapshot map[string][]string

// Take looks at every kind of thing a lab can leave. Without an engine there are
// no containers, which is no error.
func Take(ctx context.Context) (Snapshot, error) {
	snapshot := Snapshot{}
	for kind, look := range map[string]func(context.Context) ([]string, error){
		"containers": containers,
		"namespaces": namespaces,
		"veths":      veths,
		"disks":      disks,
		"frontends":  frontends,
		"mounts":     mounts,
		"attendants": attendants,
		"drives":     drives,
	} {
		names, err := look(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for leftover %s: %w", kind, err)
		}
		slices.Sort(names)
		snapshot[kind] = names
	}
	return snapshot, nil
}

// Since returns what is in s and was not in before, as "kind: name" lines.
func (s Snapshot) Since(before Snapshot) []string {
	var added []string
	for _, kind := range slices.Sorted(maps.Keys(s)) {
		for _, name := range s[kind] {
			if !slices.Contains(before[kind], name) {
				added = append(added, kind+": "+name)
			}
		}
	}
	return added
}

// Of keeps only what belongs to one lab.
func (s Snapshot) Of(lab string) Snapshot {
	kept := Snapshot{}
	for kind, names := range s {
		kept[kind] = []string{}
		for _, name := range names {
			if belongs(name, lab) {
				kept[kind] = append(kept[kind], name)
			}
		}
	}
	return kept
}

func belongs(name, lab string) bool {
	return strings.HasPrefix(name, "gemel-"+lab+"-") || strings.Contains(name, cluster.Dir(lab)+"/") ||
		strings.HasPrefix(name, frontend.OwnerOf(lab, ""))
}

// Count returns how many things there are in all.
func (s Snapshot) Count() int {
	count := 0
	for _, names := range s {
		count += len(names)
	}
	return count
}

func containers(ctx context.Context) ([]string, error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }()
	list, err := engine.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", "gemel.lab")),
	})
	if client.IsErrConnectionFailed(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, summary := range list {
		names = append(names, strings.TrimPrefix(strings.Join(summary.Names, ","), "/"))
	}
	return names, nil
}

func namespaces(context.Context) ([]string, error) {
	labs, err := chassis.List()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, lab := range labs {
		names = append(names, chassis.Name(lab))
	}
	return names, nil
}

// veths lists cable ends, which belong in a chassis, that strayed into the host's namespace.
func veths(context.Context) ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, link := range links {
		name := link.Attrs().Name
		for _, box := range cluster.Boxes() {
			if link.Type() == "veth" && strings.HasPrefix(name, box.Name+"-") {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

func disks(context.Context) ([]string, error) {
	devices, err := loopdev.List()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, device := range devices {
		if strings.HasPrefix(device.Backing, cluster.Root+"/") && !strings.HasPrefix(device.Label, server.Owner+":") {
			names = append(names, device.Path+" on "+device.Backing)
		}
	}
	return names, nil
}

func frontends(context.Context) ([]string, error) {
	orphans, err := cluster.Orphans("")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, device := range orphans {
		names = append(names, fmt.Sprintf("%s is %s (FUSE connection %d)", device.Label, device.Path, device.FileSystem))
	}
	return names, nil
}

// drives lists the servers of drives, in a lab or not, and the devices of dead ones.
func drives(context.Context) ([]string, error) {
	var names []string
	for _, root := range []string{cluster.Root, cluster.DrivesRoot} {
		running, err := server.Processes(root + "/")
		if err != nil {
			return nil, err
		}
		for _, process := range running {
			names = append(names, fmt.Sprintf("%s/ (process %d)", process.Dir, process.PID))
		}
	}
	devices, err := server.Devices(func(string) bool { return true })
	for _, device := range devices {
		name := strings.TrimPrefix(device.Label, server.Owner+":")
		if lab, box, ok := strings.Cut(name, "."); ok {
			name = cluster.DriveDir(lab, box)
		}
		names = append(names, fmt.Sprintf("%s of %s/", device.Path, name))
	}
	return names, err
}

func attendants(context.Context) ([]string, error) {
	running, err := cluster.Attendants()
	var names []string
	for _, a := range running {
		names = append(names, fmt.Sprintf("gemel-%s-%s %s (process %d)", a.Lab, a.Kind, strings.Join(a.Args, " "), a.PID))
	}
	return names, err
}

func mounts(context.Context) ([]string, error) {
	return cluster.MountsUnder(cluster.Root + "/")
}
