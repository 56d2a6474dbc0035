package agent

import (
	"cmp"
	"slices"

	"gemel/node/api"
)

// said is what this node says of its volumes, and how much of it the peer has.
// Every change of a word gets the next version.
type said struct {
	words     []api.BeatVolume // by number of the owner
	version   uint64           // of the newest change
	confirmed uint64           // the peer has all up to here
}

func newSaid(volumes int) said { return said{words: make([]api.BeatVolume, volumes)} }

// note takes the present word on a volume.
func (s *said) note(i int, word api.BeatVolume) {
	word.Version = s.words[i].Version
	if word == s.words[i] && word.Version != 0 {
		return
	}
	s.version++
	word.Version = s.version
	s.words[i] = word
}

// fill puts into a beat what the peer does not have.
func (s *said) fill(b *api.Beat) {
	b.Since, b.Upto = s.confirmed, s.version
	for i := range s.words {
		if s.words[i].Version > s.confirmed {
			b.Volumes = append(b.Volumes, s.words[i])
		}
	}
	if len(b.Volumes) <= api.MaxBeatVolumes {
		return
	}
	slices.SortFunc(b.Volumes, func(x, y api.BeatVolume) int { return cmp.Compare(x.Version, y.Version) })
	b.Volumes, b.More = b.Volumes[:api.MaxBeatVolumes], true
	b.Upto = b.Volumes[api.MaxBeatVolumes-1].Version
}

// heard is what the peer's agent said of its volumes since its start.
type heard struct {
	words map[string]api.BeatVolume
	upto  uint64 // all changes up to this version are in words
	whole bool   // words has every volume that the peer knows
}

// take takes a beat's words in and returns which are new. Beats overtake each other
// on different links: an older word does not replace a newer one, and a beat that
// begins above what is known brings nothing that could be relied on.
func (h *heard) take(b *api.Beat) (changed map[string]bool) {
	if b.Since > h.upto {
		return nil
	}
	for _, w := range b.Volumes {
		if w.Version <= h.words[w.Name].Version {
			continue
		}
		if changed == nil {
			changed = map[string]bool{}
		}
		h.words[w.Name], changed[w.Name] = w, true
	}
	h.upto = max(h.upto, b.Upto)
	h.whole = h.whole || !b.More
	return changed
}
