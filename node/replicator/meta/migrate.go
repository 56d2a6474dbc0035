package meta

import "fmt"

// migrations turn the bytes of a slot of the version that is their key into
// those of the next version. A slot of an older version is read through all of
// them in turn; the first update writes both slots in FormatVersion. Version 1 is
// the first one, so there is none yet.
var migrations = map[uint16]func(slot []byte){}

// migrated returns a slot, whose checksum is right, as FormatVersion has it.
func migrated(b []byte) ([]byte, error) { return migrate(b, migrations, FormatVersion) }

func migrate(b []byte, steps map[uint16]func([]byte), to uint16) ([]byte, error) {
	v := le.Uint16(b[offVersion:])
	if v > to {
		return nil, fmt.Errorf("%w: format version %d, this gemel reads up to version %d", ErrNewer, v, to)
	}
	if v < to {
		b = append([]byte(nil), b...)
	}
	for ; v < to; v++ {
		step := steps[v]
		if step == nil {
			return nil, fmt.Errorf("format version %d cannot be read by this gemel, only versions from %d on", v, v+1)
		}
		step(b)
		le.PutUint16(b[offVersion:], v+1)
	}
	return b, nil
}
