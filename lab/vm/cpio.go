package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gemel/lab/vm/plan"
)

// archive writes the kernel's own format of a first file system ("newc" cpio).
type archive struct {
	w   *bufio.Writer
	ino int
	err error
}

// pack makes the first file system: the first process, modules, tests, plan.
func pack(to, dir, machine string, p *plan.Plan) (err error) {
	file, err := os.Create(to) //nolint:gosec // in the run's own directory
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if p.Modules, err = moduleOrder(machine); err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	a := &archive{w: bufio.NewWriter(file)}
	a.add("dev", fs.ModeDir|0o755, nil)
	a.device("dev/console", 5, 1)
	a.add(strings.TrimPrefix(plan.File, "/"), 0o644, text)
	a.file("init", filepath.Join(dir, "init"))
	a.tree(strings.TrimPrefix(plan.Modules, "/"), filepath.Join(machine, "modules"))
	a.tree(strings.TrimPrefix(plan.Tests, "/"), filepath.Join(dir, "tests"))
	return a.close()
}

// moduleOrder reads the list from which the machine's modules were taken.
func moduleOrder(machine string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join("lab", "vm", "modules"))
	if err != nil {
		return nil, fmt.Errorf("which modules (run this from the top of the tree): %w", err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if name := strings.TrimSpace(line); name != "" {
			names = append(names, name+".ko.xz")
			if _, err := os.Stat(filepath.Join(machine, "modules", name+".ko.xz")); err != nil {
				return nil, fmt.Errorf("the machine was made without it: %w", err)
			}
		}
	}
	return names, nil
}

func (a *archive) tree(name, from string) {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		at := filepath.Join(name, rel)
		if d.IsDir() {
			a.add(at, fs.ModeDir|0o755, nil)
		} else {
			a.file(at, path)
		}
		return a.err
	})
	a.err = errors.Join(a.err, err)
}

func (a *archive) file(name, from string) {
	data, err := os.ReadFile(from) //nolint:gosec // what was just built
	if err != nil {
		a.err = errors.Join(a.err, err)
		return
	}
	a.add(name, 0o755, data)
}

// Types of a file in a cpio header.
const (
	cpioDirectory = 0o040000
	cpioRegular   = 0o100000
	cpioCharacter = 0o020000
)

func (a *archive) add(name string, mode fs.FileMode, data []byte) {
	kind := cpioRegular
	if mode.IsDir() {
		kind = cpioDirectory
	}
	a.entry(name, kind|int(mode.Perm()), 0, 0, data)
}

func (a *archive) device(name string, major, minor int) {
	a.entry(name, cpioCharacter|0o600, major, minor, nil)
}

// entry writes a header of 13 fields of 8 hexadecimal digits, the name and the
// data, each padded to 4 bytes.
func (a *archive) entry(name string, mode, major, minor int, data []byte) {
	if a.err != nil {
		return
	}
	a.ino++
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	a.padded([]byte(head))
	a.padded(data)
}

func (a *archive) padded(p []byte) {
	_, err := a.w.Write(p)
	if err == nil {
		_, err = a.w.Write(make([]byte, (4-len(p)%4)%4))
	}
	a.err = errors.Join(a.err, err)
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	return errors.Join(a.err, a.w.Flush())
}
