package meta

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"gemel/node/replicator/activity"
	"gemel/node/replicator/disk/crashdisk"
)

func TestInspect(t *testing.T) {
	d, s := made(t)
	words := make([]uint64, s.Words())
	words[0] = 7
	log := activity.New(activity.SlotsLeast, 4, 0)
	log.Admit(1, nil)
	log.Admit(2, nil)
	err := errors.Join(s.SaveBitmap(words), s.WriteLog(log.Make()), s.Update(func(b *Superblock) {
		b.Flags = b.Flags.Without(Created | Inconsistent).With(PrimaryActive | BitmapValid)
		b.Register.Promised = 7
	}))
	if err != nil {
		t.Fatal(err)
	}
	before := d.Ops()
	d.Inject(func(o crashdisk.Op) error {
		if o.Kind != crashdisk.Read {
			t.Errorf("looking must not write: %+v", o)
		}
		return nil
	})
	got := Inspect(d, 0)
	if d.Ops() == before || got.Err() != nil || got.Log.Number != 1 || !got.Log.Counts || got.Bits.OutOfSync != 3*4096 || got.Bits.Damaged != 0 {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{"volume data", "PrimaryActive BitmapValid", "promised epoch 7", "8 MiB hot", "1-2", "12288 bytes out of sync"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("%q is missing in\n%s", want, got.String())
		}
	}
	if _, err := json.Marshal(got); err != nil {
		t.Error(err)
	}
}

// TestInspectDamage: what is damaged is said, with how to go on, and the rest
// is shown.
func TestInspectDamage(t *testing.T) {
	spoil := func(d *crashdisk.Disk, offs ...int64) {
		for _, off := range offs {
			b := make([]byte, 4096)
			d.ReadAt(b, off)
			b[300] ^= 1
			d.WriteAt(b, off)
		}
	}
	d, s := made(t)
	spoil(d, s.layout.slot[0])
	if got := Inspect(d, 0); got.Err() != nil || got.Note == "" || got.Slots[0].Problem == "" || got.Slots[1].Volume != "data" {
		t.Errorf("one slot: %+v", got)
	}
	spoil(d, s.layout.slot[1])
	got := Inspect(d, 0)
	if !errors.Is(got.Err(), ErrUnusable) || !strings.Contains(got.String(), "checksum") || !strings.Contains(got.Next, "volume create") {
		t.Errorf("both slots:\n%s", got.String())
	}
	d, s = made(t)
	spoil(d, s.ringAt()+4096, s.ringAt()+8192)
	if got := Inspect(d, 0); got.Err() != nil || got.Log.Known || !strings.Contains(got.String(), "damaged") {
		t.Errorf("the log:\n%s", got.String())
	}
	for _, size := range []int64{4096, MinDevice} {
		if got := Inspect(crashdisk.New(size), 0); got.Err() == nil || got.Next == "" {
			t.Errorf("%d bytes without metadata: %+v", size, got)
		}
	}
}

// TestADumpTellsEveryField: each field of a superblock that has a value is in the
// words and in the JSON.
func TestADumpTellsEveryField(t *testing.T) {
	s := sample()
	s.Flags = s.Flags.With(External | Outdated)
	d := Dump{DeviceSize: 64 << 20}
	d.Slots[0] = slotOf(&slotRead{super: s})
	d.Slots[1] = d.Slots[0]
	text, err := json.Marshal(&d)
	if err != nil {
		t.Fatal(err)
	}
	words := d.String()
	for _, want := range []string{"808182838485868788898a8b8c8d8e8f", "69747320", "1970-01-01", "update 116", "protocol A", "byte 1903326068",
		"paused", "can have 63963136 bytes", "the end of 17825792", "External", "Outdated"} {
		if !strings.Contains(words, want) {
			t.Errorf("the words lack %q:\n%s", want, words)
		}
	}
	for _, want := range []string{`"may_lack":"A"`, `"verify":{"running":true,"paused":true`, `"reign_end"`, `"apart_since"`, `"peer":"8081`,
		`"peer_sequence":116`, `"peer_knows_sequence":117`, `"peer_may_be_whole":true`, `"room":63963136`, `"moved_from":17825792`, `"backing":"697473`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the JSON lacks %s:\n%s", want, text)
		}
	}
}
