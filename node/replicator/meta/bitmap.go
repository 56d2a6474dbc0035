package meta

import (
	"fmt"
	"hash/crc32"

	"gemel/node/block"
	"gemel/node/replicator/buffer"
)

const (
	pageSize   = 4096
	pageHeader = 16
	// PageWords is how many words of the bitmap one page holds, 510.
	PageWords = (pageSize - pageHeader) / 8
	pageBits  = PageWords * 64 // 32640 blocks, 127.5 MiB
	pagesRun  = 64             // neighbours that are written at once
)

// pagesFor returns how many bitmap pages size bytes of data need.
func pagesFor(size int64) int {
	bits := (size + block.Size - 1) / block.Size
	return int((bits + pageBits - 1) / pageBits)
}

// Words returns how many words the bitmap has: bit i%64 of word i/64 stands for
// block i. Bits behind the data area are always zero.
func (s *Store) Words() int {
	return int((s.at().data/block.Size + 63) / 64)
}

// LoadBitmap reads the saved bitmap, Words() long. damaged counts pages that
// could not be read or trusted and are returned all set; so is the whole bitmap
// when none was ever saved. Whether the bits are current is what BitmapValid says.
func (s *Store) LoadBitmap() (words []uint64, damaged int) {
	s.bitmapMu.Lock()
	defer s.bitmapMu.Unlock()
	words = make([]uint64, s.Words())
	b := buffer.Get(pageSize)
	defer buffer.Put(b)
	pages := s.at().pages
	known := pages
	if size := s.Super().AgreedSize; size > 0 {
		known = pagesFor(size) // what lies behind the volume's end need not be saved ever
	}
	for page := range pages {
		part := s.part(words, page)
		if s.dev.ReadAt(b, s.pageAt(page)) != nil || !s.decodePage(b, page, part) {
			fill(part)
			if page < known {
				damaged++
			}
		}
	}
	s.trim(words)
	return words, damaged
}

// SaveBitmap writes the whole bitmap and makes it stable. words may be shorter
// than Words(): the rest is zero.
func (s *Store) SaveBitmap(words []uint64) error {
	return s.SaveBitmapRange(words, block.Range{Off: 0, Len: s.at().data})
}

// SaveBitmapRange writes the pages that hold the bits of r, a range of the
// volume, and makes them stable. words is the whole bitmap, or as much of it as is
// not zero, and must not change meanwhile.
func (s *Store) SaveBitmapRange(words []uint64, r block.Range) error {
	if len(words) > s.Words() {
		return fmt.Errorf("save bitmap: it has %d words, there is room for %d", len(words), s.Words())
	}
	if r.Empty() {
		return nil
	}
	s.bitmapMu.Lock()
	defer s.bitmapMu.Unlock()
	if err := s.usable(); err != nil {
		return fmt.Errorf("save bitmap: %w", err)
	}
	s.saves++
	b := buffer.Get(pageSize)
	defer buffer.Put(b)
	last := min(int((r.End()-1)/block.Size/pageBits), s.at().pages-1)
	for page := int(r.Off / block.Size / pageBits); page <= last; page++ {
		s.encodePage(b, page, s.part(words, page))
		if err := s.dev.WriteAt(b, s.pageAt(page)); err != nil {
			return fmt.Errorf("save bitmap: %w", err)
		}
	}
	if err := s.dev.Sync(); err != nil {
		return fmt.Errorf("save bitmap: %w", err)
	}
	return nil
}

// SavePages writes pages of the bitmap, in ascending order, and makes them
// stable. words returns what page i of them holds: its number, and PageWords
// words, or fewer if the volume ends in it.
func (s *Store) SavePages(n int, words func(i int) (page int, words []uint64)) error {
	s.bitmapMu.Lock()
	defer s.bitmapMu.Unlock()
	if err := s.usable(); err != nil {
		return fmt.Errorf("save bitmap: %w", err)
	}
	s.saves++
	b := buffer.Get(pagesRun * pageSize)
	defer buffer.Put(b)
	for i := 0; i < n; {
		first, used := 0, 0
		for ; i < n && used < pagesRun; i++ {
			page, w := words(i)
			if page < 0 || page >= s.at().pages || len(w) > PageWords {
				return fmt.Errorf("save bitmap: page %d of %d with %d words", page, s.at().pages, len(w))
			}
			if used > 0 && page != first+used {
				break
			}
			if used == 0 {
				first = page
			}
			s.encodePage(b[used*pageSize:][:pageSize], page, w)
			used++
		}
		if err := s.dev.WriteAt(b[:used*pageSize], s.pageAt(first)); err != nil {
			return fmt.Errorf("save bitmap: %w", err)
		}
	}
	if err := s.dev.Sync(); err != nil {
		return fmt.Errorf("save bitmap: %w", err)
	}
	return nil
}

// part returns the words that page holds; short for the last page, empty for a
// page behind it.
func (s *Store) part(words []uint64, page int) []uint64 {
	from := min(page*PageWords, len(words))
	return words[from:min(from+PageWords, len(words))]
}

func (s *Store) pageAt(page int) int64 { l := s.at(); return l.page(page) }

func (l *layout) page(page int) int64 { return l.bits + int64(page)*pageSize }

func (s *Store) encodePage(b []byte, page int, words []uint64) {
	clear(b)
	le.PutUint32(b[4:], uint32(page))
	le.PutUint64(b[8:], s.saves)
	for i, w := range words {
		le.PutUint64(b[pageHeader+8*i:], w)
	}
	le.PutUint32(b, s.checksumPage(b))
}

// decodePage fills words from b and reports whether b can be trusted.
func (s *Store) decodePage(b []byte, page int, words []uint64) bool {
	if le.Uint32(b) != s.checksumPage(b) || le.Uint32(b[4:]) != uint32(page) {
		return false
	}
	s.saves = max(s.saves, le.Uint64(b[8:]))
	for i := range words {
		words[i] = le.Uint64(b[pageHeader+8*i:])
	}
	return true
}

// checksumPage covers the replica's ID, so that pages of older metadata on the
// same device do not count.
func (s *Store) checksumPage(b []byte) uint32 {
	id := s.Super().ID
	return crc32.Update(crc32.Checksum(id[:], castagnoli), castagnoli, b[4:pageSize])
}

func fill(words []uint64) {
	for i := range words {
		words[i] = ^uint64(0)
	}
}

// trim clears the bits behind the last block.
func (s *Store) trim(words []uint64) {
	if rest := uint(s.at().data / block.Size % 64); rest != 0 {
		words[len(words)-1] &= 1<<rest - 1
	}
}
