// Package scenarios makes trouble in a lab of its own and holds the pair to its
// promises: each scenario says in its text what happens, and after every one the
// oracles of lab/oracle are asked. It needs root, a container engine and `make image`.
//
// It is not a place for logic: what can be proved without boxes is tested beside the code.
package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"gemel/lab/cluster"
	"gemel/lab/leftovers"
	"gemel/lab/oracle"
)

const (
	volume   = "data"
	diskSize = 256 << 20

	// healLimit is how long the pair may take to be whole again once every cable
	// is plugged and every box is on; it covers a full resync of the small disks.
	healLimit = 90 * time.Second
	// specLimit bounds one scenario with healing and judging.
	specLimit = 4 * time.Minute
)

// Figures of the product that scenarios hold it to.
const (
	failOverLimit   = 8 * time.Second // client's pause when the Primary dies
	switchoverLimit = 3 * time.Second // client's pause when an operator moves the volume
)

var world *pair

// labName is the name of this process's lab; several processes share the suite.
func labName() string {
	if n := GinkgoParallelProcess(); n > 1 {
		return fmt.Sprint("scenarios", n)
	}
	return "scenarios"
}

func TestScenarios(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "two boxes, one server")
}

// Whoever comes first of the processes that share the suite keeps others away; each has
// a lab of its own.
var _ = SynchronizedBeforeSuite(func() {
	Expect(os.Geteuid()).To(Equal(0), "scenarios build boxes, cables and disks: run them as root")
	lock := lockSuite()
	DeferCleanup(lock.Close)
}, func(ctx SpecContext) {
	lab, err := cluster.Open(ctx, labName())
	Expect(err).NotTo(HaveOccurred(), "scenarios need a container engine: run lab/prepare.sh")
	DeferCleanup(lab.Close)
	// What a killed run left is taken away first; whatever is there then was not ours.
	_, err = lab.Down(ctx)
	Expect(err).NotTo(HaveOccurred(), "take the lab of an earlier run away")
	before, err := leftovers.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(takeDown, lab, before)
	world = &pair{lab: lab, oracle: oracle.New(lab, volume)}
	world.build(ctx)
}, NodeTimeout(3*time.Minute))

// lockSuite keeps a second run on this host from taking this one's lab away.
func lockSuite() *os.File {
	path := filepath.Join(os.TempDir(), "gemel-scenarios.lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	Expect(err).NotTo(HaveOccurred())
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	Expect(err).NotTo(HaveOccurred(), "another run of the scenarios holds %s; wait for its end", path)
	return file
}

// takeDown removes the lab and fails when anything of it stays on the host.
func takeDown(lab *cluster.Cluster, before leftovers.Snapshot) {
	printPauses()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := lab.Down(ctx)
	Expect(err).NotTo(HaveOccurred(), "take the lab away")
	after, err := leftovers.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	// Other labs on this host may come and go meanwhile.
	Expect(after.Of(labName()).Since(before)).To(BeEmpty(), "things of the lab stayed on this host")
}

var _ = BeforeEach(func(ctx SpecContext) {
	world.begin(ctx)
}, NodeTimeout(2*healLimit))

// What went wrong is best seen before anything is healed.
var _ = JustAfterEach(func(ctx SpecContext) {
	if CurrentSpecReport().Failed() {
		world.collect(ctx)
	}
}, NodeTimeout(time.Minute))

var _ = AfterEach(func(ctx SpecContext) {
	world.stopLoads(ctx)
	world.putBack(ctx)
	world.heal(ctx)
	world.judgeAnswers(ctx)
	world.judge(ctx)
}, NodeTimeout(healLimit+time.Minute))

var _ = ReportAfterEach(func(ctx SpecContext, report SpecReport) {
	if report.Failed() && world != nil {
		world.collect(ctx)
	}
}, NodeTimeout(time.Minute))

// binaries is where `make build` puts gemel and lab.
func binaries() (string, error) {
	dir, err := filepath.Abs("../bin")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"gemel", "lab"} {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("%s is not built in %s; next: make build", name, dir)
		}
	}
	return dir, nil
}
