// Command init is the first process of the virtual machine: it loads modules,
// makes the disk the root, runs the plan's programs one after the other, and
// switches the machine off. It is no service manager. What goes wrong before
// the plan is read is told on the console.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"gemel/lab/vm/plan"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("init:", err)
	}
	// Nothing is worth a sync, which waits for ever where a file system hangs.
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Println("init: switch off:", err) // the end of process 1 is a panic, and that ends the machine too
}

func run() error {
	if err := firstMounts(); err != nil {
		return err
	}
	p, err := readPlan()
	if err != nil {
		return err
	}
	for _, name := range p.Modules {
		if err := load(filepath.Join(plan.Modules, name)); err != nil {
			return err
		}
	}
	if err := errors.Join(loopback(), enterDisk()); err != nil {
		return err
	}
	return carryOut(p)
}

func readPlan() (*plan.Plan, error) {
	text, err := os.ReadFile(plan.File)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	p := &plan.Plan{}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	return p, nil
}

// load hands a compressed module to the kernel, which unpacks it.
func load(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open module %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.FinitModule(fd, "", unix.MODULE_INIT_COMPRESSED_FILE); err != nil {
		return fmt.Errorf("load module %s: %w", path, err)
	}
	return nil
}

func carryOut(p *plan.Plan) error {
	output, err := openPort(plan.OutputName)
	if err != nil {
		return err
	}
	results, err := openPort(plan.ResultsName)
	if err != nil {
		return err
	}
	out := json.NewEncoder(results)
	for _, r := range p.Runs {
		result := perform(r, output)
		if err := out.Encode(result); err != nil {
			return fmt.Errorf("tell the result of %s: %w", r.Suite, err)
		}
		if result.Problem != "" {
			return nil // what it left in the kernel would spoil the next
		}
	}
	return nil
}

// openPort finds a port to the host by its name; ports appear a moment after
// the machine has started.
func openPort(name string) (*os.File, error) {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		found, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err != nil || string(text) != name+"\n" {
				continue
			}
			return os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(path))), os.O_WRONLY, 0)
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("the machine has no port %q", name)
		}
	}
}
