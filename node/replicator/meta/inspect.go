package meta

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"gemel/node/block"
	"gemel/node/replicator/activity"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/disk"
)

// Dump is everything that can be read of a device's metadata, for people and,
// as JSON, for programs. Numbers of generations are written in hexadecimal.
type Dump struct {
	DeviceSize int64 `json:"device_size"` // bytes
	DataSize   int64 `json:"data_size"`   // bytes of the data area
	Apart      bool  `json:"apart"`       // the device holds metadata only, DataSize is another one's
	// Problem is what is damaged, or why this is no metadata, and Next how to go
	// on; empty when a replicator would take it.
	Problem string `json:"problem,omitempty"`
	Next    string `json:"next,omitempty"`
	// Note is what a replicator would mend.
	Note  string     `json:"note,omitempty"`
	Slots [2]Slot    `json:"slots"`
	Log   LogDump    `json:"activity_log"`
	Bits  BitmapDump `json:"bitmap"`
}

// Slot is one copy of the superblock.
type Slot struct {
	Problem      string   `json:"problem,omitempty"` // then the rest means nothing
	Sequence     uint64   `json:"sequence"`
	ID           string   `json:"id"`
	Cluster      string   `json:"cluster"`
	Volume       string   `json:"volume"`
	Node         int      `json:"node"`
	AgreedSize   int64    `json:"agreed_size"` // bytes of the volume; 0: not agreed yet
	Flags        []string `json:"flags"`
	Current      string   `json:"generation_current"`
	Bitmap       string   `json:"generation_bitmap"`
	History      []string `json:"generation_history"`
	ResyncTarget string   `json:"resync_target"`
	Promised     uint64   `json:"promised_epoch"`
	Accepted     uint64   `json:"accepted_epoch"`
	Version      uint32   `json:"accepted_version"`
	Set          []int    `json:"accepted_set"` // nodes
	Fresh        bool     `json:"fresh"`

	MayLack string      `json:"may_lack,omitempty"` // protocol under which writes of the last Primary may be missing
	Verify  *VerifyDump `json:"verify,omitempty"`   // the last one
	// Times of the last reign as Primary, and since when the bitmap counts; nil: never.
	ReignStart *time.Time `json:"reign_start,omitempty"`
	ReignEnd   *time.Time `json:"reign_end,omitempty"` // nil with a start: it goes on, or a crash ended it
	Apart      *time.Time `json:"apart_since,omitempty"`
	// Peer is the other replica's id as of the last meeting, with its sequence then,
	// and this one's that the peer certainly wrote down.
	Peer         string `json:"peer,omitempty"`
	PeerSequence uint64 `json:"peer_sequence,omitempty"`
	Said         uint64 `json:"peer_knows_sequence,omitempty"`
	Ending       bool   `json:"peer_may_be_whole,omitempty"`
	// Room is how far in bytes the volume could grow at once, Moved the size of the
	// device whose end still holds older metadata, Backing half of the SHA-256 of
	// the backing device's own name.
	Room    int64  `json:"room,omitempty"`
	Moved   int64  `json:"moved_from,omitempty"`
	Backing string `json:"backing,omitempty"`
}

// VerifyDump is a verify that was begun. Sizes are bytes.
type VerifyDump struct {
	Running bool  `json:"running"`
	Paused  bool  `json:"paused"`
	Repair  bool  `json:"repair"`
	Pos     int64 `json:"pos"`
	MaxRate int64 `json:"max_rate,omitempty"`
	Found   int64 `json:"found"`
}

// LogDump is what the activity log says.
type LogDump struct {
	Known   bool     `json:"known"`
	Problem string   `json:"problem,omitempty"`
	Counts  bool     `json:"counts"` // a Primary was at work: the extents may be out of sync
	Number  uint64   `json:"number"` // of the newest transaction
	Slots   int      `json:"slots"`
	Extents []uint32 `json:"extents"` // of 4 MiB
}

// BitmapDump sums the saved bitmap up.
type BitmapDump struct {
	Counts    bool  `json:"counts"` // it names every block that may be out of sync
	Pages     int   `json:"pages"`
	Damaged   int   `json:"damaged"` // of them; they count as all set
	OutOfSync int64 `json:"out_of_sync"`
}

