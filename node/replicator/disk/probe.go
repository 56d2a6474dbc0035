package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"gemel/node/replicator/buffer"
)

// probeSize is how much of the front of a device Probe looks at, in bytes.
const probeSize = 128 << 10

// signature is a run of bytes that gives a format away.
type signature struct {
	name string
	off  int
	text string
}

// signatures are the formats a server's disk is likely to carry. Partition
// tables come last: a boot sector can stand in front of a file system.
var signatures = []signature{
	{"an XFS file system", 0, "XFSB"},
	{"a btrfs file system", 0x10040, "_BHRfS_M"},
	{"swap space", 4086, "SWAPSPACE2"},
	{"swap space", 4086, "SWAP-SPACE"},
	{"a LUKS encrypted volume", 0, "LUKS\xba\xbe"},
	{"an LVM physical volume", 512, "LABELONE"},
	{"an LVM physical volume", 0, "LABELONE"},
	{"a bcache device", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"a member of a RAID (md)", 4096, "\xfc\x4e\x2b\xa9"},
	{"a member of a RAID (md)", 0, "\xfc\x4e\x2b\xa9"},
	{"an NTFS file system", 3, "NTFS    "},
	{"an exFAT file system", 3, "EXFAT   "},
	{"a FAT file system", 82, "FAT32   "},
	{"a FAT file system", 54, "FAT16   "},
	{"an F2FS file system", 1024, "\x10\x20\xf5\xf2"},
	{"an ISO 9660 file system", 0x8001, "CD001"},
	{"a squashfs file system", 0, "hsqs"},
	{"a GPT partition table", 512, "EFI PART"},
	{"a GPT partition table", 4096, "EFI PART"},
	{"an MBR partition table or boot sector", 510, "\x55\xaa"},
}

// Probe says in words what the front of a device carries; empty when it knows
// nothing there. It reads only.
func Probe(dev Device) (string, error) {
	n := int(min(probeSize, dev.Size()))
	b := buffer.Get(n)
	defer buffer.Put(b)
	if err := dev.ReadAt(b, 0); err != nil {
		return "", fmt.Errorf("probe: %w", err)
	}
	if name := ext(b); name != "" {
		return name, nil
	}
	for _, s := range signatures {
		if end := s.off + len(s.text); end <= n && bytes.Equal(b[s.off:end], []byte(s.text)) {
			return s.name, nil
		}
	}
	return "", nil
}

// ext tells ext2, ext3 and ext4 apart by their feature words.
func ext(b []byte) string {
	const super = 1024
	if len(b) < super+0x100 || binary.LittleEndian.Uint16(b[super+0x38:]) != 0xef53 {
		return ""
	}
	const hasJournal, extents = 0x4, 0x40
	kind := "ext2"
	if binary.LittleEndian.Uint32(b[super+0x5c:])&hasJournal != 0 {
		kind = "ext3"
	}
	if binary.LittleEndian.Uint32(b[super+0x60:])&extents != 0 {
		kind = "ext4"
	}
	return "an " + kind + " file system"
}
