package scenarios

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"gemel/lab/bundle"
	"gemel/lab/oracle"
)

// statuses is what both servers and the witness say of themselves, for a failure's text.
func (p *pair) statuses() string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var text strings.Builder
	names := oracle.Servers
	if p.arbiter == "" {
		names = append([]string{"witness"}, names...)
	}
	for _, name := range names {
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

// focusLength is enough of a scenario's text to tell it from the others.
const focusLength = 60

// focusOn is a pattern for the beginning of a text, which a shell leaves as it is.
func focusOn(text string) string {
	pattern := regexp.QuoteMeta(text[:min(len(text), focusLength)])
	return strings.ReplaceAll(pattern, "'", ".")
}

func (p *pair) collectInto(ctx context.Context, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	report := CurrentSpecReport()
	rerun := fmt.Sprintf("make scenarios FOCUS='%s'", focusOn(report.LeafNodeText))
	return bundle.Collect(ctx, p.lab, dir, bundle.Options{
		Why: report.FailureMessage(), Rerun: rerun, Seed: fmt.Sprint(GinkgoRandomSeed()),
	})
}

// run runs a command on this host and returns what it said.
func run(ctx context.Context, name string, args ...string) (string, error) {
	said, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(said), err
}