// ErrUnusable is wrapped by Dump.Err: a replicator refuses this metadata.
var ErrUnusable = errors.New("the metadata cannot be used")

// Err returns nil for metadata that a replicator would take.
func (d *Dump) Err() error {
	if d.Problem == "" {
		return nil
	}
	return fmt.Errorf("%w: %s; %s", ErrUnusable, d.Problem, d.Next)
}

// Inspect reads what can be read, and writes nothing. seen is Params.Seen.
func Inspect(dev disk.Device, seen ...int64) Dump {
	if s, err := readApart(dev); err == nil {
		return inspectApart(dev, s, nil)
	}
	d := Dump{DeviceSize: dev.Size()}
	if dev.Size() < MinDevice {
		d.Problem = fmt.Sprintf("the device has %d bytes, the smallest volume needs %d", dev.Size(), MinDevice)
		d.Next = "check that this is the right device"
		return d
	}
	s, err := find(dev, seen)
	l := layoutOf(dev.Size())
	if err == nil {
		l = s.layout
	}
	d.fill(dev, &l, s, err)
	return d
}

// InspectApart is Inspect of a device that holds metadata alone.
func InspectApart(dev disk.Device) Dump {
	s, err := readApart(dev)
	return inspectApart(dev, s, err)
}

func inspectApart(dev disk.Device, s *Store, err error) Dump {
	d := Dump{DeviceSize: dev.Size(), Apart: true}
	l := layoutApart(0)
	if err == nil {
		l = s.layout
	} else if dev.Size() < tailSize {
		d.Problem, d.Next = err.Error(), nextAfter(err)
		return d
	}
	d.fill(dev, &l, s, err)
	return d
}

// fill reads the slots, and what else there is if s could be read.
func (d *Dump) fill(dev disk.Device, l *layout, s *Store, err error) {
	d.DataSize = l.data
	for i, off := range l.slot {
		got := readSlot(dev, off, i)
		d.Slots[i] = slotOf(&got)
	}
	if err != nil {
		d.Problem, d.Next = err.Error(), nextAfter(err)
		return
	}
	d.Note = s.note
	d.inspectLog(s)
	d.inspectBitmap(s)
}

func nextAfter(err error) string {
	switch {
	case errors.Is(err, ErrNewer):
		return "use the newer gemel that wrote it"
	case errors.Is(err, ErrForeign):
		return "check that this is the right device, and that its size did not change"
	case errors.Is(err, ErrShrunk):
		return "enlarge the device again; nothing was changed"
	case errors.Is(err, ErrNoMetadata):
		return "check that this is the right device; `gemel volume create` makes a replica"
	}
	return "if the peer holds the volume, run `gemel volume create NAME --force` here and let it be filled; " +
		"if not, the data in front of the metadata is untouched: copy it from the device first"
}

func slotOf(r *slotRead) Slot {
	if r.err != nil {
		return Slot{Problem: r.err.Error()}
	}
	s := &r.super
	out := Slot{
		Sequence: s.Sequence, ID: fmt.Sprintf("%x", s.ID), Cluster: s.Cluster, Volume: s.Volume, Node: int(s.Node),
		AgreedSize: s.AgreedSize, Flags: s.Flags.Names(), Current: hexOf(s.Generation.Current), Bitmap: hexOf(s.Generation.Bitmap),
		ResyncTarget: hexOf(s.ResyncTarget), Promised: uint64(s.Register.Promised), Accepted: uint64(s.Register.Accepted.Epoch),
		Version: s.Register.Accepted.Version, Fresh: s.Register.Fresh, Set: []int{}, History: []string{},
	}
	for _, g := range s.Generation.History {
		if g != 0 {
			out.History = append(out.History, hexOf(g))
		}
	}
	for n := range 2 {
		if s.Register.Accepted.Set>>n&1 != 0 {
			out.Set = append(out.Set, n)
		}
	}
	out.learn(s)
	return out
}

