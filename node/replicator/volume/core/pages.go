package core

import (
	"math/bits"
	"time"

	"gemel/node/block"
)

// This file keeps the bitmap on stable storage, page by page.

const (
	pageWords  = 510              // words of a page, if the configuration does not say
	pagesMost  = 128              // pages of one save
	sweepEvery = 10 * time.Second // bits that were cleared are cleared on stable storage
)

// Page is a page of the bitmap as it is to be saved.
type Page struct {
	Number int
	Words  []uint64
}

// pages is the state of the bitmap's pages.
type pages struct {
	words  int   // of one
	bytes  int64 // of the volume under one
	all    []page
	taken  uint64 // number of the newest snapshot
	whole  uint64 // snapshot of the whole bitmap that is being saved
	under  bool   // a save is under way
	wanted bool   // another one is due
	images []Page // being saved
	chosen []int  // of each page: the number of its image, from 1
	saving uint64 // their snapshot
	saved  int64  // bits on stable storage
	cursor int    // of the sweep; len(all): it is over
	due    time.Duration
}

type page struct {
	set    uint64 // snapshot that covers bits which no extent of the log covers
	stable uint64 // newest snapshot of it on stable storage
	count  int64  // bits of what is there
}

// newPages lays out the pages of the bitmap as it is. With trusted, stable
// storage holds the same.
func (c *Core) newPages(trusted bool) {
	words := c.cfg.PageWords
	if words == 0 {
		words = pageWords
	}
	n := (len(c.dirty.Words()) + words - 1) / words
	p := &c.pages
	*p = pages{words: words, bytes: int64(words) * 64 * block.Size, all: make([]page, n), chosen: make([]int, n), cursor: n,
		taken: p.taken + 1, under: p.under, saving: p.saving, whole: p.whole}
	for i := range p.all {
		p.all[i] = page{stable: p.taken, count: c.countPage(i)}
		if !trusted {
			p.all[i].set = p.taken + 1
		}
		p.saved += p.all[i].count
	}
}

func (c *Core) countPage(i int) (n int64) {
	for _, w := range c.pageWords(i) {
		n += int64(bits.OnesCount64(w))
	}
	return n
}

func (c *Core) pageWords(i int) []uint64 {
	words := c.dirty.Words()
	return words[i*c.pages.words : min((i+1)*c.pages.words, len(words))]
}

// span returns the first and the last page of r.
func (p *pages) span(r block.Range) (first, last int) {
	return int(r.Off / p.bytes), min(int((r.End()-1)/p.bytes), len(p.all)-1)
}

// covered reports whether stable storage holds the pages of r as of snapshot.
func (p *pages) covered(r block.Range, snapshot uint64) bool {
	first, last := p.span(r)
	for i := first; i <= last; i++ {
		if p.all[i].stable < snapshot {
			return false
		}
	}
	return true
}

// setAll marks every block; until all pages are saved the metadata says so.
func (c *Core) setAll() {
	c.dirty.SetAll()
	for i := range c.pages.all {
		c.pages.all[i].set = c.pages.taken + 1
	}
	c.meta.BitmapValid = false
}

// orBits marks what the peer's bitmap marks.
func (c *Core) orBits(first int, words []uint64) {
	c.dirty.Or(first, words)
	p := &c.pages
	for i := first / p.words; i <= (first+len(words)-1)/p.words && i < len(p.all); i++ {
		p.all[i].set = p.taken + 1
	}
}

// need says that the pages of r have bits that no extent of the log covers.
func (p *pages) need(r block.Range) {
	first, last := p.span(r)
	for i := first; i <= last; i++ {
		p.all[i].set = p.taken + 1
	}
}

// bitsKept reports whether stable storage names all marked blocks: by their
// pages, by the log, or by saying that no page counts.
func (c *Core) bitsKept() bool {
	return !c.meta.BitmapValid || !c.unkept()
}

// savePages asks for a save of the pages that need one.
func (c *Core) savePages() {
	if c.pages.under {
		c.pages.wanted = true
		return
	}
	c.pages.under, c.pages.wanted = true, false
	c.emit(Action{Kind: SavePages})
}

