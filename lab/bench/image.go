package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeImages makes files of size bytes that are allocated and written: a block
// that was never written costs the host's file system extra, or nothing at all.
func (r *room) makeImages(size int64, names ...string) ([]string, error) {
	var paths []string
	for i, name := range names {
		path := filepath.Join(r.dir, name)
		r.later(func() error { return os.RemoveAll(path) })
		if err := makeImage(path, size, byte(i)); err != nil {
			return nil, fmt.Errorf("make image %s: %w", path, err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func makeImage(path string, size int64, seed byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if err := unix.Fallocate(int(file.Fd()), 0, 0, size); err != nil {
		return fmt.Errorf("allocate %d bytes: %w", size, err)
	}
	const chunk = 4 << 20
	noise := make([]byte, chunk)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(noise)
	for at := int64(0); at < size; at += chunk {
		if _, err := file.WriteAt(noise[:min(chunk, size-at)], at); err != nil {
			return err
		}
	}
	if err := file.Sync(); err != nil {
		return err
	}
	// Out of the page cache, or direct I/O would have to push it out while it is measured.
	return unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
}
