package disk

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	put := func(path, text string) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("lv/dm/uuid", "LVM-abc")
	put("nvme0n1/wwid", "eui.01")
	put("sda/device/wwid", "naa.5")
	put("sda/sda2/partition", "2")
	put("sda/sda2/start", "2048")
	put("loop0/size", "1")
	for path, want := range map[string]string{"lv": "dm LVM-abc", "nvme0n1": "disk eui.01", "sda": "disk naa.5",
		"sda/sda2": "disk naa.5 partition 2 at 2048", "loop0": ""} {
		if got := identity(filepath.Join(dir, path)); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}