// Pages returns the pages to store when SavePages was asked for, in ascending
// order: first those that something waits for, then those in which bits were
// cleared. It may return none. They stay as they are until PagesSaved.
func (c *Core) Pages() []Page {
	p := &c.pages
	p.images = p.images[:0]
	clear(p.chosen)
	left := pagesMost
	choose := func(i int) {
		if left > 0 && p.chosen[i] == 0 {
			p.chosen[i] = 1
			left--
		}
	}
	for i := range p.all {
		if p.all[i].set > p.all[i].stable {
			choose(i)
		}
	}
	if c.hot.stuck || c.hot.retiring {
		c.hot.log.EachIdle(func(slot int, extent uint32) bool {
			first, last := p.span(c.extentRange(extent))
			for i := first; i <= last; i++ {
				if p.all[i].stable < c.hot.marks[slot].bits {
					choose(i)
				}
			}
			return left > 0
		})
	}
	for ; p.cursor < len(p.all) && left > 0; p.cursor++ {
		if p.all[p.cursor].count > c.countPage(p.cursor) {
			choose(p.cursor)
		}
	}
	p.taken++
	p.saving = p.taken
	c.copyPages()
	return p.images
}

// copyPages makes the images, with the bits of what a resync or a write has
// under way, what a resync could not read, and what the peer may lose with its
// power.
func (c *Core) copyPages() {
	p := &c.pages
	for i := range p.chosen {
		if p.chosen[i] != 0 {
			p.images = append(p.images, Page{Number: i, Words: append([]uint64(nil), c.pageWords(i)...)})
			p.chosen[i] = len(p.images)
		}
	}
	for _, q := range c.active {
		p.add(q.r)
	}
	for _, q := range c.waiting {
		if q.kind == copying {
			p.add(q.r)
		}
	}
	c.omitted.each(p.add)
	for _, r := range c.closing {
		p.add(r)
	}
	for _, r := range c.unstable {
		p.add(r)
	}
}

// add sets the bits of r in the images.
func (p *pages) add(r block.Range) {
	if r.Empty() {
		return
	}
	for i, last := p.span(r); i <= last; i++ {
		if p.chosen[i] == 0 {
			continue
		}
		image := p.images[p.chosen[i]-1]
		base := int64(i) * int64(p.words) * 64
		first := max(r.Off/block.Size-base, 0)
		end := min(r.End()/block.Size-base, int64(len(image.Words))*64)
		for ; first < end; first++ {
			image.Words[first/64] |= 1 << (first % 64)
		}
	}
}

// PagesSaved tells that the pages are on stable storage.
func (c *Core) PagesSaved(now time.Duration, err error) {
	p := &c.pages
	p.under = false
	if err != nil {
		c.metadataFailed(now, err)
		return
	}
	for _, image := range p.images {
		at := &p.all[image.Number]
		p.saved -= at.count
		at.stable, at.count = p.saving, 0
		for _, w := range image.Words {
			at.count += int64(bits.OnesCount64(w))
		}
		p.saved += at.count
	}
	c.pagesKept()
	c.hot.freed = true
	c.begin(now)
	c.feed(now)
	if p.wanted || c.primary && (p.cursor < len(p.all) || c.unkept()) {
		c.savePages()
	}
}

// unkept reports whether a page has bits that stable storage lacks.
func (c *Core) unkept() bool {
	for i := range c.pages.all {
		if p := &c.pages.all[i]; p.set > p.stable {
			return true
		}
	}
	return false
}

// pagesKept says in the metadata that the pages count, once all of them do.
func (c *Core) pagesKept() {
	if c.primary && !c.meta.BitmapValid && !c.unkept() {
		c.meta.BitmapValid = true
		c.persist()
	}
}

// sweep clears bits on stable storage that were cleared here, now and then.
func (c *Core) sweep(now time.Duration) {
	p := &c.pages
	if now < p.due || p.under {
		return
	}
	p.due = now + sweepEvery
	if p.saved > (c.dirty.Bytes()+c.omitted.bytes)/block.Size {
		p.cursor = 0
	}
	if p.cursor < len(p.all) || c.unkept() {
		c.savePages()
	}
}

// Bitmap returns the words to store when SaveBitmap was asked for; a copy.
func (c *Core) Bitmap() []uint64 {
	p := &c.pages
	p.taken++
	p.whole = p.taken
	p.saved = 0
	for i := range p.all {
		p.all[i].count = c.countPage(i)
		p.saved += p.all[i].count
	}
	return append([]uint64(nil), c.dirty.Words()...)
}

// wholeSaved tells that the last Bitmap is on stable storage.
func (c *Core) wholeSaved() {
	for i := range c.pages.all {
		c.pages.all[i].stable = max(c.pages.all[i].stable, c.pages.whole)
	}
}
