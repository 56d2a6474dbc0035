package tour

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Screen prints lines and, below them, one bar that moves. On a terminal the bar is
// redrawn in place; elsewhere it becomes a line every ten per cent. For one
// goroutine at a time.
type Screen struct {
	out      io.Writer
	terminal bool
	width    int
	bar      string // as it stands at the bottom of the terminal
	tenth    int    // last tenth printed where there is no terminal
}

// NewScreen returns a screen of at most 100 columns; width 0 means that out is no
// terminal.
func NewScreen(out io.Writer, width int) *Screen {
	s := &Screen{out: out, terminal: width > 0, width: 96, tenth: -1}
	if width > 0 {
		s.width = max(60, min(width, 100))
	}
	return s
}

// style is how a terminal shows a text; nothing elsewhere.
type style string

const (
	plain  style = ""
	bold   style = "\x1b[1m"
	dim    style = "\x1b[2m"
	yellow style = "\x1b[33m"
	red    style = "\x1b[1;31m"
	green  style = "\x1b[32m"
)

func (s *Screen) paint(as style, text string) string {
	if !s.terminal || as == plain {
		return text
	}
	return string(as) + text + "\x1b[0m"
}

// Head prints a heading.
func (s *Screen) Head(text string) {
	s.Line("")
	s.Line(s.paint(bold, text))
	s.Line(s.paint(dim, strings.Repeat("-", min(s.width, 80))))
}

// Line prints a line above the bar.
func (s *Screen) Line(text string) {
	if s.bar != "" {
		s.print("\r\x1b[K")
	}
	s.print(text + "\n" + s.bar)
}

// Text prints a paragraph.
func (s *Screen) Text(text string) {
	for _, line := range wrap(text, s.width) {
		s.Line(line)
	}
}

// Told prints a text behind a time and a name, broken into lines that fit.
func (s *Screen) Told(at, who string, as style, text string) {
	const margin = 20
	for i, part := range wrap(text, s.width-margin) {
		if i > 0 {
			at, who = "", ""
		}
		s.Line(s.paint(dim, fmt.Sprintf("%9s", at)) + fmt.Sprintf("  %-9s", who) + s.paint(as, part))
	}
}

// wrap breaks a text at spaces into lines of at most width columns, longer words apart.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// Bar moves the bar.
func (s *Screen) Bar(p Progress) {
	if s.terminal {
		s.bar = p.render(s.width - 1)
		s.print("\r\x1b[K" + s.bar)
		return
	}
	if tenth := int(p.part() * 10); tenth != s.tenth {
		s.tenth = tenth
		s.print(p.render(s.width-1) + "\n")
	}
}

// EndBar leaves the bar where it stands.
func (s *Screen) EndBar() {
	if s.bar != "" {
		s.print("\n")
	}
	s.bar, s.tenth = "", -1
}

// print ignores errors: a tour whose reader left has nobody to tell.
func (s *Screen) print(text string) { _, _ = io.WriteString(s.out, text) }

// Progress is what a bar shows.
type Progress struct {
	Label       string
	Done, Total int64 // bytes
	Rate        int64 // bytes per second
	Left        time.Duration
}

func (p Progress) part() float64 {
	if p.Total <= 0 {
		return 0
	}
	return min(1, float64(p.Done)/float64(p.Total))
}

// render draws the bar; its length is what the words leave of width.
func (p Progress) render(width int) string {
	left := fmt.Sprintf("%3.0f s left", p.Left.Seconds())
	switch {
	case p.Done >= p.Total:
		left = "done"
	case p.Rate == 0:
		left = "starting"
	}
	words := fmt.Sprintf(" %3.0f %%  %4d of %d MB  %3d MB/s  %-10s",
		100*p.part(), p.Done/1e6, p.Total/1e6, p.Rate/1e6, left)
	length := max(10, min(40, width-len(p.Label)-3-len(words)))
	full := int(p.part() * float64(length))
	return p.Label + " [" + strings.Repeat("#", full) + strings.Repeat(".", length-full) + "]" + strings.TrimRight(words, " ")
}
