package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"gemel/lab/vm/plan"
)

// build makes the machine's first process and the test programs, statically
// linked, below dir.
func build(ctx context.Context, dir string, chosen []suite, tests string) (*plan.Plan, error) {
	if err := goTool(ctx, "build", "-o", filepath.Join(dir, "init"), "gemel/lab/vm/init"); err != nil {
		return nil, err
	}
	p := &plan.Plan{}
	for _, s := range chosen {
		program := filepath.Join(dir, "tests", s.name, "test")
		if err := goTool(ctx, "test", "-c", "-o", program, s.path); err != nil {
			return nil, err
		}
		if err := takeData(ctx, s, filepath.Dir(program)); err != nil {
			return nil, err
		}
		args := append([]string{"test", "-test.v", "-test.count=1", "-test.timeout=" + s.limit.String()}, s.args...)
		if tests != "" {
			args = append(args, "-test.run="+tests)
		}
		p.Runs = append(p.Runs, plan.Run{Suite: s.name, Args: args, Limit: s.limit})
	}
	return p, nil
}

// takeData copies what the package's tests read beside them.
func takeData(ctx context.Context, s suite, into string) error {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", s.path).Output()
	if err != nil {
		return fmt.Errorf("find the package %s: %w", s.path, err)
	}
	from := filepath.Join(strings.TrimSpace(string(out)), "testdata")
	if _, err := os.Stat(from); err != nil {
		return nil //nolint:nilerr // most have none
	}
	return os.CopyFS(filepath.Join(into, "testdata"), os.DirFS(from))
}

func goTool(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
