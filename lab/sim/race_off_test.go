//go:build !race

package sim

// someSeeds are played by a plain go test.
const someSeeds = 150

// someBoundaries: one write boundary in so many; GEMEL_BOUNDARIES=all takes
// them all.
const someBoundaries = 25
