package main

import "time"

// suite is a package whose tests run in the machine.
type suite struct {
	name  string // short, for -only and the report
	path  string // of the package
	args  []string
	limit time.Duration
}

// suites is everything that runs in the machine. None of their tests may skip
// there: what they need is in the machine.
var suites = []suite{
	{name: "fuseloop", path: "gemel/node/frontend/fuseloop", limit: 20 * time.Minute},
	{name: "nbd", path: "gemel/node/frontend/nbd", args: []string{"-test.run=Kernel|Sweep|Usable"}, limit: 20 * time.Minute},
	{name: "replicator", path: "gemel/node/replicator", args: []string{"-test.run=Restarts"}, limit: 20 * time.Minute},
	{name: "ublk", path: "gemel/node/frontend/ublk", limit: 20 * time.Minute},
	{name: "vip", path: "gemel/node/vip", limit: 20 * time.Minute},
	{name: "resets", path: "gemel/node/replicator", args: []string{"-test.run=ResetsUnderLoad/^(nbd|ublk)-[ABC]"}, limit: 40 * time.Minute},
}
