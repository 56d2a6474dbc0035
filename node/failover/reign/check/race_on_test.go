//go:build race

package check

// raced: the race detector makes the walk ten times slower, and there is only
// one goroutine; the larger bounds run without it.
const raced = true
