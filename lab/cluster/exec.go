package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Result is what a command in a box did.
type Result struct {
	Stdout string
	Stderr string
	Code   int
}

// Exec runs a command in a box and waits for it. A command that fails is no error:
// see Code. ErrOff when the box is off or goes off meanwhile.
func (c *Cluster) Exec(ctx context.Context, node string, command ...string) (Result, error) {
	var stdout, stderr bytes.Buffer
	code, err := c.Stream(ctx, node, &stdout, &stderr, command...)
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}, err
}

// Stream runs a command in a box and copies what it says while it runs. When ctx
// ends, the command itself goes on until the box goes off.
func (c *Cluster) Stream(ctx context.Context, node string, stdout, stderr io.Writer, command ...string) (int, error) {
	if _, err := boxNamed(node); err != nil {
		return 0, err
	}
	found, err := c.inspect(ctx, node)
	if err != nil {
		return 0, err
	}
	if !found.State.Running {
		return 0, fmt.Errorf("run %q in %s: %w; next: lab power-on --lab %s %s", command[0], node, ErrOff, c.lab, node)
	}
	made, err := c.engine.ContainerExecCreate(ctx, found.ID, container.ExecOptions{
		Cmd: command, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return 0, fmt.Errorf("run %q in %s: %w", command[0], node, err)
	}
	attached, err := c.engine.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, fmt.Errorf("run %q in %s: %w", command[0], node, err)
	}
	// Closing is the only way to end a read that waits for the command's next word.
	stop := context.AfterFunc(ctx, attached.Close)
	defer attached.Close()
	defer stop()
	_, err = stdcopy.StdCopy(stdout, stderr, attached.Reader)
	if ctx.Err() != nil {
		return 0, fmt.Errorf("run %q in %s: %w", command[0], node, ctx.Err())
	}
	if err != nil {
		return 0, fmt.Errorf("run %q in %s: its output broke off: %w", command[0], node, err)
	}
	return c.exitCode(ctx, node, made.ID, command[0])
}

func (c *Cluster) exitCode(ctx context.Context, node, id, command string) (int, error) {
	ended, err := c.engine.ContainerExecInspect(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("end of %q in %s: %w", command, node, err)
	}
	found, err := c.inspect(ctx, node)
	if err == nil && (!found.State.Running || ended.Running) {
		return 0, fmt.Errorf("end of %q in %s: %w", command, node, ErrOff)
	}
	return ended.ExitCode, err
}
