package fuseloop

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
)

// rows are the rows of the design's table of frontends.
var rows = []struct {
	name string
	args []string
}{
	{"write-4k-qd1", []string{"--rw=write", "--bs=4k", "--iodepth=1"}},
	{"randwrite-4k-qd32", []string{"--rw=randwrite", "--bs=4k", "--iodepth=32"}},
	{"write-1M-qd8", []string{"--rw=write", "--bs=1M", "--iodepth=8"}},
	{"write-4k-fsync", []string{"--rw=write", "--bs=4k", "--iodepth=1", "--fdatasync=1"}},
	{"read-1M-qd8", []string{"--rw=read", "--bs=1M", "--iodepth=8"}},
}

// BenchmarkFio runs fio for two seconds per row on a device that does nothing
// and on one that is a local file; run it with -benchtime 1x.
func BenchmarkFio(b *testing.B) {
	needHost(b)
	if _, err := exec.LookPath("fio"); err != nil {
		b.Skip("needs fio (package fio)")
	}
	for name, dev := range map[string]block.Device{"null": null{}, "file": newLocal(b)} {
		a, err := Attach(context.Background(), frontend.Options{Name: "bench", Dir: b.TempDir()}, dev)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range rows {
			b.Run(name+"/"+r.name, func(b *testing.B) { runFio(b, a.Path(), r.args) })
		}
		if err := a.Detach(context.Background(), true); err != nil {
			b.Error(err)
		}
	}
}

func runFio(b *testing.B, path string, args []string) {
	args = append([]string{"--name=row", "--filename=" + path, "--direct=1", "--ioengine=libaio",
		"--size=512m", "--time_based", "--runtime=2", "--output-format=json"}, args...)
	for range b.N {
		out, err := exec.CommandContext(b.Context(), "fio", args...).Output()
		if err != nil {
			b.Fatalf("fio: %v", err)
		}
		var report struct {
			Jobs []struct {
				Read, Write struct {
					IOPS float64 `json:"iops"`
					BW   float64 `json:"bw_bytes"`
				}
			}
		}
		if err := json.Unmarshal(out, &report); err != nil || len(report.Jobs) == 0 {
			b.Fatalf("fio's report: %v", err)
		}
		j := report.Jobs[0]
		b.ReportMetric(j.Read.IOPS+j.Write.IOPS, "IOPS")
		b.ReportMetric((j.Read.BW+j.Write.BW)/1e6, "MB/s")
		b.ReportMetric(0, "ns/op")
	}
}

type null struct{}

func (null) SizeBytes() int64                  { return 1 << 30 }
func (null) ReadAt([]byte, int64) error        { return nil }
func (null) WriteAt([]byte, int64, bool) error { return nil }
func (null) Flush() error                      { return nil }

// local is a device on a file opened with O_DIRECT.
type local struct{ fd int }

func newLocal(b *testing.B) local {
	path := filepath.Join(b.TempDir(), "backing")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Skipf("needs a file system with O_DIRECT under %s: %v", path, err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	if err := unix.Fallocate(fd, 0, 0, 1<<30); err != nil {
		b.Fatal(err)
	}
	return local{fd}
}

func (local) SizeBytes() int64 { return 1 << 30 }

func (l local) ReadAt(p []byte, off int64) error { _, err := unix.Pread(l.fd, p, off); return err }

func (l local) WriteAt(p []byte, off int64, _ bool) error {
	_, err := unix.Pwrite(l.fd, p, off)
	return err
}

func (l local) Flush() error { return unix.Fdatasync(l.fd) }
