package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gemel/node/arbiter"
)

var record = arbiter.Record{Promised: 5, Accepted: arbiter.Accepted{Epoch: 4, Version: 2, Set: arbiter.Both}}

const golden = "gemel-witness 1 crc32c=b1dbddd9\n" +
	`{"cluster":"lab","records":{"data":{"promised":5,"accepted":{"epoch":4,"version":2,"set":3},"fresh":false}}}` + "\n"

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path, "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestBytesAreAsDocumented(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	f := open(t, path)
	if err := f.Save(map[string]arbiter.Record{"data": record}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != golden {
		t.Errorf("file is\n%q\nwant\n%q\nchange the version if the format is to change", got, golden)
	}
}

func TestRecordsSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	f := open(t, path)
	if !f.Get("data").Fresh {
		t.Error("an unknown volume is not fresh")
	}
	for _, name := range []string{"data", "home"} {
		if err := f.Save(map[string]arbiter.Record{name: record}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	if again.Get("data") != record || again.Get("home") != record || len(again.Volumes()) != 2 {
		t.Errorf("read back %v of %v", again.content, again.Volumes())
	}
}

func TestSecondWitnessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	open(t, path)
	if _, err := Open(path, "lab"); !errors.Is(err, ErrInUse) {
		t.Errorf("second open: %v, want ErrInUse", err)
	}
}

func TestDamageIsNeverTakenForNew(t *testing.T) {
	cases := []struct {
		name   string
		change func(string) string
		want   error
	}{
		{"empty", func(string) string { return "" }, ErrDamaged},
		{"cut off", func(s string) string { return s[:len(s)-9] }, ErrDamaged},
		{"header alone", func(s string) string { return s[:20] }, ErrDamaged},
		{"one bit", func(s string) string { return strings.Replace(s, `"version":2`, `"version":3`, 1) }, ErrDamaged},
		{"other checksum", func(s string) string { return strings.Replace(s, "crc32c=", "crc32c=1", 1) }, ErrDamaged},
		{"zeros", func(s string) string { return strings.Repeat("\x00", len(s)) }, ErrDamaged},
		{"trailing bytes", func(s string) string { return s + "\n" }, ErrDamaged},
		{"newer", func(s string) string { return strings.Replace(s, "witness 1", "witness 2", 1) }, ErrNewer},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "witness")
			if err := os.WriteFile(path, []byte(c.change(golden)), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(path, "lab"); !errors.Is(err, c.want) {
				t.Errorf("Open: %v, want %v", err, c.want)
			}
		})
	}
}

func TestOtherClustersFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, "other"); !errors.Is(err, ErrCluster) {
		t.Errorf("Open: %v, want ErrCluster", err)
	}
}

func TestHalfWrittenSuccessorIsIgnored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	f := open(t, path)
	if err := errors.Join(f.Save(map[string]arbiter.Record{"data": record}), f.Close(), os.WriteFile(path+".new", []byte("gem"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if got := open(t, path).Get("data"); got != record {
		t.Errorf("record is %v, want %v", got, record)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(golden))
	f.Add([]byte("gemel-witness 1 crc32c=\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := decode(data)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
				t.Errorf("refused without a name: %v", err)
			}
			return
		}
		for i := range data {
			bent := bytes.Clone(data)
			bent[i] ^= 1
			if _, err := decode(bent); err == nil {
				t.Fatalf("taken with bit 0 of byte %d flipped: %q", i, bent)
			}
		}
	})
}
