package order

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestMistakes(t *testing.T) {
	nobody := []string{}
	for name, c := range map[string]struct {
		list []Item
		at   int
		says string
	}{
		"unknown":  {[]Item{{"db", nil}, {"web", []string{"dbb"}}}, 1, `"dbb" is no service of this volume; they are db, web`},
		"itself":   {[]Item{{"db", []string{"db"}}}, 0, "db cannot wait for itself"},
		"twice":    {[]Item{{"db", nil}, {"web", []string{"db", "db"}}}, 1, "db is named twice"},
		"circle":   {[]Item{{"a", []string{"c"}}, {"b", []string{"a"}}, {"c", []string{"b"}}}, 0, "a waits for c, c waits for b, b waits for a"},
		"the list": {[]Item{{"a", []string{"b"}}, {"b", nil}}, 0, "b waits for a (it follows it in the list; `after: []`"},
		"behind":   {[]Item{{"x", nobody}, {"a", []string{"b"}}, {"b", []string{"a", "x"}}}, 1, "a waits for b, b waits for a"},
	} {
		_, err := Of(c.list)
		var e *Error
		if !errors.As(err, &e) || e.At != c.at || !strings.Contains(e.Text, c.says) {
			t.Errorf("%s: %+v (%v)", name, e, err)
		}
	}
}

