// Package store keeps a witness's records in one file. Every change is on
// stable storage before Save returns. It knows no protocol: what may be stored
// is arbiter.Register's affair.
//
// The file is a header line and a JSON body:
//
//	gemel-witness 1 crc32c=0a1b2c3d\n
//	{"cluster":"lab","records":{"data":{...}}}\n
//
// The checksum covers the body. A change writes the whole file anew beside the
// old one, flushes it, renames it over the old one and flushes the directory,
// so a crash leaves the old or the new file. A file that is damaged in another
// way is never taken for a new one: a witness that forgets can cost
// acknowledged writes.
package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gemel/node/arbiter"
)

// version of the file format; a higher one is refused.
const version = 1

// Errors that callers decide on.
var (
	ErrDamaged = errors.New("witness file is damaged")
	ErrNewer   = errors.New("witness file was written by a newer gemel")
	ErrInUse   = errors.New("witness file is in use by another process")
	ErrCluster = errors.New("witness file belongs to another cluster")
)

// castagnoli is the table of CRC32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// File is an open witness file. It is not safe for concurrent use.
type File struct {
	path    string
	lock    *os.File
	content content
}

type content struct {
	Cluster string                    `json:"cluster"`
	Records map[string]arbiter.Record `json:"records"`
}

// Open locks and reads the witness file at path, or begins a new one for
// cluster when there is none. Errors: ErrDamaged, ErrNewer, ErrInUse,
// ErrCluster, or of the file system.
func Open(path, cluster string) (*File, error) {
	lock, err := acquire(path + ".lock")
	if err != nil {
		return nil, err
	}
	f := &File{path: path, lock: lock, content: content{Cluster: cluster, Records: map[string]arbiter.Record{}}}
	if err := f.load(cluster); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return f, nil
}

// acquire locks a file beside the data, since the data file is replaced by
// every change.
func acquire(path string) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the path is the operator's
	if err != nil {
		return nil, fmt.Errorf("open lock of the witness file: %w", err)
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(
			fmt.Errorf("lock %s: %w; only one witness may run on it, stop the other", path, err), lock.Close())
	}
	return lock, nil
}

func (f *File) load(cluster string) error {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return f.write(f.content)
	}
	if err != nil {
		return fmt.Errorf("read witness file: %w", err)
	}
	found, err := decode(data)
	if err != nil {
		return fmt.Errorf("read witness file %s: %w", f.path, err)
	}
	if found.Cluster != cluster {
		return fmt.Errorf("read witness file %s: %w: it is of %q, this witness of %q; give each cluster its own file",
			f.path, ErrCluster, found.Cluster, cluster)
	}
	f.content = found
	return nil
}

// Get returns a volume's record; a fresh one when the volume is unknown.
func (f *File) Get(volume string) arbiter.Record {
	if record, known := f.content.Records[volume]; known {
		return record
	}
	return arbiter.Record{Fresh: true}
}

// Volumes returns the names of all volumes in the file, in no order.
func (f *File) Volumes() []string {
	names := make([]string, 0, len(f.content.Records))
	for name := range f.content.Records {
		names = append(names, name)
	}
	return names
}

// Save stores the records of some volumes, all in one step. On an error the stored
// records may be the old or the new ones: the caller must not answer, and must
// store again before it relies on either.
func (f *File) Save(records map[string]arbiter.Record) error {
	next := content{Cluster: f.content.Cluster, Records: maps.Clone(f.content.Records)}
	maps.Copy(next.Records, records)
	if err := f.write(next); err != nil {
		return err
	}
	f.content = next
	return nil
}

// Close releases the lock. Everything saved is stable already.
func (f *File) Close() error {
	if err := f.lock.Close(); err != nil {
		return fmt.Errorf("close the witness file's lock: %w", err)
	}
	return nil
}

func (f *File) write(c content) error {
	data, err := encode(c)
	if err == nil {
		err = replace(f.path, data)
	}
	if err != nil {
		return fmt.Errorf("store witness file %s: %w", f.path, err)
	}
	return nil
}

// replace puts data in the place of path's content, atomically and stable.
func replace(path string, data []byte) (err error) {
	temp := path + ".new"
	file, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // the path is the operator's
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

func syncDirectory(path string) error {
	dir, err := os.Open(path) //nolint:gosec // the path is the operator's
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func encode(c content) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	body = append(body, '\n')
	return append(header(body), body...), nil
}

func header(body []byte) []byte {
	return fmt.Appendf(nil, "gemel-witness %d crc32c=%08x\n", version, crc32.Checksum(body, castagnoli))
}

// decode is the reverse of encode; it takes nothing that encode would not make.
func decode(data []byte) (content, error) {
	head, body, found := bytes.Cut(data, []byte("\n"))
	var written int
	var sum uint32
	_, err := fmt.Sscanf(string(head), "gemel-witness %d crc32c=%x", &written, &sum)
	switch {
	case !found || err != nil && written == 0:
		return content{}, damaged("its first line is not a witness file's")
	case written > version:
		return content{}, fmt.Errorf("%w: format %d, this one reads up to %d; install that gemel again", ErrNewer, written, version)
	case err != nil || !bytes.Equal(append(head, '\n'), header(body)):
		return content{}, damaged("the checksum does not match")
	}
	c := content{}
	if err := json.Unmarshal(body, &c); err != nil {
		return content{}, damaged(err.Error())
	}
	if c.Records == nil {
		c.Records = map[string]arbiter.Record{}
	}
	return c, nil
}

func damaged(why string) error {
	return fmt.Errorf("%w: %s; check the disk, then move the file away while both nodes are up and in sync: "+
		"the witness begins anew and the nodes take it in again", ErrDamaged, why)
}