// learn adds what not every replica has to tell.
func (s *Slot) learn(from *Superblock) {
	if from.MayLack != block.ProtocolC {
		s.MayLack = from.MayLack.String()
	}
	if v := from.Verify; v != (Verify{}) {
		s.Verify = &VerifyDump{Running: v.Running, Paused: v.Paused, Repair: v.Repair, Pos: v.Pos, MaxRate: v.MaxRate, Found: v.Found}
	}
	p := &from.Past
	s.ReignStart, s.ReignEnd, s.Apart = when(p.ReignStart), when(p.ReignEnd), when(p.Apart)
	s.PeerSequence, s.Said, s.Ending, s.Room, s.Moved = p.PeerSequence, p.Said, p.Ending, from.Room, from.Moved
	if p.Peer != [16]byte{} {
		s.Peer = hex.EncodeToString(p.Peer[:])
	}
	if from.Backing != [16]byte{} {
		s.Backing = hex.EncodeToString(from.Backing[:])
	}
}

// when is a time of the superblock; nil: never.
func when(ns int64) *time.Time {
	if ns == 0 {
		return nil
	}
	t := time.Unix(0, ns).UTC()
	return &t
}

func hexOf(g block.Generation) string {
	if g == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(g), 16)
}

// Names lists the flags in their order.
func (f Flags) Names() []string {
	names := []string{}
	for _, n := range []struct {
		flag Flags
		name string
	}{
		{Created, "Created"}, {PrimaryActive, "PrimaryActive"}, {CrashedPrimary, "CrashedPrimary"},
		{Inconsistent, "Inconsistent"}, {Outdated, "Outdated"}, {BitmapValid, "BitmapValid"},
		{Discard, "Discard"}, {KeepUndo, "KeepUndo"}, {External, "External"}, {Keep, "Keep"},
	} {
		if f.Has(n.flag) {
			names = append(names, n.name)
		}
	}
	if rest := f &^ knownFlags; rest != 0 {
		names = append(names, fmt.Sprintf("%#x", uint32(rest)))
	}
	return names
}

func (d *Dump) inspectLog(s *Store) {
	set, err := s.ReadLog()
	if err != nil {
		set.Why = err.Error()
	}
	d.Log = LogDump{Known: set.Known, Problem: set.Why, Number: set.Number, Slots: set.Slots, Extents: set.Extents,
		Counts: s.super.Flags.Has(PrimaryActive)}
}

// inspectBitmap counts page by page, so that the bitmap of a large volume needs
// no memory.
func (d *Dump) inspectBitmap(s *Store) {
	size := s.super.AgreedSize
	if size == 0 {
		size = s.layout.data
	}
	d.Bits = BitmapDump{Counts: s.super.Flags.Has(BitmapValid), Pages: pagesFor(size)}
	words := make([]uint64, PageWords)
	b := buffer.Get(pageSize)
	defer buffer.Put(b)
	for page := range d.Bits.Pages {
		blocks := min(pageBits, size/block.Size-int64(page)*pageBits)
		if s.dev.ReadAt(b, s.pageAt(page)) != nil || !s.decodePage(b, page, words) {
			d.Bits.Damaged++
			d.Bits.OutOfSync += blocks * block.Size
			continue
		}
		for _, w := range words {
			d.Bits.OutOfSync += int64(bits.OnesCount64(w)) * block.Size
		}
	}
}

// String is the dump in words.
func (d *Dump) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-14s%s\n", name, fmt.Sprintf(format, args...))
	}
	if d.Apart {
		line("device", "%d bytes of metadata, for %d bytes of data on another device", d.DeviceSize, d.DataSize)
	} else {
		line("device", "%d bytes, %d of them in front of the metadata", d.DeviceSize, d.DataSize)
	}
	if d.Problem != "" {
		line("PROBLEM", "%s", d.Problem)
		line("next", "%s", d.Next)
	}
	if d.Note != "" {
		line("note", "%s", d.Note)
	}
	for i := range d.Slots {
		d.Slots[i].words(i, d.DeviceSize >= MinDevice || d.Apart && d.DeviceSize >= tailSize, line)
	}
	if d.Problem == "" {
		d.Log.words(line)
		d.Bits.words(line)
	}
	return b.String()
}

