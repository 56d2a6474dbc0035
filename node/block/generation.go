package block

// Generation names one state of a volume's data: a random number drawn when a
// Primary starts to write what its peer does not get. Zero means "none".
type Generation uint64

// HistoryLen is how many older generations a replica remembers.
const HistoryLen = 8

// Generations is a replica's past in DRBD's tuple.
type Generations struct {
	// Current names the data this replica holds.
	Current Generation
	// Bitmap is the generation the peer still holds while this replica went on
	// alone; zero when there is nothing the peer lacks.
	Bitmap Generation
	// History holds older generations, newest first, zeroes behind.
	History [HistoryLen]Generation
}

// Knows reports whether g is among the older generations.
func (g *Generations) Knows(old Generation) bool {
	if old == 0 {
		return false
	}
	for _, h := range g.History {
		if h == old {
			return true
		}
	}
	return false
}

// Push remembers old as the newest of the older generations. Zero and a
// generation that is the newest already are left out.
func (g *Generations) Push(old Generation) {
	if old == 0 || g.History[0] == old {
		return
	}
	copy(g.History[1:], g.History[:HistoryLen-1])
	g.History[0] = old
}
