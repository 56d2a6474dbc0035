package cli

import (
	"fmt"
	"strings"
	"time"

	"gemel/node/api"
	"gemel/node/replicator/control"
)

const (
	width      = 98 // columns
	labelWidth = 12
	boxWidth   = 30
	barWidth   = 24
)

// screen collects the lines of a status.
type screen struct {
	strings.Builder
	paint paint
}

// renderStatus shows one box's whole view on one screen.
func renderStatus(s *api.Status, color bool) string {
	out := &screen{paint: paint{color}}
	if s.Role == "witness" {
		out.witness(s)
		return out.String()
	}
	out.head(s)
	out.modes(s)
	out.boxes(s)
	for i := range s.Volumes {
		out.volume(s, &s.Volumes[i])
	}
	out.links(s)
	out.fencing(s)
	out.watchdog(s)
	out.trouble("history", historyProblem(s))
	out.last(s)
	return out.String()
}

func (o *screen) line(format string, args ...any) { _, _ = fmt.Fprintf(o, format+"\n", args...) }

// item writes a label and its text, wrapped, painted line by line.
func (o *screen) item(label, text string, colour func(string) string) {
	for _, l := range wrap(text, width-labelWidth) {
		if colour != nil {
			l = colour(l)
		}
		o.line("%s%s", pad(label, labelWidth), l)
		label = ""
	}
}

func (o *screen) head(s *api.Status) {
	o.line("Cluster %s, seen from %s at %s. gemel %s, up %s.", s.Cluster, s.Node, clock(s.Time), s.Version, span(s.Uptime))
	v := judge(s)
	colour := [...]func(string) string{o.paint.good, o.paint.warn, o.paint.bad}[v.grade]
	words := wrap(strings.Join(v.words, "; ")+".", width-len(v.grade.String())-2)
	o.line("%s: %s", colour(v.grade.String()), words[0])
	for _, w := range words[1:] {
		o.line("  %s", w)
	}
	o.line("")
}

