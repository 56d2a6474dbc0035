package disk

import (
	"bytes"
	"os"
	"testing"

	"gemel/node/replicator/buffer"
)

func TestWriteThrough(t *testing.T) {
	d := open(t, file(t, 1<<20))
	for name, p := range map[string][]byte{
		"aligned memory":   buffer.Aligned(8192),
		"unaligned memory": buffer.Aligned(8192 + 4096)[1:8193],
	} {
		copy(p, bytes.Repeat([]byte(name), 500))
		if err := d.WriteThrough(p, 4096); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := buffer.Aligned(8192)
		if err := d.ReadAt(got, 4096); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: read back something else, %v", name, err)
		}
	}
	if err := d.WriteThrough(buffer.Aligned(8192), 1<<20-4096); err == nil {
		t.Error("a write beyond the end was taken")
	}
}

// BenchmarkStable compares the ways to have one block stable.
func BenchmarkStable(b *testing.B) {
	path := b.TempDir() + "/backing"
	fillFile(b, path, 16<<20)
	d, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	p := buffer.Aligned(4096)
	for name, write := range map[string]func(off int64) error{
		"through": func(off int64) error { return d.WriteThrough(p, off) },
		"write and sync": func(off int64) error {
			if err := d.WriteAt(p, off); err != nil {
				return err
			}
			return d.Sync()
		},
	} {
		b.Run(name, func(b *testing.B) {
			for i := range int64(b.N) {
				if err := write(i % 4096 * 4096); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func fillFile(b *testing.B, path string, size int) {
	b.Helper()
	if err := os.WriteFile(path, bytes.Repeat([]byte{1}, size), 0o600); err != nil {
		b.Fatal(err)
	}
}
