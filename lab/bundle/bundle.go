// Package bundle puts all that tells why a lab is as it is into one directory: logs,
// histories merged on one timeline, statuses, configurations, versions, and the command
// that makes the same trouble again. Private keys and passwords stay out.
//
// It looks and copies; it judges nothing and heals nothing.
package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gemel/lab/cluster"
)

// Options say what the bundle is about. All of them may be empty.
type Options struct {
	Why   string // what went wrong
	Seed  string // of the run
	Rerun string // command that does the same again
	Trace []string
}

// askLimit bounds one question to one box: it may hang, and that is worth a bundle.
const askLimit = 10 * time.Second

// questions are asked in every box that is on; the name of each is the file of its answer.
var questions = map[string][]string{
	"status.txt":  {"gemel", "status"},
	"status.json": {"gemel", "status", "--json"},
	"box.txt":     {"sh", "-c", "ps -ef; echo; ip -s address; echo; ip route; ip neighbour; echo; cat /proc/mounts; echo; free -m"},
	"version.txt": {"gemel", "version"},
}

// Collect writes a bundle into dir, which is made. What cannot be had is noted in
// missing.txt: half of the findings are better than none.
func Collect(ctx context.Context, lab *cluster.Cluster, dir string, options Options) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	b := &collector{lab: lab, dir: dir}
	b.note("readme.txt", b.write("readme.txt", []byte(readme(lab.Lab(), options))))
	b.timeline()
	b.labItself(ctx)
	for _, box := range lab.Boxes() {
		b.box(ctx, box)
	}
	if len(b.missing) > 0 {
		return b.write("missing.txt", []byte(strings.Join(b.missing, "\n")+"\n"))
	}
	return nil
}

type collector struct {
	lab     *cluster.Cluster
	dir     string
	missing []string
}

func (b *collector) note(what string, err error) {
	if err != nil {
		b.missing = append(b.missing, what+": "+err.Error())
	}
}

func (b *collector) write(name string, data []byte) error {
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

func readme(lab string, o Options) string {
	var text strings.Builder
	say := func(what, words string) {
		if words != "" {
			fmt.Fprintf(&text, "%-8s %s\n", what, words)
		}
	}
	var host unix.Utsname
	_ = unix.Uname(&host) // of ourselves; it has no way to fail
	say("lab", lab)
	say("made", time.Now().UTC().Format(time.RFC3339))
	say("why", o.Why)
	say("seed", o.Seed)
	say("again", o.Rerun)
	say("kernel", unix.ByteSliceToString(host.Release[:]))
	say("cpus", fmt.Sprint(runtime.NumCPU()))
	say("go", runtime.Version())
	text.WriteString(`
timeline.txt      what was done to the lab and what each box decided, in one order
timeline.jsonl    the same, for programs
lab.txt           power, cables and disks as seen from outside
<box>/log         logs, over resets
<box>/status.txt  what the box says of the cluster
missing.txt       what could not be had, if anything
`)
	if len(o.Trace) > 0 {
		text.WriteString("\nWhat was done, to be pasted:\n\n" + strings.Join(o.Trace, "\n") + "\n")
	}
	return text.String()
}

func (b *collector) timeline() {
	events, err := Merge(cluster.Histories(b.lab.Lab()))
	b.note("timeline", err)
	var people, programs strings.Builder
	encoder := json.NewEncoder(&programs)
	for _, e := range events {
		err = errors.Join(err, encoder.Encode(e))
	}
	b.note("timeline", errors.Join(err, WriteTimeline(&people, events),
		b.write("timeline.txt", []byte(people.String())), b.write("timeline.jsonl", []byte(programs.String()))))
}

func (b *collector) labItself(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	status, err := b.lab.Status(ctx)
	if err == nil {
		var data []byte
		data, err = json.MarshalIndent(status, "", "  ")
		err = errors.Join(err, b.write("lab.json", append(data, '\n')))
	}
	b.note("state of the lab", err)
	logs, err := filepath.Glob(filepath.Join(cluster.Dir(b.lab.Lab()), "*.log"))
	b.note("logs of attendants", err)
	for _, log := range logs {
		b.copyFile(log, filepath.Join("attendants", filepath.Base(log)))
	}
}

func (b *collector) copyFile(from, to string) {
	data, err := os.ReadFile(from)
	if err == nil {
		err = b.write(to, data)
	}
	b.note(to, err)
}

func (b *collector) box(ctx context.Context, box cluster.Box) {
	home := filepath.Dir(b.lab.LogDir(box.Name))
	for _, part := range []string{"log", "etc", "state"} {
		b.copyTree(filepath.Join(home, part), filepath.Join(box.Name, part))
	}
	for name, question := range questions {
		if box.Role == cluster.Client && question[0] == "gemel" {
			continue
		}
		path := filepath.Join(box.Name, name)
		answer, err := b.ask(ctx, box.Name, question)
		b.note(path, err)
		if err == nil {
			b.note(path, b.write(path, answer))
		}
	}
}

func (b *collector) ask(ctx context.Context, box string, question []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	said, err := b.lab.Exec(ctx, box, question...)
	return []byte(said.Stdout + said.Stderr), err
}

// copyTree copies the regular files of a directory that are nobody's secret.
func (b *collector) copyTree(from, to string) {
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || secret(path) {
			return err
		}
		inside, err := filepath.Rel(from, path)
		if err == nil {
			b.copyFile(path, filepath.Join(to, inside))
		}
		return err
	})
	b.note(to, err)
}

// secret says whether a file is one that only its box may have.
func secret(path string) bool {
	name := filepath.Base(path)
	return strings.Contains(name, "key") || strings.Contains(name, "password") || strings.Contains(name, "token")
}
