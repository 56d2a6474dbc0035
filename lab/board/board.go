// Package board shows a running lab at a glance: boxes, roles, disks, links with their
// rates, who holds the address, whether a client is served, and what happened last.
//
// It only looks. What it shows of the pair are the pair's own words; what it shows of the
// hardware is seen from outside.
package board

import (
	"fmt"
	"strings"
	"time"

	"gemel/lab/cluster"
	"gemel/node/api"
	"gemel/node/event"
)

// View is one look at a lab.
type View struct {
	At     time.Time
	Lab    cluster.Status
	Nodes  map[string]api.Status // by server; one that does not answer is missing
	Rates  map[string][2]float64 // bytes per second to and from a box, by "box/switch"
	Pulse  Pulse
	Events []event.Event // the newest last
}

// Pulse is a client's last look at the cluster's address.
type Pulse struct {
	Served bool
	Took   time.Duration // of the answer
	Since  time.Duration // for which it has been so
}

// Render draws a view in at most height lines of width columns; height 0: all of it.
func Render(v View, width, height int) string {
	lines := []string{fmt.Sprintf("lab %s   %s   address %s: %s", v.Lab.Lab, v.At.UTC().Format("15:04:05"), v.Lab.VIP, pulseWords(v.Pulse)), ""}
	for _, node := range v.Lab.Nodes {
		lines = append(lines, boxLines(v, node)...)
	}
	lines = append(lines, "")
	room := len(v.Events)
	if height > 0 {
		room = min(room, max(0, height-len(lines)))
	}
	for _, e := range v.Events[len(v.Events)-room:] {
		lines = append(lines, fmt.Sprintf("%s  %-8s %s", e.Time.UTC().Format("15:04:05.000"), e.Node, e.Text))
	}
	for i, line := range lines {
		lines[i] = strings.TrimRight(cut(line, width), " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func pulseWords(p Pulse) string {
	if p.Served {
		return fmt.Sprintf("a client is served, in %.1f ms", float64(p.Took.Microseconds())/1000)
	}
	return fmt.Sprintf("NO ANSWER to a client for %.0f s", p.Since.Seconds())
}

// boxLines are a box's line and one for each of its cables.
func boxLines(v View, node cluster.NodeStatus) []string {
	state := "on"
	if !node.On {
		state = "OFF"
	}
	lines := []string{fmt.Sprintf("%-8s %-4s %s", node.Name, state, roleWords(v, node))}
	for _, sw := range cluster.Switches {
		address, ok := node.Addresses[sw]
		if !ok || !node.On {
			continue
		}
		rate := v.Rates[node.Name+"/"+sw]
		lines = append(lines, fmt.Sprintf("   %-6s %-12s in %9s  out %9s  %s", sw, address, speed(rate[0]), speed(rate[1]), cableWords(node.Cables[sw])))
	}
	return lines
}

// cableWords say what is wrong with a cable, and nothing of a good one.
func cableWords(state string) string {
	if state == "plugged" {
		return ""
	}
	return strings.ToUpper(state[:1]) + state[1:]
}

func roleWords(v View, node cluster.NodeStatus) string {
	if node.Role != cluster.Server {
		return string(node.Role)
	}
	status, ok := v.Nodes[node.Name]
	switch {
	case !node.On:
		return ""
	case !ok:
		return "its agent does not answer"
	}
	var words []string
	for _, vol := range status.Volumes {
		text := fmt.Sprintf("%s: %s, disk %s, %s", vol.Name, vol.Role, vol.Disk, vol.Connection)
		if vol.Resync != nil {
			text += ", resync runs"
		}
		for _, held := range vol.Addresses {
			if held.Held {
				text += ", holds " + held.Address
			}
		}
		if vol.Phase != "" {
			text += " (" + vol.Phase + ")"
		}
		words = append(words, text)
	}
	if node.BMC != "" && node.BMC != "good" {
		words = append(words, "power control "+node.BMC)
	}
	return strings.Join(words, "; ")
}

// speed is a rate for people, as cables are sold: in bits.
func speed(bytes float64) string {
	bits := 8 * bytes
	switch {
	case bits >= 1e6:
		return fmt.Sprintf("%.0f Mbit", bits/1e6)
	case bits >= 1e3:
		return fmt.Sprintf("%.0f kbit", bits/1e3)
	}
	return "-"
}

// cut shortens a line to width columns; 0: not at all.
func cut(line string, width int) string {
	letters := []rune(line)
	if width <= 0 || len(letters) <= width {
		return line
	}
	return string(letters[:width-1]) + "…"
}
