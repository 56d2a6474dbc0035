package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gemel/lab/vm/plan"
)

const (
	memory      = "1536" // MiB of the machine
	scratchSize = 1 << 30
	tailLines   = 120 // of the console, when something went wrong
)

// boot runs the machine until it switches itself off, and returns the results
// it told. On any error it prints the end of the machine's console.
func boot(ctx context.Context, dir, machine, initrd string) (results []plan.Result, err error) {
	console := filepath.Join(dir, "console")
	ports, err := listenPorts(dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", arguments(dir, machine, initrd, console)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = 5 * time.Second
	scratch := filepath.Join(dir, "scratch")
	if err := errors.Join(os.WriteFile(scratch, nil, 0o600), os.Truncate(scratch, scratchSize)); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { copyPort(ports.output, os.Stdout) })
	var text bytes.Buffer
	reading.Go(func() { copyPort(ports.results, &text) })
	err = cmd.Wait()
	ports.close()
	reading.Wait()
	results, decodeErr := decode(&text)
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("the machine was ended: %w", ctx.Err())
	case err != nil:
		err = fmt.Errorf("qemu: %w: %s", err, &said)
	}
	if err = errors.Join(err, decodeErr); err != nil || troubled(results) {
		printTail(console)
	}
	return results, err
}

// troubled: the console may say more, such as which task hangs where.
func troubled(results []plan.Result) bool {
	for _, r := range results {
		if r.Problem != "" {
			return true
		}
	}
	return len(results) == 0
}

func arguments(dir, machine, initrd, console string) []string {
	accel := []string{"-accel", "tcg,thread=multi", "-cpu", "max"}
	if kvmWorks() {
		accel = []string{"-accel", "kvm", "-cpu", "host"}
	}
	port := func(id, name string) []string {
		return []string{"-chardev", "socket,id=" + id + ",path=" + filepath.Join(dir, name),
			"-device", "virtserialport,chardev=" + id + ",name=" + name}
	}
	disk := func(path, options string) []string {
		return []string{"-drive", "if=virtio,format=raw,file=" + path + options}
	}
	args := append(accel, "-smp", "2", "-m", memory, "-nodefaults", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(machine, "vmlinuz"), "-initrd", initrd,
		"-append", "console=ttyS0 loglevel=7 panic=-1 mitigations=off oops=panic hung_task_panic=0",
		"-serial", "file:"+console, "-device", "virtio-serial")
	args = append(args, port("output", plan.OutputName)...)
	args = append(args, port("results", plan.ResultsName)...)
	args = append(args, disk(filepath.Join(machine, "disk"), ",readonly=on")...)
	return append(args, disk(filepath.Join(dir, "scratch"), ",cache=unsafe,discard=unmap")...)
}

// kvmWorks: the device node alone says nothing on a host that is a virtual
// machine itself; the processor must have the extension.
func kvmWorks() bool {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !bytes.Contains(info, []byte(" vmx")) && !bytes.Contains(info, []byte(" svm")) {
		return false
	}
	return unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) == nil
}

// ports are where qemu connects to.
type ports struct{ output, results net.Listener }

func listenPorts(dir string) (p ports, err error) {
	if p.output, err = net.Listen("unix", filepath.Join(dir, plan.OutputName)); err != nil {
		return p, err
	}
	if p.results, err = net.Listen("unix", filepath.Join(dir, plan.ResultsName)); err != nil {
		p.output.Close()
	}
	return p, err
}

func (p ports) close() {
	p.output.Close()
	p.results.Close()
}

// copyPort passes on what comes until qemu ends; without a connection it ends
// when the listener is closed.
func copyPort(l net.Listener, to io.Writer) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.Copy(to, conn) // a machine that ends cuts it
}

func decode(text *bytes.Buffer) (results []plan.Result, err error) {
	lines := json.NewDecoder(text)
	for {
		var r plan.Result
		if err := lines.Decode(&r); errors.Is(err, io.EOF) {
			return results, nil
		} else if err != nil {
			return results, fmt.Errorf("the machine's results cannot be read: %w", err)
		}
		results = append(results, r)
	}
}

func printTail(console string) {
	text, err := os.ReadFile(console) //nolint:gosec // in the run's own directory
	if err != nil {
		return
	}
	lines := bytes.Split(bytes.TrimRight(text, "\r\n"), []byte("\n"))
	say("the machine's console ended with:")
	_, _ = os.Stderr.Write(append(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")), '\n'))
}
