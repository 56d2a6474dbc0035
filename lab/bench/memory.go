package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/replicator/control"
)

// crowd is a pair with many small volumes, or a large one, to see what the
// replicators hold in memory. Nothing is written to them.
type crowd struct {
	volumes int
	size    int64 // of each backing file in bytes; sparse
	synced  bool  // wait until every volume is in sync; else until it was created
}

// crowds are what memory measures.
var crowds = []crowd{{1, 64 << 20, true}, {16, 64 << 20, true}, {256, 16 << 20, true}, {1, 1 << 40, false}, {1, 4 << 40, false}}

// chosenCrowds are the crowds, or those of numbers such as "16,64".
func chosenCrowds(numbers string) ([]crowd, error) {
	if numbers == "" {
		return crowds, nil
	}
	var chosen []crowd
	for _, text := range strings.Split(numbers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 256 {
			return nil, fmt.Errorf("-volumes %s: give numbers from 1 to 256, such as 16,64", numbers)
		}
		chosen = append(chosen, crowd{n, 16 << 20, true})
	}
	return chosen, nil
}

// idleFor is how long a crowd is left alone to see what its daemons do meanwhile.
const idleFor = 20 * time.Second

// held is what the daemons of both nodes hold and use with a crowd. CPU is in percent
// of one core while nothing is written.
type held struct {
	Volumes    int        `json:"volumes"`
	Size       int64      `json:"bytes_each"`
	Synced     float64    `json:"seconds_to_sync"` // from the last replica made to all in sync; 0: not waited for
	Bytes      [2]int64   `json:"resident_bytes"`  // of each node's replicator
	Peak       [2]int64   `json:"peak_bytes"`
	Agents     [2]int64   `json:"agents_resident_bytes"`
	CPU        [2]float64 `json:"cpu_percent"`
	AgentsCPU  [2]float64 `json:"agents_cpu_percent"`
	WitnessCPU float64    `json:"witness_cpu_percent"`
}

func (b *bench) memory() error {
	crowds, err := chosenCrowds(b.volumes)
	errs := []error{err}
	for _, c := range crowds {
		errs = append(errs, b.room.inside(func() error {
			h, err := c.measure(b)
			if err == nil {
				say("memory: %d volumes of %d MiB: %d and %d MiB resident", h.Volumes, h.Size>>20, h.Bytes[0]>>20, h.Bytes[1]>>20)
				b.report.Memory = append(b.report.Memory, h)
			}
			return err
		}))
	}
	return errors.Join(errs...)
}

func (c crowd) measure(b *bench) (held, error) {
	h := held{Volumes: c.volumes, Size: c.size}
	w, err := newWiring(b.room, "")
	if err != nil {
		return h, err
	}
	p := &pair{room: b.room, gemel: b.gemel, dir: filepath.Join(b.room.dir, "memory"), frontend: config.FrontendAuto}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return h, fmt.Errorf("directory of the pair: %w", err)
	}
	if err := c.furnish(p); err != nil {
		return h, err
	}
	witness, err := c.start(p, w, &h)
	if err != nil {
		return h, err
	}
	if err := h.idle(p, witness); err != nil {
		return h, err
	}
	for i := range nodeNames {
		var failed [2]error
		h.Bytes[i], h.Peak[i], failed[0] = resident(p.daemons[i][0].cmd.Process.Pid)
		h.Agents[i], _, failed[1] = resident(p.daemons[i][1].cmd.Process.Pid)
		if err := errors.Join(failed[:]...); err != nil {
			return h, err
		}
	}
	return h, nil
}

// idle measures the processor time of daemons that have nothing to do.
func (h *held) idle(p *pair, witness *daemon) error {
	into := map[*daemon]*float64{witness: &h.WitnessCPU}
	for i := range nodeNames {
		into[p.daemons[i][0]], into[p.daemons[i][1]] = &h.CPU[i], &h.AgentsCPU[i]
	}
	select { // what the first syncs left to do
	case <-time.After(5 * time.Second):
	case <-p.room.ctx.Done():
		return p.room.ctx.Err()
	}
	before := map[*daemon]float64{}
	for d := range into {
		before[d] = busy([]*daemon{d})
	}
	began := time.Now()
	select {
	case <-time.After(idleFor):
	case <-p.room.ctx.Done():
		return p.room.ctx.Err()
	}
	for d, percent := range into {
		*percent = 100 * (busy([]*daemon{d}) - before[d]) / time.Since(began).Seconds()
	}
	return nil
}

