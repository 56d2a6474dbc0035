//go:build !race

package sim

// someSeeds are played by a plain go test.
const someSeeds = 150
