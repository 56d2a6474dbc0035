package volume

import (
	"gemel/node/replicator/meta"
	"gemel/node/replicator/volume/core"
)

// keepLog is the only writer of the activity log: a cold write waits for it and
// for nothing else.
func (v *Volume) keepLog() {
	defer v.running.Done()
	v.mu.Lock()
	defer v.mu.Unlock()
	for {
		for !v.closed && !v.logWanted {
			v.logReady.Wait()
		}
		if !v.logWanted {
			return
		}
		v.logWanted = false
		t := v.core.Transaction()
		v.mu.Unlock()
		err := v.o.Store.WriteLog(t)
		v.mu.Lock()
		v.core.Logged(Now(), err)
		v.run()
		v.changes.Broadcast()
	}
}

// keepBits is the only writer of the bitmap.
func (v *Volume) keepBits() {
	defer v.running.Done()
	v.mu.Lock()
	defer v.mu.Unlock()
	for {
		for !v.closed && !v.saveWanted && !v.pagesWanted {
			v.bitsReady.Wait()
		}
		switch {
		case v.saveWanted:
			v.saveBitmap()
		case v.pagesWanted:
			v.savePages()
		default:
			return
		}
		v.changes.Broadcast()
	}
}

// saveBitmap stores the whole bitmap once the data it speaks of is stable.
func (v *Volume) saveBitmap() {
	v.saveWanted = false
	words := v.core.Bitmap()
	words = append(words, make([]uint64, max(v.o.Store.Words()-len(words), 0))...)[:v.o.Store.Words()]
	v.mu.Unlock()
	err := v.o.Disk.Sync()
	if err == nil {
		err = v.o.Store.SaveBitmap(words)
	}
	v.mu.Lock()
	v.core.BitmapSaved(err)
	v.run()
}

func (v *Volume) savePages() {
	v.pagesWanted = false
	pages := v.core.Pages()
	v.mu.Unlock()
	err := SavePages(v.o.Store, pages)
	v.mu.Lock()
	v.core.PagesSaved(Now(), err)
	v.run()
}

// SavePages stores what the core wants stored; for another shell as well.
func SavePages(s *meta.Store, pages []core.Page) error {
	if len(pages) == 0 {
		return nil
	}
	return s.SavePages(len(pages), func(i int) (int, []uint64) { return pages[i].Number, pages[i].Words })
}
