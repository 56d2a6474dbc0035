package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"gemel/lab/cluster"
	"gemel/lab/oracle"
)

// statuses is what both servers and the witness say of themselves, for a failure's text.
func (p *pair) statuses() string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var text strings.Builder
	for _, name := range append([]string{"witness"}, oracle.Servers...) {
		said, err := p.lab.Exec(ctx, name, "gemel", "status")
		if err != nil {
			fmt.Fprintf(&text, "--- %s: %v\n", name, err)
			continue
		}
		fmt.Fprintf(&text, "--- %s:\n%s%s\n", name, said.Stdout, said.Stderr)
	}
	return text.String()
}

var unfitForName = regexp.MustCompile(`[^a-z0-9]+`)

// collect keeps, once per scenario, what tells why it failed: the boxes' own words,
// their logs and their histories.
func (p *pair) collect(ctx context.Context) {
	if p.collected != "" {
		return
	}
	name := strings.Trim(unfitForName.ReplaceAllString(strings.ToLower(CurrentSpecReport().FullText()), "-"), "-")
	p.collected = filepath.Join("..", "reports", name)
	if err := p.collectInto(ctx, p.collected); err != nil {
		fmt.Fprintf(GinkgoWriter, "findings are not complete: %v\n", err)
	}
	fmt.Fprintf(GinkgoWriter, "findings: reports/%s\n", name)
}

func (p *pair) collectInto(ctx context.Context, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "status.txt"), []byte(p.statuses()), 0o644); err != nil {
		return err
	}
	for _, box := range cluster.Boxes() {
		for kind, from := range map[string]string{"log": p.lab.LogDir(box.Name), "state": filepath.Join(p.lab.LogDir(box.Name), "..", "state")} {
			if err := os.CopyFS(filepath.Join(dir, box.Name, kind), os.DirFS(from)); err != nil {
				return err
			}
		}
		said, err := p.lab.Exec(ctx, box.Name, "sh", "-c", "ps -ef; ip -br address; cat /proc/mounts")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, box.Name, "box.txt"), []byte(said.Stdout), 0o644)
		}
		if err != nil {
			fmt.Fprintf(GinkgoWriter, "look into %s: %v\n", box.Name, err)
		}
	}
	return nil
}
