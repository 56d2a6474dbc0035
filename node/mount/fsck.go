package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Policy says how thoroughly Check looks.
type Policy string

// Policies of Check.
const (
	Journal Policy = "journal" // replay the journal, full check only if the file system asks for it
	Full    Policy = "full"    // look at everything
	Never   Policy = "never"   // leave it to the mount, which replays the journal
)

// ErrDamaged: the file system has errors that are not repaired without a
// human. Nothing was mounted.
var ErrDamaged = errors.New("file system is damaged")

// killWait is how long a program that was killed may take to leave.
const killWait = 2 * time.Second

// Check makes the file system fit to be mounted and says in words what was
// done. ext2, ext3 and ext4 go through e2fsck. XFS replays its journal when it
// is mounted, so it is looked at only under Full, after a mount for nothing else;
// other types are left to their mount.
func Check(ctx context.Context, device, fstype string, p Policy) (string, error) {
	if p != Journal && p != Full && p != Never {
		return "", fmt.Errorf("check %s: policy %q is none of %q, %q and %q", device, p, Journal, Full, Never)
	}
	switch {
	case p == Never:
		return "not checked (fsck: never); its mount replays the journal", nil
	case fstype == "ext2" || fstype == "ext3" || fstype == "ext4":
		return checkExt(ctx, device, p)
	case fstype == "xfs" && p == Full:
		return checkXFS(ctx, device)
	default:
		return fstype + " recovers at its mount; nothing to do", nil
	}
}

func checkExt(ctx context.Context, device string, p Policy) (string, error) {
	args := []string{"-p", device}
	if p == Full {
		args = []string{"-f", "-p", device}
	}
	code, out, err := run(ctx, "e2fsck", args...)
	if err != nil {
		return "", fmt.Errorf("check %s: %w", device, err)
	}
	return verdict(device, code, out)
}

// e2fsck's exit code is a sum of these.
const (
	fsckCorrected = 1
	fsckReboot    = 2 // meant for a mounted root; ours is not mounted
	fsckLeft      = 4
	fsckFailed    = 8 | 16 | 32 | 128
)

func verdict(device string, code int, out string) (string, error) {
	switch {
	case code&fsckFailed != 0:
		return "", fmt.Errorf("check %s: e2fsck could not do its work (code %d): %s", device, code, out)
	case code&fsckLeft != 0:
		return "", fmt.Errorf("%w: %s: e2fsck found errors that it repairs only by a human's word; "+
			"run: e2fsck -f %s; it said: %s", ErrDamaged, device, device, out)
	case code&(fsckCorrected|fsckReboot) != 0:
		return "repaired: " + out, nil
	}
	return "clean: " + out, nil
}

// checkXFS has the journal replayed first: xfs_repair -n takes what is still in it
// for damage.
func checkXFS(ctx context.Context, device string) (string, error) {
	if err := replay(ctx, device, "xfs"); err != nil {
		return "", fmt.Errorf("check %s: %w", device, err)
	}
	code, out, err := run(ctx, "xfs_repair", "-n", device)
	switch {
	case err != nil:
		return "", fmt.Errorf("check %s: %w", device, err)
	case code == 0:
		return "clean: its journal was replayed by a mount, then xfs_repair -n found nothing", nil
	}
	return "", fmt.Errorf("%w: %s: xfs_repair -n found errors (code %d); run: xfs_repair %s; it said: %s",
		ErrDamaged, device, code, device, out)
}

// replay mounts the file system where nobody sees it, and unmounts it again.
func replay(ctx context.Context, device, fstype string) error {
	dir, err := os.MkdirTemp("", "gemel-replay-")
	if err != nil {
		return fmt.Errorf("replay the journal: %w", err)
	}
	if err := Mount(ctx, Spec{Device: device, Path: dir, Type: fstype}); err != nil {
		return errors.Join(fmt.Errorf("replay the journal: %w", err), os.Remove(dir))
	}
	if err := Unmount(ctx, dir); err != nil {
		return fmt.Errorf("replay the journal: %w", err)
	}
	return os.Remove(dir)
}

// Signature returns the type of file system, partition table or other format
// that the device carries; empty when it carries none.
func Signature(ctx context.Context, device string) (string, error) {
	args := []string{"--probe", "--output", "value", "--match-tag", "TYPE", "--match-tag", "PTTYPE", device}
	code, out, err := run(ctx, "blkid", args...)
	switch {
	case err != nil:
		return "", fmt.Errorf("look for a signature on %s: %w", device, err)
	case code == 2 && out == "": // nothing found, or not readable: tell them apart
		return "", readable(ctx, device)
	case code == 0 && out != "":
		return strings.Join(strings.Fields(out), " "), nil
	case code == 8:
		return "several", nil
	}
	return "", fmt.Errorf("look for a signature on %s: blkid ended with code %d: %s", device, code, out)
}

// Format makes a file system. It refuses a device that carries any signature:
// nobody's data is overwritten by this package. With again the caller knows that
// what is there is an unfinished file system of its own.
func Format(ctx context.Context, device, fstype string, again bool) error {
	found, err := Signature(ctx, device)
	if err != nil {
		return err
	}
	if found != "" && !again {
		return fmt.Errorf("format %s: it carries %s; wipe it by hand if that is not needed any more", device, found)
	}
	code, out, err := run(ctx, "mkfs."+fstype, formatArgs(fstype, device, found != "")...)
	if err != nil {
		return fmt.Errorf("format %s: %w", device, err)
	}
	if code != 0 {
		return fmt.Errorf("format %s: mkfs.%s ended with code %d: %s", device, fstype, code, out)
	}
	return nil
}

// formatArgs tells mkfs not to discard the device first. A volume promises zeroes
// where it was discarded, so on a disk that knows no discard all of it would be
// written, on both nodes, before anything is mounted. With over it goes over a
// file system that is there.
func formatArgs(fstype, device string, over bool) []string {
	switch fstype {
	case "ext2", "ext3", "ext4":
		return []string{"-q", "-F", "-E", "nodiscard", device}
	case "xfs", "btrfs":
		if over {
			return []string{"-K", "-f", device}
		}
		return []string{"-K", device}
	}
	return []string{device}
}

// run runs a program to its end and returns its exit code and the end of what
// it said. If ctx ends it is killed; if it sits in the kernel even then,
// run returns without it.
func run(ctx context.Context, name string, args ...string) (int, string, error) {
	type result struct {
		out []byte
		err error
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = killWait
	done := make(chan result, 1)
	go func() {
		out, err := cmd.CombinedOutput()
		done <- result{out, err}
	}()
	select {
	case r := <-done:
		return exitCode(ctx, name, r.out, r.err)
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return exitCode(ctx, name, r.out, r.err)
	case <-time.After(killWait):
		return 0, "", fmt.Errorf("%s was killed and does not leave the kernel: %w", name, ErrStuck)
	}
}

func exitCode(ctx context.Context, name string, out []byte, err error) (int, string, error) {
	const most = 600
	text := strings.TrimSpace(string(out[max(0, len(out)-most):]))
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil && err != nil:
		return 0, text, fmt.Errorf("%s was killed: %w: %w; it said: %s", name, ErrStuck, ctx.Err(), text)
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), text, nil
	case err != nil:
		return 0, text, fmt.Errorf("run %s: %w", name, err)
	}
	return 0, text, nil
}
