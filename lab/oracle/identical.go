package oracle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	compareChunk = 1 << 20
	// A write of the file system's own (a journal commit) may be under way on one
	// side while the other is read: such a block is the same a moment later.
	compareTries = 5
	compareAgain = 500 * time.Millisecond
)

// Difference is a block of the two backing disks that is not the same.
type Difference struct {
	Offset int64 // of its first byte from the start of the volume
}

// Identical compares the backing disks, read from the platter, over the volume's
// size; the metadata behind it differs by nature. Stop the load and wait for both
// sides to be in sync first.
func (o *Oracle) Identical(ctx context.Context) error {
	primary, err := o.Primary(ctx)
	if err != nil {
		return err
	}
	node, err := o.Node(ctx, primary)
	if err != nil {
		return err
	}
	if node.Vol.Size <= 0 {
		return fmt.Errorf("compare the disks: %s says the volume has %d bytes", primary, node.Vol.Size)
	}
	if _, err := o.exec(ctx, primary, "sync", "-f", node.Vol.Mount); err != nil {
		return err
	}
	var different []Difference
	for range compareTries {
		if different, err = o.compare(node.Vol.Size); err != nil || len(different) == 0 {
			return err
		}
		select {
		case <-time.After(compareAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%w: replicas differ in %d places of 4 KiB, the first at byte %d of %d",
		ErrBroken, len(different), different[0].Offset, node.Vol.Size)
}

func (o *Oracle) compare(size int64) ([]Difference, error) {
	var disks []*os.File
	defer func() {
		for _, disk := range disks {
			_ = disk.Close()
		}
	}()
	for _, name := range Servers {
		disk, err := o.lab.Disk(name)
		if err != nil {
			return nil, err
		}
		file, err := os.OpenFile(disk.Loop, os.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("compare the disks: %w", err)
		}
		disks = append(disks, file)
	}
	return Compare(disks[0], disks[1], size)
}

// Compare returns the 4 KiB blocks in which two disks differ, of their first size bytes.
func Compare(a, b io.ReaderAt, size int64) ([]Difference, error) {
	bufA, err := alignedBuffer()
	if err != nil {
		return nil, err
	}
	bufB, err := alignedBuffer()
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(bufA))
	}
	found, err := compareBuffered(a, b, size, bufA, bufB)
	return found, errors.Join(err, unix.Munmap(bufA), unix.Munmap(bufB))
}

func compareBuffered(a, b io.ReaderAt, size int64, bufA, bufB []byte) ([]Difference, error) {
	var found []Difference
	for at := int64(0); at < size; at += compareChunk {
		n := min(compareChunk, size-at)
		if _, err := a.ReadAt(bufA[:n], at); err != nil {
			return nil, fmt.Errorf("read %d bytes at %d of the first disk: %w", n, at, err)
		}
		if _, err := b.ReadAt(bufB[:n], at); err != nil {
			return nil, fmt.Errorf("read %d bytes at %d of the second disk: %w", n, at, err)
		}
		if bytes.Equal(bufA[:n], bufB[:n]) {
			continue
		}
		for off := int64(0); off < n; off += 4096 {
			end := min(off+4096, n)
			if !bytes.Equal(bufA[off:end], bufB[off:end]) {
				found = append(found, Difference{Offset: at + off})
			}
		}
	}
	return found, nil
}

// alignedBuffer returns memory that direct reads accept: whole pages.
func alignedBuffer() ([]byte, error) {
	buffer, err := unix.Mmap(-1, 0, compareChunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("buffer to compare with: %w", err)
	}
	return buffer, nil
}