// furnish makes keys, sparse backing files and configurations.
func (c crowd) furnish(p *pair) error {
	if err := p.furnish([]string{"/unused"}); err != nil {
		return err
	}
	for _, box := range nodeNames {
		text, _, _ := strings.Cut(p.configText(box, p.home(box), ""), "volumes:\n")
		text = strings.Replace(text, "links: [private]", "links: [private], peer-timeout: 10s", 1) + "volumes:\n"
		for v := range c.volumes {
			path := filepath.Join(p.home(box), fmt.Sprintf("v%d.img", v))
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, c.size)); err != nil {
				return fmt.Errorf("backing file: %w", err)
			}
			text += fmt.Sprintf("  - {name: v%d, device: %s}\n", v, path)
		}
		if err := os.WriteFile(p.config(box), []byte(text), 0o600); err != nil {
			return fmt.Errorf("configuration of %s: %w", box, err)
		}
	}
	return nil
}

// start runs the daemons, makes the replicas and waits until they are as wanted.
func (c crowd) start(p *pair, w *wiring, h *held) (*daemon, error) {
	witness, err := p.room.start(w.witness, witnessName, p.argv(witnessName, "witness")...)
	if err != nil {
		return nil, err
	}
	for i, ns := range [2]string{w.a, w.b} {
		for _, role := range []string{"replicator", "agent"} {
			d, err := p.room.start(ns, nodeNames[i]+"-"+role, p.argv(nodeNames[i], role)...)
			if err != nil {
				return nil, err
			}
			p.daemons[i] = append(p.daemons[i], d)
		}
	}
	for _, box := range nodeNames {
		if err := c.create(p, box); err != nil {
			return nil, err
		}
	}
	if !c.synced {
		return witness, nil
	}
	began := time.Now()
	err = c.awaitSync(p)
	h.Synced = time.Since(began).Seconds()
	return witness, err
}

func (c crowd) awaitSync(p *pair) error {
	return p.room.await("every volume to be in sync", 10*time.Minute, time.Second, p.all(), func() (bool, error) {
		out, err := p.command(nodeNames[0], "status", "--json")
		var s api.Status
		if err == nil {
			err = json.Unmarshal(out, &s)
		}
		done := 0
		for _, v := range s.Volumes {
			if len(v.InSyncBy) == 2 {
				done++
			}
		}
		return done == c.volumes, errors.Join(err, fmt.Errorf("%d of %d are", done, c.volumes))
	})
}

// create makes every replica of a box, through the socket: a command each would
// take longer than all the rest.
func (c crowd) create(p *pair, box string) error {
	client := control.NewClient(filepath.Join(p.home(box), "run", "replicator.sock"))
	defer client.Close()
	err := p.room.await("the replicator of "+box, 30*time.Second, 100*time.Millisecond, p.all(), func() (bool, error) {
		_, err := client.State(p.room.ctx)
		return err == nil, err
	})
	for v := 0; v < c.volumes && err == nil; v++ {
		err = client.Create(p.room.ctx, control.CreateRequest{Volume: fmt.Sprintf("v%d", v)})
	}
	return err
}

// resident returns what a process holds in memory of its own, now and at most
// since its start, in bytes.
func resident(pid int) (now, peak int64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("memory of a replicator: %w", err)
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			now = kib << 10
		case "VmHWM":
			peak = kib << 10
		}
	}
	return now, peak, nil
}

func (p *report) writeMemory(out io.Writer) {
	if len(p.Memory) == 0 {
		return
	}
	fmt.Fprintln(out, "\n| volumes | of | in sync after, s | replicators: resident, MiB | peak, MiB | CPU idle, % of a core | "+
		"agents: resident, MiB | CPU idle, % | witness, % |")
	fmt.Fprintln(out, "|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, h := range p.Memory {
		fmt.Fprintf(out, "| %d | %d MiB | %.0f | %d and %d | %d and %d | %.1f and %.1f | %d and %d | %.1f and %.1f | %.1f |\n",
			h.Volumes, h.Size>>20, h.Synced, h.Bytes[0]>>20, h.Bytes[1]>>20, h.Peak[0]>>20, h.Peak[1]>>20, h.CPU[0], h.CPU[1],
			h.Agents[0]>>20, h.Agents[1]>>20, h.AgentsCPU[0], h.AgentsCPU[1], h.WitnessCPU)
	}
}
