package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// File keeps events as JSON lines. When it grows over its limit it becomes
// NAME.1, and a new one is begun; one old file is kept. It is not safe for use
// by several goroutines; History guards it.
type File struct {
	path  string
	limit int64 // bytes
	f     *os.File
	size  int64
}

// OpenFile opens or makes the file; limit is its size in bytes before it is rotated.
func OpenFile(path string, limit int64) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("open event file: %w", err)
	}
	out := &File{path: path, limit: limit}
	if err := out.open(); err != nil {
		return nil, err
	}
	return out, nil
}

func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640) //nolint:gosec // group may read the history
	if err != nil {
		return fmt.Errorf("open event file: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open event file: %w", err), file.Close())
	}
	f.f, f.size = file, info.Size()
	return nil
}

// Append writes e. The line is not fsynced: a history is worth less than a stall.
func (f *File) Append(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	line = append(line, '\n')
	if f.size > 0 && f.size+int64(len(line)) > f.limit {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	n, err := f.f.Write(line)
	f.size += int64(n)
	if err != nil {
		return fmt.Errorf("write event to %s: %w", f.path, err)
	}
	return nil
}

func (f *File) rotate() error {
	if err := os.Rename(f.path, f.path+".1"); err != nil {
		return fmt.Errorf("rotate event file: %w", err)
	}
	if err := f.f.Close(); err != nil {
		return fmt.Errorf("rotate event file: %w", err)
	}
	return f.open()
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// ReadFile returns the newest n events of the file at path and of its
// predecessor, oldest first. Lines that are broken (the power went) are left out.
func ReadFile(path string, n int) ([]Event, error) {
	var all []Event
	for _, name := range []string{path + ".1", path} {
		raw, err := os.ReadFile(name) //nolint:gosec // the path is the caller's configuration
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read event file: %w", err)
		}
		all = append(all, parse(raw)...)
	}
	return all[max(0, len(all)-n):], nil
}

func parse(raw []byte) []Event {
	var out []Event
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Kind != "" {
			out = append(out, e)
		}
	}
	return out
}
