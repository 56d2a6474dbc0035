package failover

import (
	"fmt"
	"time"
)

// detector watches the numbered heartbeats on every link. A link that misses a
// few beats is a minor failure; silence on all links for the configured time is
// a MAJOR failure, and only that may end in a fail-over (the words are the
// article's).
type detector struct {
	heartbeat  time.Duration
	minorBeats int
	majorAfter time.Duration

	links    []link
	lastSeen time.Duration // newest beat on any link
	heard    bool          // at least one beat since start
	alive    bool
	minor    int
	major    int

	lastMinor, lastMajor time.Duration // when; zero: never

	ticked time.Duration // newest tick
	stalls int           // own stalls forgiven since the newest beat
}

// stallsForgiven bounds how many stalls of this node itself may put off the word that
// the peer is silent: a box that stands still all the time must come to it, too.
const stallsForgiven = 3

type link struct {
	name    string
	last    time.Duration // newest beat on this link
	heard   bool
	up      bool
	carrier bool
	gaps    gaps

	minor     int
	lastMinor time.Duration
}

func newDetector(cfg Config) detector {
	d := detector{heartbeat: cfg.Heartbeat, minorBeats: cfg.MinorBeats, majorAfter: cfg.Major}
	for _, name := range cfg.Links {
		d.links = append(d.links, link{name: name, carrier: true})
	}
	return d
}

// beat records a heartbeat and returns what is worth telling.
func (d *detector) beat(now time.Duration, name, peer string) []Note {
	var notes []Note
	for i := range d.links {
		l := &d.links[i]
		if l.name != name {
			continue
		}
		if !l.up {
			notes = append(notes, Note{Kind: "link.up",
				Text: fmt.Sprintf("Heartbeats of %s arrive on link %s.", peer, name)})
		}
		if l.heard && l.up {
			l.gaps.add(now - l.last)
		}
		l.last, l.heard, l.up = now, true, true
	}
	d.lastSeen, d.heard, d.stalls = now, true, 0
	if !d.alive {
		d.alive = true
		notes = append(notes, Note{Kind: "peer.alive", Text: peer + " is alive."})
	}
	return notes
}

// forgive leaves the time out in which this node itself did not run, be it starved of
// its processor or suspended: it heard nothing then because it did not listen, and that
// says nothing of the peer.
func (d *detector) forgive(now time.Duration) {
	gap := now - d.ticked
	first := d.ticked == 0
	d.ticked = now
	if first || gap <= 2*d.heartbeat || d.stalls >= stallsForgiven {
		return
	}
	d.stalls++
	d.lastSeen = min(now, d.lastSeen+gap)
	for i := range d.links {
		d.links[i].last = min(now, d.links[i].last+gap)
	}
}

// tick notices beats that did not come.
func (d *detector) tick(now time.Duration, peer string) []Note {
	d.forgive(now)
	var notes []Note
	for i := range d.links {
		l := &d.links[i]
		if l.up && d.missed(now, l) >= d.minorBeats {
			d.lose(now, l)
			notes = append(notes, Note{Kind: "failure.minor",
				Text:   fmt.Sprintf("Minor failure: %s is silent on link %s.", peer, l.name),
				Reason: fmt.Sprintf("%d heartbeats of %v missed there", d.missed(now, l), d.heartbeat)})
		}
	}
	if d.alive && now-d.lastSeen >= d.majorAfter {
		d.alive = false
		d.major++
		d.lastMajor = now
		notes = append(notes, Note{Kind: "failure.major",
			Text:   fmt.Sprintf("MAJOR failure: %s is silent on every link.", peer),
			Reason: fmt.Sprintf("no heartbeat for %v", (now - d.lastSeen).Round(time.Millisecond))})
	}
	return notes
}

// setCarrier records what the NIC says; a lost cable is a minor failure at once.
func (d *detector) setCarrier(now time.Duration, name string, up bool) []Note {
	for i := range d.links {
		l := &d.links[i]
		if l.name != name || l.carrier == up {
			continue
		}
		l.carrier = up
		if up {
			return []Note{{Kind: "carrier.up", Text: fmt.Sprintf("Link %s has a cable again.", name)}}
		}
		if l.up {
			d.lose(now, l)
		}
		return []Note{{Kind: "failure.minor",
			Text: fmt.Sprintf("Minor failure: link %s lost its cable.", name), Reason: "the network card reports no carrier"}}
	}
	return nil
}

// lose counts a minor failure.
func (d *detector) lose(now time.Duration, l *link) {
	l.up, l.lastMinor, d.lastMinor = false, now, now
	l.minor++
	d.minor++
}

func (d *detector) missed(now time.Duration, l *link) int {
	if !l.heard || d.heartbeat <= 0 {
		return 0
	}
	// A beat is missed once it is half an interval late.
	return int((now - l.last - d.heartbeat/2) / d.heartbeat)
}

func (d *detector) view(now time.Duration) PeerView {
	v := PeerView{Alive: d.alive, LastSeen: d.lastSeen, Minor: d.minor, Major: d.major,
		LastMinor: d.lastMinor, LastMajor: d.lastMajor}
	for i := range d.links {
		l := &d.links[i]
		v.Links = append(v.Links, LinkView{Name: l.name, Up: l.up, Missed: max(0, d.missed(now, l)),
			Minor: l.minor, LastMinor: l.lastMinor, Phi: l.gaps.phi(now-l.last, d.heartbeat/2)})
	}
	return v
}