func (s *Slot) words(i int, there bool, line func(string, string, ...any)) {
	name := fmt.Sprintf("superblock %d", i)
	if !there {
		return
	}
	if s.Problem != "" {
		line(name, "cannot be read: %s", s.Problem)
		return
	}
	line(name, "update %d of volume %s, node %d of cluster %s, id %s", s.Sequence, s.Volume, s.Node, s.Cluster, s.ID)
	line("  size", "%d bytes agreed (0: not yet)", s.AgreedSize)
	line("  flags", "%s", orNone(strings.Join(s.Flags, " ")))
	line("  generation", "%s, bits count from %s, before: %s", s.Current, orNone(s.Bitmap), orNone(strings.Join(s.History, " ")))
	if s.ResyncTarget != "" {
		line("  resync", "from generation %s, not finished", s.ResyncTarget)
	}
	fresh := ""
	if s.Fresh {
		fresh = "; fresh: it has never accepted anything"
	}
	s.history(line)
	line("  register", "promised epoch %d; accepted epoch %d, version %d, in sync: nodes %v%s", s.Promised, s.Accepted, s.Version, s.Set, fresh)
}

// history tells what not every replica has to tell.
func (s *Slot) history(line func(string, string, ...any)) {
	if s.ReignStart != nil {
		end := "it goes on, or a crash ended it"
		if s.ReignEnd != nil {
			end = "until " + s.ReignEnd.Format(time.RFC3339)
		}
		line("  last reign", "from %s, %s", s.ReignStart.Format(time.RFC3339), end)
	}
	if s.Apart != nil {
		line("  bits count", "since %s", s.Apart.Format(time.RFC3339))
	}
	if s.MayLack != "" {
		line("  may lack", "writes that a Primary of protocol %s completed and had not flushed", s.MayLack)
	}
	if s.Peer != "" {
		line("  peer", "id %s, at its update %d; it wrote update %d of this one down", s.Peer, s.PeerSequence, s.Said)
	}
	if s.Ending {
		line("  peer", "may have been told that it is whole, although bits count")
	}
	if v := s.Verify; v != nil {
		line("  verify", "%s at byte %d, %d bytes differed", v.state(), v.Pos, v.Found)
	}
	if s.Room > s.AgreedSize {
		line("  room", "the volume can have %d bytes at once: what is behind its end is zero up to there", s.Room)
	}
	if s.Moved != 0 {
		line("  moved", "from the end of %d bytes; the superblock there is still to be wiped", s.Moved)
	}
	if s.Backing != "" {
		line("  data on", "the device of the name whose SHA-256 begins with %s", s.Backing)
	}
}

func (v *VerifyDump) state() string {
	text := "ended"
	switch {
	case v.Paused:
		text = "paused"
	case v.Running:
		text = "running"
	}
	if v.Repair {
		text += ", with repair,"
	}
	return text
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (l *LogDump) words(line func(string, string, ...any)) {
	if !l.Known {
		line("activity log", "damaged: %s; after a crash everything is resynced", l.Problem)
		return
	}
	counts := "they count only after a crash of the Primary"
	if l.Counts {
		counts = "a Primary is at work or died: they may be out of sync"
	}
	line("activity log", "transaction %d, %d of %d slots, %d MiB hot; %s", l.Number, len(l.Extents), l.Slots,
		int64(len(l.Extents))*activity.ExtentSize>>20, counts)
	if len(l.Extents) > 0 {
		line("  extents", "%s", runs(l.Extents))
	}
}

// runs writes ascending numbers with runs joined.
func runs(list []uint32) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if j == i {
			parts = append(parts, strconv.Itoa(int(list[i])))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, " ")
}

func (m *BitmapDump) words(line func(string, string, ...any)) {
	switch {
	case !m.Counts:
		line("bitmap", "%d pages, not valid: every block counts as out of sync", m.Pages)
	default:
		line("bitmap", "%d pages, %d of them damaged, %d bytes out of sync", m.Pages, m.Damaged, m.OutOfSync)
	}
}
