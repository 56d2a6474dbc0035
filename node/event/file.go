package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// FileName is what an agent calls its event file, in its state directory.
const FileName = "events.jsonl"

// File keeps events as JSON lines. When it grows over its limit it becomes
// NAME.1, and a new one is begun; one old file is kept. It is not safe for use
// by several goroutines; History guards it.
type File struct {
	path  string
	limit int64    // bytes
	f     *os.File // nil: could not be opened again after a rotation
	size  int64
	torn  bool // the last line may lack its end
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
	f.f, f.size, f.torn = file, info.Size(), info.Size() > 0 && !endsLine(f.path, info.Size())
	return nil
}

// endsLine reports whether the file's last byte ends a line; a power failure or a
// full disk leaves half of one.
func endsLine(path string, size int64) bool {
	file, err := os.Open(path) //nolint:gosec // the path is the caller's configuration
	if err != nil {
		return false
	}
	last := make([]byte, 1)
	_, err = file.ReadAt(last, size-1)
	return errors.Join(err, file.Close()) == nil && last[0] == '\n'
}

// Append writes e. The line is not fsynced: a history is worth less than a stall.
// After an error the next call tries anew.
func (f *File) Append(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	line = append(line, '\n')
	if f.torn {
		line = append([]byte{'\n'}, line...)
	}
	if err := f.makeRoom(int64(len(line))); err != nil {
		return err
	}
	n, err := f.f.Write(line)
	f.size += int64(n)
	f.torn = n > 0 && n < len(line) || n == 0 && f.torn
	if err != nil {
		return fmt.Errorf("write event to %s: %w", f.path, err)
	}
	return nil
}

// makeRoom opens the file where it is not open, and rotates it when n more bytes
// would be too many.
func (f *File) makeRoom(n int64) error {
	if f.f == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size == 0 || f.size+n <= f.limit {
		return nil
	}
	if err := os.Rename(f.path, f.path+".1"); err != nil {
		return fmt.Errorf("rotate event file: %w", err)
	}
	old := f.f
	f.f = nil
	return errors.Join(f.open(), old.Close())
}

// Close closes the file.
func (f *File) Close() error {
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}

// ReadFile returns the newest n events of the file at path and of its
// predecessor, oldest first. Lines that are broken (the power went) are left out.
func ReadFile(path string, n int) ([]Event, error) {
	all, err := ReadSince(path, time.Time{})
	return all[max(0, len(all)-n):], err
}

// ReadSince is ReadFile for all events from a time on. A file that is rotated
// meanwhile may be read in part only.
func ReadSince(path string, from time.Time) ([]Event, error) {
	var all []Event
	for _, name := range []string{path + ".1", path} {
		raw, err := os.ReadFile(name) //nolint:gosec // the path is the caller's configuration
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read event file: %w", err)
		}
		all = append(all, parse(raw, from)...)
	}
	return all, nil
}

func parse(raw []byte, from time.Time) []Event {
	var out []Event
	for line := range bytes.Lines(raw) {
		var e Event
		if json.Unmarshal(line, &e) == nil && e.Kind != "" && !e.Time.Before(from) {
			out = append(out, e)
		}
	}
	return out
}
