package undo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/block"
)

// ErrNoRoom means that the directory's file system could not hold the blocks.
var ErrNoRoom = errors.New("no room for the undo file")

// Suffix is how the name of a whole undo file ends.
const Suffix = ".undo"

const partial = ".partial"

// Source is where the blocks are read from.
type Source interface {
	ReadAt(p []byte, off int64) error
}

// Keep writes the runs of src into a new file in dir and returns its path once
// every byte is on stable storage. buf is what it reads through: aligned as src
// wants it, a multiple of block.Size long. It leaves nothing behind when it
// fails. ctx ends it between two reads.
func Keep(ctx context.Context, dir string, h Header, runs []block.Range, src Source, buf []byte) (path string, err error) {
	h.Marked = 0
	for _, r := range runs {
		h.Marked += r.Len
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("undo directory: %w", err)
	}
	if err := room(dir, h.Marked); err != nil {
		return "", err
	}
	path = filepath.Join(dir, name(&h))
	f, err := os.OpenFile(path+partial, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("undo file: %w", err)
	}
	err = Write(ctx, f, h, runs, src, buf)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+partial, path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		_ = os.Remove(path + partial)
		return "", fmt.Errorf("undo file %s: %w", path, err)
	}
	return path, nil
}

func name(h *Header) string {
	at := time.Unix(0, h.Time).UTC().Format("20060102T150405Z")
	return fmt.Sprintf("%s-%s-%x%s", h.Volume, at, h.Replica[:4], Suffix)
}

// Write writes the runs of src to f as a file's bytes. Header.Marked must be their
// sum; buf is as for Keep.
func Write(ctx context.Context, f io.Writer, h Header, runs []block.Range, src Source, buf []byte) error {
	buf = buf[:min(len(buf), chunk)]
	out := bufio.NewWriterSize(f, 256<<10)
	if _, err := out.Write(h.encode()); err != nil {
		return err
	}
	w := &writer{w: out}
	for _, r := range runs {
		for off := r.Off; off < r.End(); off += int64(len(buf)) {
			if err := ctx.Err(); err != nil {
				return err
			}
			part := buf[:min(int64(len(buf)), r.End()-off)]
			if err := src.ReadAt(part, off); err != nil {
				return err
			}
			if err := w.put(part, off); err != nil {
				return err
			}
		}
	}
	if err := w.end(); err != nil {
		return err
	}
	return out.Flush()
}

// room refuses what would fill the file system: blocks, their records, and a
// little that the system keeps for itself.
func room(dir string, marked int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("undo directory %s: %w", dir, err)
	}
	need := marked + marked/128 + 1<<20
	if free := int64(s.Bavail) * s.Bsize; free < need { //nolint:gosec // no file system is that large
		return fmt.Errorf("%w: %d bytes are to be kept, %s has %d bytes free; make room there, set undo-dir to another "+
			"file system, or give the changes up for good with `gemel resolve --no-undo`", ErrNoRoom, marked, dir, free)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Entry is one file of a directory.
type Entry struct {
	Path   string
	Bytes  int64 // of the file
	Header Header
	Err    error // why it cannot be read
}

// List returns the whole undo files of dir, oldest first. A directory that does
// not exist has none.
func List(dir string) ([]Entry, error) {
	found, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("undo directory: %w", err)
	}
	var out []Entry
	for _, f := range found {
		if !strings.HasSuffix(f.Name(), Suffix) {
			continue
		}
		e := Entry{Path: filepath.Join(dir, f.Name())}
		if info, err := f.Info(); err == nil {
			e.Bytes = info.Size()
		}
		e.Header, e.Err = ReadHeader(e.Path)
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Header.Time < out[j].Header.Time })
	return out, nil
}

// ReadHeader reads only the header of the file at path.
func ReadHeader(path string) (Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return Header{}, err
	}
	defer f.Close()
	stop := errors.New("enough")
	h, err := Read(f, func(block.Range, []byte) error { return stop })
	if errors.Is(err, stop) {
		err = nil
	}
	return h, err
}
