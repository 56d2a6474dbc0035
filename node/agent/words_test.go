package agent

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/failover"
	"gemel/node/replicator/control"
)

// speaker is one side of an exchange of words without a network.
type speaker struct {
	mine   said
	theirs heard
	words  []api.BeatVolume
}

func newSpeaker(volumes int) *speaker {
	s := &speaker{mine: newSaid(volumes), theirs: heard{words: map[string]api.BeatVolume{}}, words: make([]api.BeatVolume, volumes)}
	for i := range s.words {
		s.words[i].Name = fmt.Sprintf("v%d", i)
	}
	return s
}

func (s *speaker) beat() api.Beat {
	for i, w := range s.words {
		s.mine.note(i, w)
	}
	b := api.Beat{Has: s.theirs.upto}
	s.mine.fill(&b)
	return b
}

func (s *speaker) take(b api.Beat) {
	s.mine.confirmed = max(s.mine.confirmed, b.Has)
	s.theirs.take(&b)
}

// Whatever is lost, late or twice: what one side knows was said, is never replaced
// by something older, and is complete once beats come through.
func TestWordsArriveOverABadNetwork(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		const volumes = 256
		a, b := newSpeaker(volumes), newSpeaker(volumes)
		var late []api.Beat
		for range 300 {
			for range r.IntN(40) {
				a.words[r.IntN(volumes)].Epoch++
			}
			sent := a.beat()
			if len(sent.Volumes) > api.MaxBeatVolumes {
				t.Fatalf("%d volumes in one beat", len(sent.Volumes))
			}
			late = append(late, sent)
			for i := range late {
				if r.IntN(3) == 0 {
					b.take(late[i])
				}
			}
			if len(late) > 5 {
				late = late[1:]
			}
			if r.IntN(3) == 0 {
				a.take(b.beat())
			}
			for i, w := range a.words {
				if got := b.theirs.words[w.Name]; got.Epoch > w.Epoch {
					t.Fatalf("seed %d: volume %d: heard %d, said %d", seed, i, got.Epoch, w.Epoch)
				}
			}
		}
		for range volumes/api.MaxBeatVolumes + 2 {
			b.take(a.beat())
			a.take(b.beat())
		}
		for _, w := range a.words {
			if got := b.theirs.words[w.Name]; got.Epoch != w.Epoch || !b.theirs.whole {
				t.Fatalf("seed %d: %s: heard %d, said %d, whole %v", seed, w.Name, got.Epoch, w.Epoch, b.theirs.whole)
			}
		}
		if quiet := a.beat(); len(quiet.Volumes) != 0 {
			t.Errorf("seed %d: %d words are repeated although nothing changed", seed, len(quiet.Volumes))
		}
	}
}

// A side that started anew has nothing, and gets everything.
func TestWordsBeginAnewAfterARestart(t *testing.T) {
	a, b := newSpeaker(3), newSpeaker(3)
	for range 2 {
		b.take(a.beat())
		a.take(b.beat())
	}
	b = newSpeaker(3)
	b.take(a.beat()) // it builds on what only the former b had
	if len(b.theirs.words) != 0 || b.theirs.whole {
		t.Errorf("took %v from a beat with a gap before it", b.theirs)
	}
	a.mine.confirmed = 0 // as with a new boot
	b.take(a.beat())
	if len(b.theirs.words) != 3 || !b.theirs.whole {
		t.Errorf("after the whole list: %v", b.theirs)
	}
}

func TestAWholeListNeedsSeveralBeatsOnly(t *testing.T) {
	b := api.Beat{Node: strings.Repeat("n", 64), Boot: strings.Repeat("b", 32), Seq: 1 << 60, Link: strings.Repeat("l", 64), Has: 1 << 60}
	for range api.MaxBeatVolumes {
		b.Volumes = append(b.Volumes, api.BeatVolume{Version: 1 << 60, Name: strings.Repeat("v", 64), Role: control.Secondary,
			Phase: "taking over: claim and announce the addresses", Disk: control.Inconsistent, Epoch: 1 << 60,
			Chosen: arbiter.Accepted{Epoch: 1 << 60, Version: 1 << 31, Set: 3}, MayLack: "A", Serving: true, Leaving: true, Fit: true})
	}
	if raw, err := json.Marshal(b); err != nil || len(raw) > api.MaxRequest {
		t.Errorf("%d volumes take %d bytes of %d: %v", len(b.Volumes), len(raw), api.MaxRequest, err)
	}
}

// Before the first whole list, a volume that was not named yet is not taken for
// one that the peer does not have.
func TestAVolumeIsNotUnknownBeforeTheListIsWhole(t *testing.T) {
	s := newStage(t, nil)
	part := peerBeat(1, "lan", api.BeatVolume{Name: "other"})
	part.More = true
	if _, err := s.agent.takeBeat("server2", part); err != nil {
		t.Fatal(err)
	}
	if events := s.owner.box.take(); len(events) != 0 {
		t.Errorf("events %+v of half a list", events)
	}
	rest := peerBeat(2, "lan")
	rest.Since = 1
	if _, err := s.agent.takeBeat("server2", rest); err != nil {
		t.Fatal(err)
	}
	events := s.owner.box.take()
	if len(events) != 1 || events[0].(failover.Beat).Peer.Fit {
		t.Errorf("events %+v after the whole list", events)
	}
}
