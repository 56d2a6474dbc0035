package handshake

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table into docs/states.md")

// TestDocs holds that docs/states.md draws the table as it is.
func TestDocs(t *testing.T) {
	const path, begin, end = "../../../docs/states.md", "<!-- handshake: begin -->\n", "<!-- handshake: end -->\n"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks for the table", path)
	}
	var b strings.Builder
	b.WriteString("| # | row | situation | verdict |\n|---|---|---|---|\n")
	for i, r := range Rows() {
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", i+1, r.Name, r.Situation, r.Verdict)
	}
	want := head + begin + b.String() + end + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(raw) {
		t.Errorf("%s is behind the code; run `go test ./node/replicator/handshake -run TestDocs -update`", path)
	}
}
