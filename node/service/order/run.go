package order

// phase is how far one service is in a run.
type phase int

const (
	waits phase = iota
	begun
	well
	failed
)

// Run is one start or stop of all services of a Plan. It is not safe for concurrent
// use.
type Run struct {
	plan        *Plan
	first, then [][]int // who comes before each one, and who after it
	strict      bool    // those that come first must have ended well
	at          []phase
	underWay    int
	givenUp     bool
}

// Next returns the services that may begin now, each once, in the order of the list.
func (r *Run) Next() []int {
	var now []int
	for i := range r.at {
		if r.at[i] == waits && !r.givenUp && r.free(i) {
			r.at[i] = begun
			r.underWay++
			now = append(now, i)
		}
	}
	return now
}

func (r *Run) free(i int) bool {
	for _, f := range r.first[i] {
		if r.at[f] != well && (r.strict || r.at[f] != failed) {
			return false
		}
	}
	return true
}

// Ended notes that one that began has ended; ok: ready, or stopped.
func (r *Run) Ended(i int, ok bool) {
	if r.at[i] != begun {
		return
	}
	r.underWay--
	r.at[i] = failed
	if ok {
		r.at[i] = well
	}
}

// GiveUp lets nothing begin any more.
func (r *Run) GiveUp() { r.givenUp = true }

// Over reports that nothing is under way. After Next it means that nothing will
// begin any more.
func (r *Run) Over() bool { return r.underWay == 0 }

// Held returns the services that did not begin, in the order of the list.
func (r *Run) Held() []int {
	var held []int
	for i, p := range r.at {
		if p == waits {
			held = append(held, i)
		}
	}
	return held
}

// Turns returns how many have to follow one another from i on, i included: the
// parts into which the time left is to be divided.
func (r *Run) Turns(i int) int {
	most := 0
	for _, t := range r.then[i] {
		most = max(most, r.Turns(t))
	}
	return 1 + most
}