func TestTurns(t *testing.T) {
	plan, err := Of([]Item{{"db", nil}, {"app", nil}, {"web", nil}, {"files", []string{}}, {"scan", []string{"files", "db"}}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][2]int{{3, 1}, {2, 2}, {1, 3}, {2, 1}, {1, 2}} {
		if up, down := plan.Start().Turns(i), plan.Stop().Turns(i); up != want[0] || down != want[1] {
			t.Errorf("%s: %d turns from its start on, %d from its stop, want %v", plan.Name(i), up, down, want)
		}
	}
}

// runs is what the enumeration drives: a Run, or a mutant of one.
type runs interface {
	Next() []int
	Ended(i int, ok bool)
	GiveUp()
	Over() bool
	Held() []int
}

// play is one path through a run: what was done so far.
type play struct {
	plan     *Plan
	starting bool
	make     func(*Plan) runs
}

// step is the end of one service, or (at < 0) the end of the time.
type step struct {
	at int
	ok bool
}

// again repeats a path from the beginning; it returns the run, each service's phase
// as the one who drives it sees it, and what is wrong.
func (p play) again(path []step) (r runs, at []phase, wrong string) {
	r, at = p.make(p.plan), make([]phase, len(p.plan.names))
	over := false
	begin := func() string {
		for _, i := range r.Next() {
			if why := p.mayBegin(i, at, over); why != "" {
				return why
			}
			at[i] = begun
		}
		return ""
	}
	if wrong = begin(); wrong != "" {
		return r, at, wrong
	}
	for _, s := range path {
		if s.at < 0 {
			r.GiveUp()
			over = true
		} else {
			r.Ended(s.at, s.ok)
			at[s.at] = failed
			if s.ok {
				at[s.at] = well
			}
		}
		if wrong = begin(); wrong != "" {
			return r, at, wrong
		}
	}
	return r, at, p.standsWell(r, at, over)
}

func (p play) mayBegin(i int, at []phase, over bool) string {
	switch {
	case over:
		return "began after the run was given up"
	case at[i] != waits:
		return "began twice"
	case !p.free(i, at):
		return "began too early"
	}
	return ""
}

// free says by the plan alone, not by the run, whether i may begin.
func (p play) free(i int, at []phase) bool {
	for j := range at {
		if p.starting && slices.Contains(p.plan.needs[i], j) && at[j] != well {
			return false
		}
		if !p.starting && slices.Contains(p.plan.needs[j], i) && at[j] < well {
			return false
		}
	}
	return true
}

func (p play) standsWell(r runs, at []phase, over bool) string {
	for i := range at {
		if at[i] == waits && !over && p.free(i, at) {
			return "waits for nobody"
		}
	}
	if idle := !slices.Contains(at, begun); r.Over() != idle {
		return "is wrong about its end"
	}
	var held []int
	for i, ph := range at {
		if ph == waits {
			held = append(held, i)
		}
	}
	if !slices.Equal(r.Held(), held) {
		return "is wrong about who did not begin"
	}
	if r.Over() && !p.starting && !over && len(held) > 0 {
		return "left one running"
	}
	return ""
}

// explore follows every order of ends, good and bad, with the end of the time at
// every moment; it returns the first wrong path.
func (p play) explore(seen map[string]bool, path []step) string {
	_, at, wrong := p.again(path)
	if wrong != "" {
		return wrong
	}
	over := slices.ContainsFunc(path, func(s step) bool { return s.at < 0 })
	key := make([]byte, 0, len(at)+1)
	for _, ph := range at {
		key = append(key, byte('0'+ph))
	}
	if over {
		key = append(key, '!')
	}
	if seen[string(key)] {
		return ""
	}
	seen[string(key)] = true
	var next []step
	for i, ph := range at {
		if ph == begun {
			next = append(next, step{i, true}, step{i, false})
		}
	}
	if !over {
		next = append(next, step{at: -1})
	}
	for _, s := range next {
		if wrong := p.explore(seen, append(slices.Clip(path), s)); wrong != "" {
			return wrong
		}
	}
	return ""
}

// plans calls f with every plan of up to most services that can be followed.
func plans(most int, f func(*Plan)) (followed, refused int) {
	names := []string{"a", "b", "c", "d"}
	for n := 1; n <= most; n++ {
		// For each service: no word (the one before it), or any set of all services.
		choices := 1 + 1<<n
		for code := 0; code < pow(choices, n); code++ {
			list, rest := make([]Item, n), code
			for i := range list {
				list[i] = Item{Name: names[i], After: choice(rest%choices, names[:n])}
				rest /= choices
			}
			plan, err := Of(list)
			if err != nil {
				refused++
				continue
			}
			followed++
			f(plan)
		}
	}
	return followed, refused
}

func choice(c int, names []string) []string {
	if c == 0 {
		return nil
	}
	after := []string{}
	for i, name := range names {
		if (c-1)&(1<<i) != 0 {
			after = append(after, name)
		}
	}
	return after
}

func pow(base, n int) int {
	p := 1
	for range n {
		p *= base
	}
	return p
}

func TestEveryRunOfEveryPlan(t *testing.T) {
	done := map[string]bool{} // many lists mean the same
	followed, refused := plans(4, func(plan *Plan) {
		key := shape(plan)
		if done[key] {
			return
		}
		done[key] = true
		for _, starting := range []bool{true, false} {
			p := play{plan, starting, func(p *Plan) runs { return honest(p, starting) }}
			if wrong := p.explore(map[string]bool{}, nil); wrong != "" {
				t.Fatalf("plan %v, starting %v: one %s", plan.needs, starting, wrong)
			}
		}
	})
	t.Logf("%d lists followed, %d refused, %d different plans", followed, refused, len(done))
	if len(done) != 1+3+25+543 { // the directed graphs without a circle over 1 to 4 services
		t.Errorf("%d different plans", len(done))
	}
}

func shape(p *Plan) string {
	var b strings.Builder
	for _, needs := range p.needs {
		b.WriteByte('|')
		for i := range p.needs {
			if slices.Contains(needs, i) {
				b.WriteByte(byte('0' + i))
			}
		}
	}
	return b.String()
}

func honest(p *Plan, starting bool) *Run {
	if starting {
		return p.Start()
	}
	return p.Stop()
}

// TestMutants: the enumeration finds runs that are wrong.
func TestMutants(t *testing.T) {
	for name, c := range map[string]struct {
		starting bool
		make     func(*Plan) runs
	}{
		"starts in spite of a failure": {true, func(p *Plan) runs { r := p.Start(); r.strict = false; return r }},
		"starts all at once":           {true, func(p *Plan) runs { r := p.Start(); r.first = make([][]int, len(p.names)); return r }},
		"stops as it starts":           {false, func(p *Plan) runs { r := p.Stop(); r.first = p.needs; return r }},
		"a failed stop holds back":     {false, func(p *Plan) runs { r := p.Stop(); r.strict = true; return r }},
		"goes on after the time":       {true, func(p *Plan) runs { return deaf{p.Start()} }},
		"one at a time":                {true, func(p *Plan) runs { return &single{p.Start()} }},
	} {
		found := false
		plans(3, func(plan *Plan) {
			if found {
				return
			}
			p := play{plan, c.starting, c.make}
			found = p.explore(map[string]bool{}, nil) != ""
		})
		if !found {
			t.Errorf("%s: not found", name)
		}
	}
}

type deaf struct{ *Run }

func (deaf) GiveUp() {}

type single struct{ *Run }

func (s *single) Next() []int {
	if !s.Over() {
		return nil
	}
	now := s.Run.Next()
	for _, i := range now[min(1, len(now)):] {
		s.at[i] = waits
		s.underWay--
	}
	return now[:min(1, len(now))]
}
