//go:build race

package sim

// someSeeds: the race detector makes a run ten times slower, and there is only
// one goroutine; make sim plays more without it.
const someSeeds = 12

const someBoundaries = 200
