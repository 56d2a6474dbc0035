package meta

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/replicator/disk/crashdisk"
)

var params = Params{Cluster: "lab", Volume: "data", Node: 1, ID: [16]byte{1, 2, 3}}

// blank is a disk with new metadata.
var blank = sync.OnceValue(func() *crashdisk.Disk {
	d := crashdisk.New(MinDevice)
	if _, err := Create(d, params, false); err != nil {
		panic(err)
	}
	return d
})

// made returns a disk with metadata and the open store.
func made(t *testing.T) (*crashdisk.Disk, *Store) {
	t.Helper()
	d := blank().Clone()
	s, err := Open(d, params)
	if err != nil {
		t.Fatal(err)
	}
	return d, s
}

func TestCreateAndOpen(t *testing.T) {
	d, s := made(t)
	super := s.Super()
	if !super.Flags.Has(Created|Inconsistent) || !super.Register.Fresh || super.Cluster != "lab" || super.Node != 1 {
		t.Errorf("created %+v", super)
	}
	if s.DataSize() != super.DataSize || s.DataSize()%4096 != 0 || s.DataSize() > MinDevice-tailSize {
		t.Errorf("data size %d", s.DataSize())
	}
	got, err := Open(d, params)
	if err != nil {
		t.Fatal(err)
	}
	if got.Super() != super || got.Note() != "" {
		t.Errorf("opened %+v, note %q", got.Super(), got.Note())
	}
}

func TestCreateRefuses(t *testing.T) {
	if _, err := Create(crashdisk.New(MinDevice-4096), params, true); !errors.Is(err, ErrTooSmall) {
		t.Errorf("small device: %v", err)
	}
	d, _ := made(t)
	before := d.Ops()
	d.Inject(func(o crashdisk.Op) error {
		if o.Kind != crashdisk.Read {
			t.Errorf("a refused create must not touch the device: %+v", o)
		}
		return nil
	})
	if _, err := Create(d, params, false); !errors.Is(err, ErrOccupied) || !strings.Contains(err.Error(), `volume "data"`) {
		t.Errorf("older metadata: %v", err)
	}
	if d.Ops() == before {
		t.Error("nothing was probed")
	}
	d.Inject(nil)
	if _, err := Create(d, params, true); err != nil {
		t.Errorf("forced: %v", err)
	}
	long := params
	long.Volume = strings.Repeat("x", NameMax+1)
	if _, err := Create(crashdisk.New(MinDevice), long, false); err == nil {
		t.Error("a name that does not fit must be refused")
	}
}

func TestCreateSparesFileSystems(t *testing.T) {
	d := crashdisk.New(MinDevice)
	b := make([]byte, 4096)
	copy(b, "XFSB")
	d.WriteAt(b, 0)
	if _, err := Create(d, params, false); !errors.Is(err, ErrOccupied) || !strings.Contains(err.Error(), "XFS") {
		t.Errorf("got %v", err)
	}
	if _, err := Create(d, params, true); err != nil {
		t.Fatal(err)
	}
	if found, err := Probe(d); err != nil || !strings.Contains(found, "gemel") {
		t.Errorf("%q, %v", found, err)
	}
	if d.ReadAt(b, 0); string(b[:4]) != "\x00\x00\x00\x00" {
		t.Error("the old signature is still there")
	}
}

