// Package order decides which services of a volume may start or stop next. It is a
// plain state machine: the end of one start goes in, the services that may begin now
// come out. It starts nothing and knows no time; a time-out is an end like others,
// and GiveUp.
package order

import (
	"fmt"
	"slices"
	"strings"
)

// Item is a service as the configuration has it.
type Item struct {
	Name string // unique in the list
	// After are the names of those that must be ready before this one is started. nil:
	// the one before it in the list; empty and not nil: nobody.
	After []string
}

// Error says which item's After cannot be followed.
type Error struct {
	At   int // its place in the list
	Text string
}

func (e *Error) Error() string { return e.Text }

// Plan is who waits for whom. It is never changed, and safe for concurrent use.
type Plan struct {
	names []string
	needs [][]int // must be ready before it starts
	feeds [][]int // those that need it: must have ended before it is stopped
}

// Of reads the list. The error is an *Error: an unknown name, a name twice, a service
// after itself, or services that wait for each other.
func Of(list []Item) (*Plan, error) {
	p := &Plan{needs: make([][]int, len(list)), feeds: make([][]int, len(list))}
	for _, item := range list {
		p.names = append(p.names, item.Name)
	}
	for i, item := range list {
		needs, err := p.needsOf(i, item)
		if err != nil {
			return nil, err
		}
		p.needs[i] = needs
		for _, n := range needs {
			p.feeds[n] = append(p.feeds[n], i)
		}
	}
	if circle := p.circle(); circle != nil {
		return nil, p.circleError(list, circle)
	}
	return p, nil
}

func (p *Plan) needsOf(i int, item Item) ([]int, error) {
	if item.After == nil {
		if i == 0 {
			return nil, nil
		}
		return []int{i - 1}, nil
	}
	var needs []int
	for _, name := range item.After {
		at := slices.Index(p.names, name)
		switch {
		case at == i:
			return nil, &Error{i, fmt.Sprintf("%s cannot wait for itself", name)}
		case at < 0:
			return nil, &Error{i, fmt.Sprintf("%q is no service of this volume; they are %s", name, strings.Join(p.names, ", "))}
		case slices.Contains(needs, at):
			return nil, &Error{i, fmt.Sprintf("%s is named twice", name)}
		}
		needs = append(needs, at)
	}
	return needs, nil
}

// circle returns services each of which needs the next, and the last the first; nil
// when there are none.
func (p *Plan) circle() []int {
	const seen, done = 1, 2
	marks := make([]int, len(p.names))
	var path []int
	var visit func(i int) []int
	visit = func(i int) []int {
		switch marks[i] {
		case done:
			return nil
		case seen:
			return path[slices.Index(path, i):]
		}
		marks[i], path = seen, append(path, i)
		for _, n := range p.needs[i] {
			if circle := visit(n); circle != nil {
				return circle
			}
		}
		marks[i], path = done, path[:len(path)-1]
		return nil
	}
	for i := range p.names {
		if circle := visit(i); circle != nil {
			return circle
		}
	}
	return nil
}

// circleError is told where somebody wrote something: at an item with an After.
func (p *Plan) circleError(list []Item, circle []int) *Error {
	var words []string
	at := -1
	for n, i := range circle {
		next := circle[(n+1)%len(circle)]
		text := fmt.Sprintf("%s waits for %s", p.names[i], p.names[next])
		if list[i].After == nil {
			text += " (it follows it in the list; `after: []` would change that)"
		} else if at < 0 {
			at = i
		}
		words = append(words, text)
	}
	return &Error{at, "these would wait for each other for ever: " + strings.Join(words, ", ")}
}

// Name returns the name of the item at a place of the list.
func (p *Plan) Name(i int) string { return p.names[i] }

// Start returns a run that starts every service once those it needs are ready. One
// that fails holds back all that need it, directly or not, and nobody else.
func (p *Plan) Start() *Run {
	return &Run{plan: p, first: p.needs, then: p.feeds, strict: true, at: make([]phase, len(p.names))}
}

// Stop returns a run that stops every service once those that need it have ended.
// One that fails to end holds back nobody.
func (p *Plan) Stop() *Run {
	return &Run{plan: p, first: p.feeds, then: p.needs, at: make([]phase, len(p.names))}
}
