// Package plan is what the host and the first process of the virtual machine
// tell each other: which programs to run, and how they ended.
package plan

import "time"

// Where things are.
const (
	File    = "/plan.json"                       // the Plan, in the first file system
	Modules = "/modules"                         // kernel modules, in the first file system
	Tests   = "/tests"                           // a directory per suite, in the first file system
	Inside  = "/run/tests"                       // the same directories once the disk is the root
	Output  = "/dev/virtio-ports/" + OutputName  // what programs print
	Results = "/dev/virtio-ports/" + ResultsName // one Result per line, JSON
	Scratch = "/dev/vdb"                         // an empty disk for the tests

	OutputName  = "gemel.output"
	ResultsName = "gemel.results"
)

// Plan is all that the machine does before it switches itself off.
type Plan struct {
	Modules []string // file names below Modules, in order
	Runs    []Run
}

// Run is one program.
type Run struct {
	Suite string        // the directory in which it runs
	Args  []string      // Args[0] is relative to that directory
	Limit time.Duration // after it the program is ended, and the kernel told to show who hangs
}

// Result is how a Run ended.
type Result struct {
	Suite   string
	Code    int    // of the program; -1 when it was ended or could not be started
	Problem string // empty, or why the code is -1
	Skipped int    // tests that were skipped
	Took    time.Duration
}