func clock(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") }

// boxes writes the three boxes side by side.
func (o *screen) boxes(s *api.Status) {
	third := "(no third voter)"
	if s.Witness.Name != "" {
		third = s.Witness.Name + " (witness)"
	}
	if s.Witness.Kind == api.ThirdEtcd {
		third = s.Witness.Name
	}
	o.line("%s%s%s%s", pad("", labelWidth), pad(s.Node+" (here)", boxWidth), pad(s.Peer.Name+" (peer)", boxWidth), third)
	peer := o.paint.good(pad(heard(s.Peer.Alive, "alive", "SILENT", s.Peer.LastSeen, s.Time), boxWidth))
	if !s.Peer.Alive {
		peer = o.paint.bad(pad(heard(false, "alive", "SILENT", s.Peer.LastSeen, s.Time), boxWidth))
	}
	w := ""
	if s.Witness.Name != "" {
		w = o.paint.good(heard(true, "reachable", "", s.Witness.LastSeen, s.Time))
		if !s.Witness.Reachable {
			w = o.paint.warn(heard(false, "", "NOT REACHABLE", s.Witness.LastSeen, s.Time))
		}
	}
	o.line("%s%s%s%s", pad("box", labelWidth), pad("agent answers", boxWidth), peer, w)
	if s.Peer.Minor+s.Peer.Major > 0 {
		o.line("%s%s%d minor, %d MAJOR failures", pad("", labelWidth), pad("", boxWidth), s.Peer.Minor, s.Peer.Major)
	}
	if s.Witness.Means != "" {
		label := strings.TrimPrefix(s.Witness.Words(), "the ") + ": "
		if s.Witness.Name == "" {
			label = "arbiter: "
		}
		o.item("", label+s.Witness.Means, nil)
	}
}

// heard says whether a box answers and since when it does not.
func heard(alive bool, yes, no string, last, now time.Time) string {
	switch {
	case alive:
		return yes
	case last.IsZero():
		return no + ", never heard"
	}
	return no + " for " + span(now.Sub(last))
}

func (o *screen) volume(s *api.Status, v *api.Volume) {
	o.line("")
	o.line("volume %s%s", v.Name, where(v))
	o.pair("role", o.role(v.Role), o.role(v.PeerRole))
	o.pair("disk", o.disk(v.Disk), o.disk(v.PeerDisk))
	o.item("replication", replication(v), o.replicationColour(v))
	o.protocol(s, v)
	o.connections(v)
	if v.FrontendWhy != "" {
		o.item("frontend", v.Frontend+", since not "+v.FrontendWhy, o.paint.dim)
	}
	if v.Resync != nil {
		o.item("resync", resync(v), o.paint.warn)
	}
	if v.Verify != nil {
		o.verify(v.Verify)
	}
	o.item("reign", reign(s, v), nil)
	if v.Phase != "" {
		o.item("doing", v.Phase, nil)
	}
	o.trouble("frozen", v.Frozen)
	if s.ReplicatorProblem == "" { // else the head line says it
		o.trouble("problem", v.Problem)
	}
	o.trouble("REFUSED", v.Refusal)
	o.trouble("without", v.Impaired)
	o.moves(v)
}

func where(v *api.Volume) string {
	text := ""
	if v.Size > 0 {
		text += ", " + size(v.Size)
	}
	if v.Device != "" {
		text += ", device " + v.Device
		if v.Frontend != "" {
			text += " (" + v.Frontend + ")"
		}
	}
	if v.Backing != "" {
		text += ", on " + v.Backing
	}
	return text
}

type word struct {
	text   string
	colour func(string) string
}

func (o *screen) pair(label string, here, peer word) {
	o.line("%s%s%s", pad(label, labelWidth), here.colour(pad(here.text, boxWidth)), peer.colour(peer.text))
}

func (o *screen) role(r string) word {
	if r == control.Primary {
		return word{r, o.paint.good}
	}
	return word{orUnknown(r), plain}
}

func plain(s string) string { return s }

func orUnknown(s string) string {
	if s == "" {
		return control.Unknown
	}
	return s
}

func (o *screen) disk(d string) word {
	switch d {
	case control.UpToDate:
		return word{d, o.paint.good}
	case control.Diskless, control.Inconsistent:
		return word{d, o.paint.bad}
	}
	return word{orUnknown(d), o.paint.warn}
}

// trouble writes a line only when there is something to say.
func (o *screen) trouble(label, text string) {
	if text != "" {
		o.item(label, text, o.paint.bad)
	}
}

func replication(v *api.Volume) string {
	text := orUnknown(v.Connection)
	if v.Connection == control.Connected && v.PeerPath != "" {
		text += " over " + v.PeerPath
	}
	if v.OutOfSync > 0 {
		text += ", " + size(v.OutOfSync) + " out of sync"
	}
	if v.Connection != control.Connected && v.ConnectionReason != "" {
		text += ": " + v.ConnectionReason
	}
	return text
}

func (o *screen) replicationColour(v *api.Volume) func(string) string {
	switch v.Connection {
	case control.Connected:
		return o.paint.good
	case control.StandAlone:
		return o.paint.bad
	}
	return o.paint.warn
}

// resync shows the bar with rate and time left.
func resync(v *api.Volume) string {
	r := v.Resync
	text := fmt.Sprintf("%s %s of %s", bar(r.Done, r.Total, barWidth), size(r.Done), size(r.Total))
	if r.Same > 0 {
		text += fmt.Sprintf(", %s the same", size(r.Same))
	}
	if r.Unreadable > 0 {
		text += fmt.Sprintf(", %s unreadable on the source at %s", size(r.Unreadable), rangeNames(r.UnreadableRanges))
	}
	if r.Unwritable > 0 {
		text += fmt.Sprintf(", %s unwritable on the target at %s", size(r.Unwritable), rangeNames(r.UnwritableRanges))
	}
	if r.Waiting != "" {
		text += ", waits: " + r.Waiting
	} else if r.Rate > 0 {
		text += fmt.Sprintf(", %s/s, %s left", size(r.Rate), span(r.ETA))
	}
	if r.Direction == "target" {
		return text + ", from peer"
	}
	return text + ", to peer"
}

func reign(s *api.Status, v *api.Volume) string {
	if v.Chosen.Epoch == 0 {
		return "none known yet"
	}
	text := fmt.Sprintf("epoch %d", v.Chosen.Epoch)
	if v.Chosen.Version > 0 {
		text += fmt.Sprintf(" version %d", v.Chosen.Version)
	}
	if v.Record.Promised > v.Chosen.Epoch {
		text += fmt.Sprintf(" (promised %d)", v.Record.Promised)
	}
	if len(v.InSyncBy) > 0 {
		text += "; in sync: " + strings.Join(v.InSyncBy, " and ")
	}
	switch {
	case v.Role != control.Primary:
		text += "; lease: held by a Primary only"
	case len(v.InSyncBy) == 1 && v.InSyncBy[0] == s.Node:
		text += "; lease: not needed, nobody else can be elected"
	case v.Lease > 0:
		text += "; lease: " + span(v.Lease) + " left"
	default:
		text += "; lease: RAN OUT"
	}
	return text
}

// moves writes what goes where the Primary is: addresses, mount, services.
func (o *screen) moves(v *api.Volume) {
	var held []string
	for _, a := range v.Addresses {
		switch {
		case a.Rival != "":
			held = append(held, a.Address+" at "+a.Holder+", and at a box with MAC "+a.Rival+" that must not have it")
		case a.Holder != "":
			held = append(held, a.Address+" at "+a.Holder)
		default:
			held = append(held, a.Address+" at nobody")
		}
	}
	if len(held) > 0 {
		o.item("address", strings.Join(held, ", "), nil)
	}
	if v.Mount != "" {
		o.item("mount", v.Mount, nil)
	} else {
		o.item("mount", "not mounted here", o.paint.dim)
	}
	var services []string
	for _, r := range v.Services {
		services = append(services, service(r))
	}
	if len(services) > 0 {
		o.item("services", strings.Join(services, ", "), nil)
	}
}

func service(r api.Running) string {
	text := r.Name + " " + r.State
	if r.State == "stopped" {
		text += " here"
	}
	if r.PID > 0 {
		text += fmt.Sprintf(" (pid %d", r.PID)
		if r.Restarts > 0 {
			text += fmt.Sprintf(", %d restarts", r.Restarts)
		}
		text += ")"
	}
	return text
}

func (o *screen) links(s *api.Status) {
	o.line("")
	label := "links"
	for _, l := range s.Links {
		state, colour := linkState(o.paint, &l)
		rtt := ""
		if l.Up && l.RTT > 0 {
			rtt = ", round trip " + span(l.RTT)
		}
		o.line("%s%s%s%s%d missed%s", pad(label, labelWidth), pad(l.Name, 10), pad(l.Local+" - "+l.Remote, 32),
			colour(pad(state, 15)), l.Missed, rtt)
		label = ""
	}
}

func linkState(p paint, l *api.LinkStatus) (string, func(string) string) {
	switch {
	case !l.Carrier:
		return "NO CABLE here", p.bad
	case !l.Up:
		return "SILENT", p.bad
	}
	return "beats arrive", p.good
}

func (o *screen) last(s *api.Status) {
	if s.LastEvent == nil {
		return
	}
	o.item("last event", s.LastEvent.Time.Format("15:04:05 ")+s.LastEvent.Text, nil)
	if s.LastEvent.Reason != "" {
		o.item("", "why: "+s.LastEvent.Reason, nil)
	}
}

// witness shows the records of a witness.
func (o *screen) witness(s *api.Status) {
	o.line("Cluster %s, witness %s at %s. gemel %s, up %s.", s.Cluster, s.Node, clock(s.Time), s.Version, span(s.Uptime))
	if len(s.Records) == 0 {
		o.line("No volume has asked for a vote yet.")
	}
	for _, r := range s.Records {
		o.line("")
		o.line("volume %s", r.Volume)
		if r.Record.Fresh {
			o.item("record", "none yet: never voted for a reign of this volume", nil)
			continue
		}
		o.item("promised", fmt.Sprintf("epoch %d: votes for older reigns are refused", r.Record.Promised), nil)
		o.item("in sync", fmt.Sprintf("%s (epoch %d version %d): only these may become Primary",
			strings.Join(r.InSyncBy, " and "), r.Record.Accepted.Epoch, r.Record.Accepted.Version), nil)
		if r.Lease > 0 {
			o.item("lease", span(r.Lease)+" left", nil)
		}
	}
}
