package proof

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// Fio is a run of fio that writes requests of random sizes in random order, by
// several jobs, each block with its CRC32C, and reads all of them back.
type Fio struct {
	Path, Name string // as for Open
	Off, Size  int64  // bytes of the device
	Jobs       int    // at least 1; each has its share
	Seed       int
}

// Write writes and verifies.
func (f Fio) Write(ctx context.Context) error { return f.run(ctx) }

// Verify only reads what an earlier Write with the same fields left.
func (f Fio) Verify(ctx context.Context) error { return f.run(ctx, "--verify_only=1") }

func (f Fio) run(ctx context.Context, more ...string) error {
	share := f.Size / int64(f.Jobs)
	number := func(name string, n int64) string { return "--" + name + "=" + strconv.FormatInt(n, 10) }
	args := append([]string{"--name=proof", "--rw=randwrite", "--bsrange=4k-128k", "--iodepth=8",
		"--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--minimal", "--randrepeat=1", "--verify_state_save=0",
		number("randseed", int64(f.Seed)), number("numjobs", int64(f.Jobs)), number("offset", f.Off),
		number("offset_increment", share), number("size", share)}, more...)
	info, err := os.Stat(f.Path)
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket != 0 {
		args = append(args, "--thread=1", "--ioengine=nbd", "--uri=nbd+unix:///"+f.Name+"?socket="+f.Path)
	} else {
		args = append(args, "--direct=1", "--ioengine=libaio", "--filename="+f.Path)
	}
	if out, err := exec.CommandContext(ctx, "fio", args...).CombinedOutput(); err != nil { //nolint:gosec // a test's own words
		return fmt.Errorf("fio %v: %w\n%s", args, err, out)
	}
	return nil
}