func TestOpenRefuses(t *testing.T) {
	spoil := func(offs ...int64) *crashdisk.Disk {
		d, _ := made(t)
		for _, off := range offs {
			b := make([]byte, 4096)
			d.ReadAt(b, off)
			b[300] ^= 1
			d.WriteAt(b, off)
		}
		return d
	}
	whole, _ := made(t)
	l := layoutOf(MinDevice)
	for name, c := range map[string]struct {
		disk *crashdisk.Disk
		p    Params
		want error
		text string
	}{
		"blank device":  {crashdisk.New(MinDevice), params, ErrNoMetadata, "gemel volume create"},
		"tiny device":   {crashdisk.New(4096), params, ErrNoMetadata, "smallest"},
		"other cluster": {whole, Params{Cluster: "x", Volume: "data", Node: 1}, ErrForeign, `cluster "lab"`},
		"other volume":  {whole, Params{Cluster: "lab", Volume: "x", Node: 1}, ErrForeign, `volume "data"`},
		"other node":    {whole, Params{Cluster: "lab", Volume: "data", Node: 0}, ErrForeign, "node number 1"},
		"both damaged":  {spoil(l.slot[0], l.slot[1]), params, ErrDamaged, "slot 0: checksum"},
	} {
		if _, err := Open(c.disk, c.p); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for slot, off := range l.slot {
		d := spoil(off)
		s, err := Open(d, params)
		if err != nil || s.Note() == "" {
			t.Fatalf("slot %d damaged: %v, note %q", slot, err, s.Note())
		}
		if s, err = Open(d, params); err != nil || s.Note() != "" {
			t.Errorf("slot %d was not mended: %v, note %q", slot, err, s.Note())
		}
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	d, s := made(t)
	b := make([]byte, SlotSize)
	super := s.Super()
	super.encode(b, 1)
	le.PutUint16(b[offVersion:], FormatVersion+1)
	le.PutUint32(b[offCRC:], checksumSlot(b))
	d.WriteAt(b, s.layout.slot[1])
	if _, err := Open(d, params); !errors.Is(err, ErrNewer) {
		t.Errorf("got %v", err)
	}
	if _, err := Create(d, params, false); !errors.Is(err, ErrOccupied) {
		t.Errorf("got %v", err)
	}
}

func TestUpdate(t *testing.T) {
	d, s := made(t)
	before := d.Ops()
	if err := s.Update(func(*Superblock) {}); err != nil || d.Ops() != before {
		t.Errorf("an update without change wrote something: %v", err)
	}
	err := s.Update(func(b *Superblock) {
		b.Flags = b.Flags.Without(Created).With(PrimaryActive)
		b.Register = arbiter.Record{Promised: 5, Accepted: arbiter.Accepted{Epoch: 5, Version: 1, Set: 2}}
	})
	if err != nil || d.Unflushed() != 0 {
		t.Fatalf("%v, %d sectors not flushed", err, d.Unflushed())
	}
	again, err := Open(d, params)
	if err != nil || again.Super() != s.Super() || again.Super().Sequence != 2 {
		t.Errorf("%+v, %v", again.Super(), err)
	}
}

func TestUpdateRefuses(t *testing.T) {
	_, s := made(t)
	s.Update(func(b *Superblock) {
		b.Register = arbiter.Record{Promised: 5, Accepted: arbiter.Accepted{Epoch: 5, Version: 2, Set: 2}}
	})
	before := s.Super()
	for name, change := range map[string]func(*Superblock){
		"lower promise":  func(b *Superblock) { b.Register.Promised = 4 },
		"older accepted": func(b *Superblock) { b.Register.Accepted.Version = 1 },
		"other identity": func(b *Superblock) { b.Volume = "other" },
		"odd agreed":     func(b *Superblock) { b.AgreedSize = 1 },
		"large agreed":   func(b *Superblock) { b.AgreedSize = b.DataSize + 4096 },
		"unknown flag":   func(b *Superblock) { b.Flags |= 1 << 30 },
		"unknown node":   func(b *Superblock) { b.Register.Accepted.Set = 7 },
	} {
		if err := s.Update(change); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if s.Super() != before {
			t.Errorf("%s: changed something", name)
		}
	}
	if err := s.Update(func(b *Superblock) { b.Register.Promised = 4 }); !errors.Is(err, ErrBackwards) {
		t.Errorf("got %v", err)
	}
}

func TestFailedWriteEndsTheStore(t *testing.T) {
	d, s := made(t)
	before := s.Super()
	bad := errors.New("bad sector")
	d.Inject(func(o crashdisk.Op) error {
		if o.Kind == crashdisk.Sync {
			return bad
		}
		return nil
	})
	grow := func(b *Superblock) { b.Register.Promised++ }
	if err := s.Update(grow); !errors.Is(err, ErrFailed) || !errors.Is(err, bad) || s.Super() != before {
		t.Errorf("got %v, %+v", err, s.Super())
	}
	d.Inject(nil)
	if err := s.Update(grow); !errors.Is(err, ErrFailed) {
		t.Errorf("what the disk holds is unknown, and still: %v", err)
	}
}
