package proof

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
)

// mostFile is the largest file of a Tree in bytes.
const mostFile = 96 << 10

// Tree writes files below a directory and remembers which of them were made
// stable: content and name by fsync. Some it renames or removes, as programs do.
type Tree struct {
	dir string

	mu     sync.Mutex
	stable map[string]int // name, size
}

// NewTree returns a tree below dir, which exists.
func NewTree(dir string) *Tree {
	return &Tree{dir: dir, stable: map[string]int{}}
}

// Stable returns how many files were made stable.
func (t *Tree) Stable() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.stable)
}

// Write makes files, as one of several writers, until stop is closed or something
// fails, and returns the failure.
func (t *Tree) Write(writer int, stop <-chan struct{}) error {
	dir := filepath.Join(t.dir, fmt.Sprint("writer", writer))
	if err := errors.Join(os.Mkdir(dir, 0o755), syncPath(t.dir)); err != nil { //nolint:gosec // a test's own directory
		return err
	}
	chance := rand.New(rand.NewPCG(uint64(writer), 5)) //nolint:gosec // a small number, and no secret
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		name := filepath.Join(filepath.Base(dir), fmt.Sprint("file", n))
		if err := t.one(name, 1+chance.IntN(mostFile)); err != nil {
			return err
		}
		if n >= 64 { // the device is not endless
			if err := t.remove(filepath.Join(filepath.Base(dir), fmt.Sprint("file", n-64))); err != nil {
				return err
			}
		}
	}
}

// one writes a file under another name, makes it stable, and gives it its name.
func (t *Tree) one(name string, size int) error {
	path := filepath.Join(t.dir, name)
	f, err := os.Create(path + ".new") //nolint:gosec // a test's own directory
	if err != nil {
		return err
	}
	_, err = f.Write(content(name, size))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := errors.Join(os.Rename(path+".new", path), syncPath(filepath.Dir(path))); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stable[name] = size
	return nil
}

// remove removes a file; it may be there after a reset, or not.
func (t *Tree) remove(name string) error {
	t.mu.Lock()
	delete(t.stable, name)
	t.mu.Unlock()
	return os.Remove(filepath.Join(t.dir, name))
}

// Check looks below dir, where the same file system is now, for every file that
// was made stable. It returns how many are whole.
func (t *Tree) Check(dir string) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, size := range t.stable {
		got, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // a test's own directory
		if err != nil {
			return 0, fmt.Errorf("%w: a file that was made stable: %w", ErrBroken, err)
		}
		if !bytes.Equal(got, content(name, size)) {
			return 0, fmt.Errorf("%w: the file %s was made stable and differs", ErrBroken, name)
		}
	}
	return len(t.stable), nil
}

// content follows from name and size.
func content(name string, size int) []byte {
	var seed [32]byte
	copy(seed[:], name)
	binary.LittleEndian.PutUint32(seed[28:], uint32(size)) //nolint:gosec // less than mostFile
	p := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(p) // never fails
	return p
}

func syncPath(path string) error {
	d, err := os.Open(path) //nolint:gosec // a test's own directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
