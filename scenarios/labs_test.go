package scenarios

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
	"gemel/lab/leftovers"
	"gemel/lab/oracle"
)

// besideName is a second lab on this host.
func besideName() string { return labName() + "b" }

var _ = Describe("Two labs side by side", Label("full"), func() {
	It("the other lab loses its power and is taken down while a client of this one writes: nothing happens here",
		func(ctx SpecContext) {
			primary := world.primary(ctx)
			before := world.node(ctx, primary).Vol.VolumeState
			beside := openBeside(ctx)
			bin, err := binaries()
			Expect(err).NotTo(HaveOccurred())
			report := world.underLoad(ctx, func() {
				Expect(beside.Up(ctx, cluster.Options{BinDir: bin, DiskSize: 64 << 20, CableRate: cluster.Gigabit, Model: "unthrottled"})).
					To(Succeed())
				other := &pair{lab: beside, oracle: oracle.New(beside, volume)}
				other.create(ctx, volume)
				other.awaitHealthy(ctx)
				other.yank(ctx, other.primary(ctx))
				_, err := beside.Down(ctx)
				Expect(err).NotTo(HaveOccurred())
			})
			Expect(report.Errors).To(BeZero())
			world.expectUndisturbed(ctx, primary, &before)
			Expect(world.oracle.NothingLeaked(ctx, world.whole)).To(Succeed())
			now, err := leftovers.Take(ctx)
			Expect(err).NotTo(HaveOccurred())
			Expect(world.whole.Since(now)).To(BeEmpty(), "something of this lab was taken away")
		}, SpecTimeout(specLimit))

	It("kill -9 of the harness while it starts drives, while it starts boxes, in the middle of a walk, each time followed by "+
		"lab down: nothing of it stays on the host", func(ctx SpecContext) {
		beside := openBeside(ctx)
		for _, moment := range []func(leftovers.Snapshot, string) bool{
			func(s leftovers.Snapshot, _ string) bool { return len(s["drives"]) > 0 },
			func(s leftovers.Snapshot, _ string) bool { return len(s["containers"]) > 0 },
			func(_ leftovers.Snapshot, said string) bool { return strings.Contains(said, "bin/lab heal") },
		} {
			killHarness(ctx, moment)
			stayed := ofBeside(ctx).Since(nil)
			Expect(stayed).NotTo(BeEmpty(), "the harness had made nothing")
			_, err := beside.Down(ctx)
			Expect(err).NotTo(HaveOccurred())
			fmt.Fprintf(GinkgoWriter, "taken away: %q\n", stayed)
			Expect(ofBeside(ctx).Since(nil)).To(BeEmpty(), "things of a killed harness stayed on this host")
		}
	}, SpecTimeout(specLimit))
})

// openBeside opens the second lab, which is not up, and sees to its end.
func openBeside(ctx context.Context) *cluster.Cluster {
	GinkgoHelper()
	beside, err := cluster.Open(ctx, besideName())
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(beside.Close)
	DeferCleanup(func(ctx SpecContext) {
		_, err := beside.Down(ctx)
		Expect(err).NotTo(HaveOccurred())
	})
	_, err = beside.Down(ctx)
	Expect(err).NotTo(HaveOccurred())
	Expect(ofBeside(ctx).Count()).To(BeZero())
	return beside
}

// ofBeside is all that the second lab has on this host: containers, namespaces, cable
// ends, loop devices, mounts, processes.
func ofBeside(ctx context.Context) leftovers.Snapshot {
	GinkgoHelper()
	snapshot, err := leftovers.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	return snapshot.Of(besideName())
}

// killHarness lets the lab's own command build the second lab and walk on it, and kills
// it without a word when until says so.
func killHarness(ctx context.Context, until func(leftovers.Snapshot, string) bool) {
	GinkgoHelper()
	bin, err := binaries()
	Expect(err).NotTo(HaveOccurred())
	var said lines
	harness := exec.Command(filepath.Join(bin, "lab"), "walk", "--up", "--lab", besideName(), "--rounds", "9", "--seed", "1")
	harness.Stdout, harness.Stderr = &said, &said
	harness.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with the verbs that it starts
	Expect(harness.Start()).To(Succeed())
	ended := make(chan error, 1)
	go func() { ended <- harness.Wait() }()
	defer func() {
		_ = syscall.Kill(-harness.Process.Pid, syscall.SIGKILL)
		Eventually(ended).WithTimeout(20 * time.Second).Should(Receive())
	}()
	Eventually(ctx, func() bool { return until(ofBeside(ctx), said.all()) }).WithTimeout(90*time.Second).
		WithPolling(20*time.Millisecond).Should(BeTrue(), func() string { return "the harness does not get there\n" + said.all() })
	Expect(ended).NotTo(Receive(), "the harness ended by itself: %s", said.all())
}
