package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTimelineIsMergedAndForgiving(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	events, err := Merge(map[string]string{
		"server1": write("a", `{"time":"2026-01-01T00:00:03Z","node":"server1","kind":"serving","text":"It serves.","reason":"it was elected."}`+"\n"+`{"time":"2026-01-0`),
		"lab":     write("b", `{"time":"2026-01-01T00:00:01.5Z","node":"lab","kind":"lab.power-cut","text":"Power is cut."}`+"\nno event\n{}\n"),
		"witness": filepath.Join(dir, "missing"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := WriteTimeline(&text, events); err != nil {
		t.Fatal(err)
	}
	want := "00:00:01.500           lab      lab.power-cut            Power is cut.\n" +
		"00:00:03.000   +1.500  server1  serving                  It serves. (it was elected)\n"
	if text.String() != want {
		t.Errorf("timeline is\n%swant\n%s", text.String(), want)
	}
}

func TestSecretsStayOut(t *testing.T) {
	from := t.TempDir()
	for _, name := range []string{"gemel.yaml", "keys/key.pem", "keys/ca.pem", "keys/cert.pem", "bmc/password", "bmc/server1.key", "bmc/server1.pem"} {
		path := filepath.Join(from, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	b := &collector{dir: t.TempDir()}
	b.copyTree(from, "etc")
	var got []string
	err := filepath.WalkDir(b.dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			inside, _ := filepath.Rel(b.dir, path)
			got = append(got, inside)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "etc/bmc/server1.pem etc/gemel.yaml etc/keys/ca.pem etc/keys/cert.pem"
	if strings.Join(got, " ") != want || len(b.missing) != 0 {
		t.Errorf("copied %q, want %q; missing %q", got, want, b.missing)
	}
}

func TestReadmeTellsHowToDoItAgain(t *testing.T) {
	text := readme("soak", Options{Why: "a record is missing", Seed: "7", Rerun: "lab walk --seed 7", Trace: []string{"lab heal --lab soak"}})
	for _, want := range []string{"a record is missing", "lab walk --seed 7", "lab heal --lab soak", "kernel"} {
		if !strings.Contains(text, want) {
			t.Errorf("the readme does not say %q:\n%s", want, text)
		}
	}
}
