package disk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"gemel/node/block"
	"gemel/node/replicator/buffer"
)

// ends collects how reads ended.
type ends struct {
	all sync.WaitGroup
	mu  sync.Mutex
	err []error
}

func (e *ends) ReadDone(err error) {
	e.mu.Lock()
	e.err = append(e.err, err)
	e.mu.Unlock()
	e.all.Done()
}

// begins skips the test where reads cannot be begun.
func begins(t *testing.T, d *Disk) {
	t.Helper()
	if !d.Direct() {
		t.Skipf("needs a file system with direct I/O: %s", d.Note())
	}
	e := &ends{}
	e.all.Add(1)
	if d.StartReads([]block.Read{{P: buffer.Aligned(4096), Done: e}}) != 1 {
		t.Skip("this kernel offers no asynchronous I/O")
	}
	e.all.Wait()
}

// pattern writes blocks that tell their number.
func pattern(t *testing.T, d *Disk) {
	t.Helper()
	for at := int64(0); at < d.Size(); at += 4096 {
		p := buffer.Aligned(4096)
		for i := range p {
			p[i] = byte(at >> 12)
		}
		if err := d.WriteAt(p, at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStartReads(t *testing.T) {
	d := open(t, file(t, 1<<20))
	begins(t, d)
	pattern(t, d)
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 50 {
				batch := make([]block.Read, 1+rand.IntN(60))
				e := &ends{}
				for i := range batch {
					batch[i] = block.Read{P: buffer.Aligned(4096 << rand.IntN(3)), Off: rand.Int64N(250) * 4096, Done: e}
				}
				e.all.Add(len(batch))
				n := d.StartReads(batch)
				e.all.Add(n - len(batch))
				e.all.Wait()
				for _, r := range batch[:n] {
					for at := 0; at < len(r.P); at += 4096 {
						want := bytes.Repeat([]byte{byte((r.Off + int64(at)) >> 12)}, 4096)
						if !bytes.Equal(r.P[at:at+4096], want) {
							t.Errorf("other data at %d", r.Off+int64(at))
							return
						}
					}
				}
				for _, err := range e.err {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	users.Wait()
}

// TestStartReadsStopsAtWhatItCannotDo: the caller gets the refusal from ReadAt.
func TestStartReadsStopsAtWhatItCannotDo(t *testing.T) {
	d := open(t, file(t, 1<<20))
	begins(t, d)
	good := buffer.Aligned(4096)
	for name, bad := range map[string]block.Read{
		"outside":      {P: buffer.Aligned(4096), Off: 1 << 20},
		"not aligned":  {P: buffer.Aligned(4096), Off: 100},
		"odd memory":   {P: make([]byte, 8192)[1:4097], Off: 0},
		"of no length": {P: nil, Off: 0},
	} {
		e := &ends{}
		e.all.Add(1)
		bad.Done = e
		if n := d.StartReads([]block.Read{{P: good, Done: e}, bad, {P: good, Done: e}}); n != 1 {
			t.Errorf("%s: %d reads were begun", name, n)
		}
		e.all.Wait()
	}
}

// TestStartedReadOfAShrunkFile: a read that the kernel cuts short ends as ReadAt's.
func TestStartedReadOfAShrunkFile(t *testing.T) {
	path := file(t, 1<<20)
	d := open(t, path)
	begins(t, d)
	if err := os.Truncate(path, 512<<10+4096); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{512 << 10, 600 << 10} {
		e := &ends{}
		e.all.Add(1)
		if d.StartReads([]block.Read{{P: buffer.Aligned(8192), Off: off, Done: e}}) != 1 {
			t.Fatal("not begun")
		}
		e.all.Wait()
		if e.err[0] == nil {
			t.Errorf("a read at %d behind the end went well", off)
		}
	}
}

// TestCloseWaitsForStartedReads: no answer comes after Close.
func TestCloseWaitsForStartedReads(t *testing.T) {
	for range 20 {
		d := open(t, file(t, 1<<20))
		begins(t, d)
		e := &ends{}
		batch := make([]block.Read, aioSlots+10)
		for i := range batch {
			batch[i] = block.Read{P: buffer.Aligned(4096), Off: int64(i) * 4096, Done: e}
		}
		e.all.Add(len(batch))
		n := d.StartReads(batch)
		e.all.Add(n - len(batch))
		if n > aioSlots {
			t.Fatalf("%d reads were begun", n)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		e.all.Wait()
		if n := d.StartReads(batch[:1]); n != 0 {
			t.Error("a read was begun on a closed disk")
		}
	}
}
