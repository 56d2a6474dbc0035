package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gemel/node/replicator/disk"
	"gemel/node/replicator/meta"
)

func TestDumpMetadata(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, meta.MinDevice); err != nil {
		t.Fatal(err)
	}
	dump := func(args ...string) (string, error) {
		var out strings.Builder
		a := &app{Program: Program{Out: &out}}
		c := a.dumpCommand()
		c.SetArgs(append(args, "--device", path))
		c.SilenceUsage, c.SilenceErrors = true, true
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
	if text, err := dump(); err == nil || !strings.Contains(text, "volume create") {
		t.Errorf("an empty device: %v\n%s", err, text)
	}
	d, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() // and held by somebody, as by a replicator
	if _, err := meta.Create(d, meta.Params{Cluster: "lab", Volume: "data"}, false); err != nil {
		t.Fatal(err)
	}
	if text, err := dump(); err != nil || !strings.Contains(text, "volume data") {
		t.Errorf("%v\n%s", err, text)
	}
	text, err := dump("--json")
	var got meta.Dump
	if err != nil || json.Unmarshal([]byte(text), &got) != nil || got.Slots[1].Volume != "data" {
		t.Errorf("%v\n%s", err, text)
	}
	if _, err := dump("data"); err == nil {
		t.Error("a name and a device at once were taken")
	}
}
