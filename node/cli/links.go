package cli

import (
	"fmt"

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
