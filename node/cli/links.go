package cli

import (
	"fmt"
	"time"

	"gemel/node/api"
	"gemel/node/replicator/control"
)

// connections writes the links of the volume's connection, if there are several.
func (o *screen) connections(v *api.Volume) {
	for i := range v.Paths {
		if len(v.Paths) > 1 {
			o.path(&v.Paths[i], i == 0)
		}
	}
	if v.Plain {
		o.trouble("", "NOT ENCRYPTED: whoever reaches the links can read and change the volume (replication.encryption)")
	}
}

func (o *screen) path(p *control.Path, first bool) {
	label, text, colour := "", p.Name+": "+p.State, o.paint.dim
	if first {
		label = "links"
	}
	switch {
	case p.State == control.PathInUse:
		colour = o.paint.good
	case p.Reason != "":
		text, colour = text+", "+p.Reason, o.paint.warn
	}
	if p.RTT > 0 && p.State != control.PathDown {
		text += ", round trip " + span(p.RTT)
	}
	if p.Moves > 0 {
		text += fmt.Sprintf(", moved here %d times", p.Moves)
	}
	o.item(label, text, colour)
}

// renderLinks shows how the other node is heard, link by link.
func renderLinks(s *api.Status, color bool) string {
	out := &screen{paint: paint{color}}
	out.line("Links of %s to %s at %s.", s.Node, orNobody(s.Peer.Name), clock(s.Time))
	peer := out.paint.good("alive")
	if !s.Peer.Alive {
		peer = out.paint.bad(heard(false, "", "SILENT", s.Peer.LastSeen, s.Time))
	}
	out.line("%s is %s. Since this agent's start: %s, %s.", orNobody(s.Peer.Name), peer,
		failures(s.Peer.Minor, "minor failure", s.Peer.LastMinor), failures(s.Peer.Major, "MAJOR failure", s.Peer.LastMajor))
	out.line("")
	out.line("%s%s%s%s%s%s", pad("link", 12), pad("heartbeats", 16), pad("missed", 8), pad("phi", 7), pad("round trip", 12), "failures")
	for _, l := range s.Links {
		state, colour := linkState(out.paint, &l)
		trip := "-"
		if l.Up && l.RTT > 0 {
			trip = span(l.RTT)
		}
		out.line("%s%s%s%s%s%s", pad(l.Name, 12), colour(pad(state, 16)), pad(fmt.Sprint(l.Missed), 8),
			pad(fmt.Sprintf("%.1f", l.Phi), 7), pad(trip, 12), failures(l.Minor, "minor failure", l.LastMinor))
	}
	out.line("")
	out.line("phi is how unlikely the present silence is on a link that is well: 1 is one of ten, 8 one of a")
	out.line("hundred million. It is only shown; decisions go by timing.minor-beats and timing.major.")
	return out.String()
}

func failures(n int, what string, last time.Time) string {
	if n != 1 {
		what += "s"
	}
	switch {
	case n == 0:
		return "no " + what
	case last.IsZero():
		return fmt.Sprintf("%d %s", n, what)
	}
	return fmt.Sprintf("%d %s (last %s)", n, what, last.Local().Format("2006-01-02 15:04:05"))
}
