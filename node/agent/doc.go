// Package agent carries out what failover decides: it feeds each volume's
// machine with heartbeats, votes and the replicator's state, and runs the steps
// of its courses: promote, check, mount, addresses, services, and the way back.
// It decides nothing itself. It is the only package that knows all others; the
// files named adapt_*.go tie its own small interfaces (ports.go) to them.
//
// Each volume has one owner, a goroutine that alone calls its machine. All that
// may take time runs beside it and comes back as an event.
package agent
